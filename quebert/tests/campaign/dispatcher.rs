//! `quebert run` as a process: started, asked for its metrics, killed, ended. What it logs is kept for the story of a
//! failure.

use std::{
    collections::VecDeque,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// Far beyond what anything here takes: a limit for campaigns that fail.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Log lines kept of each process.
const KEPT: usize = 200;

/// A command of the program.
pub(crate) fn quebert(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quebert"));
    command.args(args).current_dir(std::env::temp_dir()).env_remove("QUEBERT_CONFIG").kill_on_drop(true);
    command
}

/// A dispatcher that runs.
pub(crate) struct Dispatcher {
    child: Child,
    admin: String,
    /// Where the HTTP API is, once that is told.
    api: watch::Receiver<String>,
    logs: Arc<Mutex<VecDeque<String>>>,
}

impl Dispatcher {
    /// Starts it; it need not have found its broker yet.
    pub(crate) async fn start(config: &Path) -> Self {
        let anywhere = "127.0.0.1:0";
        let config = config.to_str().unwrap();
        let args = ["run", "--config", config, "--admin", anywhere, "--api", anywhere, "--log-format", "json"];
        let mut child = quebert(&args).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let logs = Arc::new(Mutex::new(VecDeque::new()));
        let (address, mut told) = watch::channel(String::new());
        let (api_address, api) = watch::channel(String::new());
        let keep = logs.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let json = serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default();
                let told = json["address"].as_str().unwrap_or_default().to_owned();
                match json["message"].as_str() {
                    Some("admin server listens") => drop(address.send_replace(told)),
                    Some("API listens") => drop(api_address.send_replace(told)),
                    _ => {}
                }
                let mut kept = keep.lock().unwrap();
                kept.push_back(line);
                if kept.len() > KEPT {
                    kept.pop_front();
                }
            }
        });
        let admin = timeout(LIMIT, told.wait_for(|address| !address.is_empty())).await;
        let admin = match admin {
            Ok(Ok(address)) => address.clone(),
            _ => panic!("the dispatcher did not start: {:#?}", logs.lock().unwrap()),
        };
        Self { child, admin, api, logs }
    }

    /// Where the HTTP API is.
    pub(crate) async fn api(&self) -> String {
        let mut api = self.api.clone();
        let told = timeout(LIMIT, api.wait_for(|address| !address.is_empty())).await;
        told.unwrap_or_else(|_| panic!("it tells of no API: {}", self.last_words())).unwrap().clone()
    }

    /// SIGKILL, and gone when this returns.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM: it drains, and must end well.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().await.unwrap().success());
        let ended = timeout(LIMIT, self.child.wait()).await;
        let code = ended.unwrap_or_else(|_| panic!("it does not end: {}", self.last_words())).unwrap().code();
        assert_eq!(code, Some(0), "{}", self.last_words());
    }

    pub(crate) fn last_words(&self) -> String {
        self.logs.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// A value of /metrics, by its full name with labels; `None` if it isn't there or nobody answers in time.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = timeout(Duration::from_secs(5), self.get("/metrics")).await.ok()?.ok()?;
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The sum of a metric over all its label sets.
    pub(crate) async fn sum(&self, name: &str) -> f64 {
        let text = timeout(LIMIT, self.get("/metrics")).await.unwrap().unwrap();
        let of_name = |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
        let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// Waits until it says that it is connected with all its lanes open; how long that took.
    pub(crate) async fn ready(&self, limit: Duration) -> Duration {
        let start = Instant::now();
        while self.metric("quebert_ready").await != Some(1.0) {
            assert!(start.elapsed() < limit, "not ready within {limit:?}; its log:\n{}", self.last_words());
            sleep(Duration::from_millis(20)).await;
        }
        start.elapsed()
    }

    async fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.admin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }
}
