//! Processes of the program under test, and what they say. No test stands here.

use serde_json::Value;
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    time::timeout,
};

/// Far beyond what anything here takes: a limit for tests that fail.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Nobody listens there: the port belongs to a protocol that is not spoken any more.
pub(crate) const NOWHERE: &str = "amqp://guest:hunter2@127.0.0.1:9/%2f";

pub(crate) fn quebert(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quebert"));
    command.args(args).current_dir(std::env::temp_dir()).env_remove("QUEBERT_CONFIG").env_remove("QUEBERT_API");
    command.kill_on_drop(true);
    command
}

pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) async fn done(args: &[&str], input: &str) -> Done {
    let mut command = quebert(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input has closed it.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let output = timeout(LONG, child.wait_with_output()).await.expect("the command ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder of a test's own, gone with its guard.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quebert-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Tells a process something.
pub(crate) async fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().await.unwrap().success());
}

/// Waits for its end.
pub(crate) async fn exit_code(child: &mut Child) -> Option<i32> {
    timeout(LONG, child.wait()).await.expect("the program ends").unwrap().code()
}

/// Status and whole text of the answer to one request.
pub(crate) async fn ask(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    ask_with(address, method, path, "", body).await
}

/// The same with more headers, each with its line's end.
pub(crate) async fn ask_with(address: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}");
    let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{length}{body}").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    (text[9..12].parse().unwrap(), text)
}

/// `quebert run` with JSON logs, and admin address and API of its own.
pub(crate) struct Dispatcher {
    pub(crate) child: Child,
    logs: Lines<BufReader<ChildStderr>>,
    /// Where the admin server listens.
    pub(crate) admin: String,
    /// Where the API listens.
    pub(crate) api: String,
    /// The log so far.
    pub(crate) seen: String,
}

impl Dispatcher {
    pub(crate) async fn start(args: &[&str]) -> Self {
        Self::start_in(&std::env::temp_dir(), args).await
    }

    pub(crate) async fn start_in(folder: &std::path::Path, args: &[&str]) -> Self {
        let fixed = ["run", "--admin", "127.0.0.1:0", "--api", "127.0.0.1:0", "--log-format", "json"];
        let mut command = quebert(&[&fixed, args].concat());
        let mut child = command.current_dir(folder).stderr(Stdio::piped()).spawn().unwrap();
        let logs = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut this = Self { child, logs, admin: String::new(), api: String::new(), seen: String::new() };
        this.admin = this.line("admin server listens").await["address"].as_str().unwrap().to_owned();
        this.api = this.line("API listens").await["address"].as_str().unwrap().to_owned();
        this
    }

    /// The next log line with this message.
    pub(crate) async fn line(&mut self, message: &str) -> Value {
        let found = timeout(LONG, async {
            loop {
                let line =
                    self.logs.next_line().await.unwrap().unwrap_or_else(|| panic!("the logs ended:\n{}", self.seen));
                self.seen.push_str(&line);
                self.seen.push('\n');
                let json: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("no JSON: {line}: {e}"));
                if json["message"] == message {
                    return json;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no line {message:?}"))
    }

    /// From the admin address.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        ask(&self.admin, "GET", path, "").await
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&self) {
        let ready = timeout(LONG, async {
            while self.get("/readyz").await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        ready.await.expect("it becomes ready");
    }

    /// Adds a task over HTTP; it is stored.
    pub(crate) async fn enqueue(&self, task: &str) {
        let (status, text) = ask(&self.api, "POST", "/v1/tasks", task).await;
        assert_eq!(status, 201, "{text}");
    }

    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        exit_code(&mut self.child).await
    }
}
