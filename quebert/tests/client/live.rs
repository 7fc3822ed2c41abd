//! The commands against a real program with an embedded broker, and against its folder once it has ended.

use crate::{Done, LONG, done, quebert};
use quebert::sample::SampleExecutor;
use serde_json::Value;
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// A running program in a folder of its own, which goes with it.
struct Program {
    child: Child,
    folder: PathBuf,
    broker: String,
    api: String,
}

impl Program {
    async fn start(name: &str, config: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("quebert-client-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("quebert.toml"), config).unwrap();
        let broker = format!("embedded:{}", folder.join("data").display());
        let mut command = quebert(&["run", "--api", "127.0.0.1:0", "--admin", "", "--log-format", "json"]);
        command.args(["--broker", &broker, "--set", "http.guard.enabled=false"]).current_dir(&folder);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut logs = BufReader::new(child.stderr.take().unwrap()).lines();
        let api = timeout(LONG, async {
            while let Some(line) = logs.next_line().await.unwrap() {
                let line: Value = serde_json::from_str(&line).unwrap();
                if line["message"] == "API listens" {
                    return line["address"].as_str().unwrap().to_owned();
                }
            }
            panic!("it has ended");
        });
        let api = api.await.expect("it listens");
        // Read on, so that its logs never fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = logs.next_line().await {} });
        Self { child, folder, broker, api }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = quebert(args);
        command.env("QUEBERT_API", &self.api);
        command
    }

    async fn quebert(&self, args: &[&str], input: &str) -> Done {
        done(self.command(args), input).await
    }

    async fn good(&self, args: &[&str]) -> String {
        self.quebert(args, "").await.good()
    }

    async fn lines(&self, args: &[&str]) -> Vec<Value> {
        self.good(args).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until `look` has found what it looks for.
    async fn until<T>(&self, args: &[&str], look: impl Fn(&[Value]) -> Option<T>) -> T {
        let end = Instant::now() + LONG;
        loop {
            let lines = self.lines(args).await;
            if let Some(found) = look(&lines) {
                return found;
            }
            assert!(Instant::now() < end, "{args:?}: {lines:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops it, and waits for its end.
    async fn stop(&mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").arg(&pid).status().await.unwrap().success());
        let status = timeout(LONG, self.child.wait()).await.expect("it ends").unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn queue<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("{name} in {lines:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_go_through_the_api_and_what_becomes_of_them_is_told() {
    let mut program = Program::start("api", "").await;
    let executor = SampleExecutor::start().await.unwrap();
    let mut following = program.command(&["events", "--json", "--kind", "enqueued,buried"]);
    let mut following = following.stdout(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(following.stdout.take().unwrap()).lines();
    // It has begun to read when it tells of one of these.
    while timeout(Duration::from_millis(200), events.next_line()).await.is_err() {
        program.good(&["enqueue", "http://h/", "-q", "medium", "--delay", "1h"]).await;
    }

    let task = |id: &str, path: &str, more: &str| {
        format!("{{\"id\": \"{id}\", \"url\": \"{}\", \"queue\": \"high\"{more}}}\n", executor.url(path))
    };
    let lines = [
        task("good", "/ok", ""),
        task("bad", "/gone", ""),
        task("late", "/ok", ", \"delay_ms\": 3600000"),
        task("never", "/ok", ", \"delay_ms\": 3600000"),
        "{\"url\": \"http://h/\", \"queue\": \"nowhere\"}\n".to_owned(),
    ];
    let enqueued = program.quebert(&["enqueue"], &lines.concat()).await;
    assert_eq!(enqueued.out, "4 enqueued, 1 refused, 0 failed\n");
    assert!(enqueued.failed(1).starts_with("line 5: "));
    let letter = program.until(&["dead", "list", "--json"], |letters| letters.first().cloned()).await;
    assert_eq!((&letter["key"], &letter["reason"]), (&"bad".into(), &"permanent".into()));
    program
        .until(&["queues", "--json"], |all| {
            let high = queue(all, "high");
            (high["settled"]["succeeded"] == 1 && high["dead"] == 1).then_some(())
        })
        .await;
    let table = program.good(&["queues"]).await;
    assert!(table.starts_with("QUEUE ") && table.contains("\nhigh "), "{table}");
    assert!(program.good(&["queues", "high"]).await.contains("\nbroker queue        quebert.high\n"));
    let buried = timeout(LONG, async {
        loop {
            let event: Value = serde_json::from_str(&events.next_line().await.unwrap().unwrap()).unwrap();
            if event["kind"] == "buried" {
                return event;
            }
        }
    });
    let buried = buried.await.expect("the letter is told of");
    assert_eq!((&buried["task"], &buried["queue"]), (&"bad".into(), &"high".into()));

    let shown = program.lines(&["dead", "show", "bad", "--json"]).await;
    assert_eq!((&shown[0]["attempts"], &shown[0]["replays_to"]), (&1.into(), &"quebert.high".into()));
    assert!(program.good(&["dead", "show", "bad"]).await.contains("\nreason      permanent\n"));
    assert!(
        program.good(&["dead", "list", "-q", "high", "--search", "GONE"]).await.contains("1 dead letters: 1 permanent")
    );
    assert!(program.good(&["dead", "list", "-q", "low"]).await.contains("0 dead letters"));
    let err = program.quebert(&["dead", "show", "nobody"], "").await.failed(2);
    assert!(err.contains("dead_letter_not_found: "), "{err}");
    assert_eq!(program.good(&["dead", "replay", "--dry-run"]).await, "bad\n1 would be replayed, 0 stay\n");
    assert_eq!(program.good(&["dead", "replay", "bad"]).await, "1 replayed, 0 stay\n");
    program.until(&["dead", "list", "--json"], |letters| (letters.len() == 1).then_some(())).await;
    assert_eq!(
        program.good(&["dead", "replay", "--reason", "permanent", "--rate", "100"]).await,
        "1 replayed, 0 stay\n"
    );
    program.until(&["dead", "list", "--json"], |letters| (letters.len() == 1).then_some(())).await;
    let missing = program.quebert(&["dead", "delete", "bad", "nobody"], "").await;
    assert_eq!((missing.code, &*missing.out), (Some(1), "1 deleted\n"), "{}", missing.err);
    assert!(missing.err.contains("nobody: there is no such dead letter"), "{}", missing.err);
    assert_eq!(program.good(&["dead", "purge", "--yes"]).await, "0 deleted\n");

    assert!(program.good(&["pause", "high", "low"]).await.contains("low is paused until it is resumed"));
    let paused = program.lines(&["queues", "--json"]).await;
    assert_eq!(["high", "medium", "low"].map(|name| queue(&paused, name)["paused"] == true), [true, false, true]);
    let resumed = program.lines(&["resume", "high", "--json"]).await;
    assert_eq!((&resumed[0]["queue"], &resumed[0]["paused"]), (&"high".into(), &false.into()));

    assert!(program.good(&["task", "show", "late"]).await.contains("\nstate     "));
    assert!(program.good(&["task", "cancel", "never"]).await.contains("never is taken out"));
    assert!(program.quebert(&["task", "show", "never"], "").await.failed(2).contains("task_not_found"));
    program.good(&["task", "run", "late"]).await;
    program.until(&["queues", "high", "--json"], |high| (high[0]["settled"]["succeeded"] == 2).then_some(())).await;

    assert_eq!(
        program.quebert(&["enqueue", "-q", "low"], &task("waits", "/ok", "")).await.good(),
        "1 enqueued, 0 refused, 0 failed\n"
    );
    assert!(program.quebert(&["purge", "low"], "").await.failed(2).contains("--yes"));
    assert_eq!(program.good(&["purge", "low", "--dry-run"]).await, "1 tasks of low would be removed\n");
    assert_eq!(program.good(&["purge", "low", "--yes"]).await, "1 tasks of low removed\n");

    let in_use = program.quebert(&["queues", "--broker", &program.broker], "").await.failed(2);
    assert!(in_use.contains("in use by a running program") && in_use.contains("API"), "{in_use}");
    program.stop().await;
    assert!(program.quebert(&["queues"], "").await.failed(3).contains("no API could be reached"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_an_embedded_broker_can_be_looked_into_without_a_program() {
    let mut program = Program::start("folder", "").await;
    program.good(&["pause", "medium"]).await;
    program.stop().await;
    let direct = ["--broker", &*program.broker.clone()];
    let with = |args: &[&'static str]| [args, &direct].concat().iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let quebert = async |args: &[&'static str], input: &str| {
        let args = with(args);
        program.quebert(&args.iter().map(String::as_str).collect::<Vec<_>>(), input).await
    };
    let lines = "{\"url\": \"http://h/\", \"id\": \"a\"}\n{\"url\": \"http://h/\", \"queue\": \"high\"}\n{}\n";
    let enqueued = quebert(&["enqueue"], lines).await;
    assert_eq!((enqueued.code, &*enqueued.out), (Some(1), "2 enqueued, 1 refused, 0 failed\n"), "{}", enqueued.err);
    let key = ["enqueue", "http://h/", "-q", "medium", "--idempotency-key", "k"];
    let first = quebert(&key, "").await.good();
    assert_eq!(quebert(&key, "").await.good(), first, "the key is remembered in the folder");
    let all: Vec<Value> =
        quebert(&["queues", "--json"], "").await.good().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(["high", "medium", "low"].map(|name| queue(&all, name)["ready"].clone()), [1, 1, 1]);
    assert!(quebert(&["queues"], "").await.good().contains("BROKER QUEUE"));
    assert!(quebert(&["task", "show", "a"], "").await.good().contains("\nstate     ready\n"));
    assert!(quebert(&["task", "cancel", "a"], "").await.good().contains("taken out"));
    assert!(quebert(&["task", "show", "a"], "").await.failed(2).contains("not waiting anywhere"));
    assert_eq!(quebert(&["purge", "high", "--yes"], "").await.good(), "1 tasks of high removed\n");
    assert!(quebert(&["dead", "list"], "").await.good().contains("0 dead letters"));
    assert!(quebert(&["queues", "nowhere"], "").await.failed(2).contains("there are high, medium, low"));
    let other = done(crate::quebert(&["queues", "--broker", "embedded:/nowhere/at/all"]), "").await.failed(2);
    assert!(other.contains("no such folder"), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_and_allows_what_it_allows() {
    let config = "[api.tokens.shop]\nroles = [\"enqueue\"]\ntoken = \"0123456789abcdef-shop\"\n\
                  [api.tokens.desk]\nroles = [\"read\"]\ntoken = \"0123456789abcdef-desk\"\n";
    let mut program = Program::start("tokens", config).await;
    let with = async |token: &str, args: &[&str]| {
        let mut command = program.command(args);
        command.env("QUEBERT_TOKEN", token);
        done(command, "").await
    };
    let task = ["enqueue", "http://h/", "--delay", "1h"];
    for args in [&task[..], &["queues"], &["pause", "high"]] {
        assert!(program.quebert(args, "").await.failed(2).contains("unauthorized: "), "{args:?}");
        let err = with("0123456789abcdef-nobody", args).await.failed(2);
        assert!(err.contains("unauthorized: ") && !err.contains("0123456789abcdef"), "{err}");
    }
    with("0123456789abcdef-shop", &task).await.good();
    assert!(with("0123456789abcdef-shop", &["queues"]).await.failed(2).contains("forbidden: "));
    with("0123456789abcdef-desk", &["queues"]).await.good();
    assert!(with("0123456789abcdef-desk", &task).await.failed(2).contains("forbidden: "));
    assert!(with("0123456789abcdef-shop", &["events"]).await.failed(2).contains("forbidden: "));
    program.stop().await;
}
