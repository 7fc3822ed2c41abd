//! A dispatcher: `quebert run` as a process of ours, or one that was found running. It can be looked at and ended, and if
//! it is ours, killed. Nobody else's process is ever signalled.

use super::{
    http::Client,
    metrics::Metrics,
    process::{self, Look},
};
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// How long a dispatcher may take to start and to become ready; RabbitMQ's new queues take some seconds.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long one may take to end; its own grace is 30 s.
const END_LIMIT: Duration = Duration::from_secs(60);
/// Limit of one look at /metrics or /readyz.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Log lines kept of each.
const KEPT: usize = 100;

/// Why a dispatcher did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no such program, or it may not be run.
    #[error("start {}", .0.display())]
    Spawn(PathBuf, #[source] io::Error),
    /// It ended, or did not become ready in time.
    #[error("a dispatcher did not become ready; its last words:\n{0}")]
    NotReady(String),
}

/// A dispatcher.
#[derive(Debug)]
pub struct Dispatcher {
    name: String,
    admin: Client,
    ours: Option<Ours>,
}

#[derive(Debug)]
struct Ours {
    child: Child,
    pid: u32,
    api: String,
    logs: Arc<Mutex<VecDeque<String>>>,
    killed: bool,
}

impl Dispatcher {
    /// One that runs, by its admin address.
    pub fn external(address: &str) -> Self {
        Self { name: address.to_owned(), admin: Client::new(address), ours: None }
    }

    /// Starts one, and waits until it tells its addresses; it need not have found its broker yet.
    ///
    /// # Errors
    /// When it doesn't start.
    pub async fn start(name: &str, program: &Path, config: &Path, settings: &[String]) -> Result<Self, StartError> {
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(config);
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        // A config of the user's own must not leak in.
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| name.to_string_lossy().starts_with("QUEBERT_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        if let Some(folder) = config.parent() {
            command.current_dir(folder);
        }
        let failed = |e| StartError::Spawn(program.to_owned(), e);
        let mut child = command.spawn().map_err(failed)?;
        let pid = child.id().ok_or_else(|| StartError::NotReady(String::new()))?;
        let stderr = child.stderr.take().expect("it is piped");
        let logs = Arc::new(Mutex::new(VecDeque::new()));
        let (told, mut addresses) = watch::channel((String::new(), String::new()));
        tokio::spawn(keep(stderr, logs.clone(), told));
        let both = addresses.wait_for(|(admin, api)| !admin.is_empty() && !api.is_empty());
        let addresses = match timeout(START_LIMIT, both).await {
            Ok(Ok(addresses)) => Some(addresses.clone()),
            _ => None,
        };
        let (admin, api) = addresses.ok_or_else(|| StartError::NotReady(words(&logs)))?;
        Ok(Self {
            name: name.to_owned(),
            admin: Client::new(&admin),
            ours: Some(Ours { child, pid, api, logs, killed: false }),
        })
    }

    /// For reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Host and port of its API, if it is ours.
    pub fn api(&self) -> Option<&str> {
        self.ours.as_ref().map(|ours| &*ours.api)
    }

    /// Its process, if it is ours.
    pub fn pid(&self) -> Option<u32> {
        self.ours.as_ref().map(|ours| ours.pid)
    }

    /// Its last log lines, if it is ours.
    pub fn last_words(&self) -> String {
        self.ours.as_ref().map(|ours| words(&ours.logs)).unwrap_or_default()
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it doesn't in time.
    pub async fn ready(&mut self) -> Result<(), StartError> {
        let end = Instant::now() + START_LIMIT;
        while !self.is_ready().await {
            let ended = self.ours.as_mut().is_some_and(|ours| !matches!(ours.child.try_wait(), Ok(None)));
            if ended || Instant::now() > end {
                return Err(StartError::NotReady(self.last_words()));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What it says of itself; `None` if it doesn't answer.
    pub async fn metrics(&self) -> Option<Metrics> {
        let (status, text) = self.admin.get("/metrics", LOOK_LIMIT).await.ok()?;
        (status == 200).then(|| Metrics::parse(&String::from_utf8_lossy(&text)))
    }

    /// What the kernel knows of it, if it is ours and runs.
    pub fn look(&self) -> Option<Look> {
        process::look(self.pid()?)
    }

    /// SIGKILL, and gone when this returns. Does nothing to one that is not ours.
    pub async fn kill(&mut self) {
        if let Some(ours) = &mut self.ours {
            // It has ended already, or can't be killed: either way there is nothing left to do.
            drop(ours.child.kill().await);
            ours.killed = true;
        }
    }

    /// Whether it was killed here.
    pub fn is_killed(&self) -> bool {
        self.ours.as_ref().is_some_and(|ours| ours.killed)
    }

    /// Whether it says now that it is ready.
    pub async fn is_ready(&self) -> bool {
        matches!(self.admin.get("/readyz", LOOK_LIMIT).await, Ok((200, _)))
    }

    /// SIGTERM: it drains. Whether it ended well; of one that is not ours nothing is asked, and that is well, and so is
    /// one that was killed.
    pub async fn stop(mut self) -> bool {
        let Some(ours) = self.ours.as_mut().filter(|ours| !ours.killed) else { return true };
        if !matches!(ours.child.try_wait(), Ok(None)) {
            return false;
        }
        drop(Command::new("kill").args(["-s", "TERM", &ours.pid.to_string()]).status().await);
        match timeout(END_LIMIT, ours.child.wait()).await {
            Ok(Ok(status)) => status.success(),
            _ => {
                drop(ours.child.kill().await);
                false
            }
        }
    }
}

/// Keeps the last lines of a log, and tells the addresses that stand in it.
async fn keep(stderr: ChildStderr, logs: Arc<Mutex<VecDeque<String>>>, told: watch::Sender<(String, String)>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let json = serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default();
        let address = json["address"].as_str().unwrap_or_default();
        match json["message"].as_str() {
            Some("admin server listens") => told.send_modify(|(admin, _)| address.clone_into(admin)),
            Some("API listens") => told.send_modify(|(_, api)| address.clone_into(api)),
            _ => {}
        }
        let mut kept = logs.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(line);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
}

fn words(logs: &Mutex<VecDeque<String>>) -> String {
    logs.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect::<Vec<_>>().join("\n")
}
