//! What a campaign takes place in: a node, a config, an executor whose requests go into the ledger, a producer.

use super::{
    dispatcher::{Dispatcher, LIMIT, quebert},
    ledger::{Ledger, Moment},
    producer::{self, Plan},
};
use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use quebert_broker_adapter::testing::{
    PrivateRabbit,
    executor::{Executor, Keep, Recorded, Reply},
};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
    time::{Instant, sleep},
};

/// The lanes of every campaign, with their windows, which `rabbitmqctl` must see again as the consumers' prefetch.
pub(crate) const LANES: [(&str, u16); 2] = [("high", 48), ("low", 24)];
/// Requests under way at a time.
pub(crate) const SLOTS: usize = 40;

/// One campaign at a time: two would starve each other, and the limits of time would mean nothing.
pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

pub(crate) struct World {
    pub(crate) node: PrivateRabbit,
    pub(crate) ledger: Ledger,
    pub(crate) executor: Executor,
    pub(crate) config: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// Waits for its turn, starts a node and declares the topology. `more` is added to the config.
    pub(crate) async fn start(name: &str, more: &str) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let node = PrivateRabbit::start().await.unwrap();
        let ledger = Ledger::default();
        let books = ledger.clone();
        let script = move |request: &Recorded| answer(&books, request);
        let executor = Executor::builder().keep(Keep::Ids).start(script).await;
        let config = std::env::temp_dir().join(format!("quebert-campaign-{name}-{}.toml", std::process::id()));
        std::fs::write(&config, settings(&node.url(), more)).unwrap();
        let applied = quebert(&["topology", "apply", "--config", config.to_str().unwrap()]).output().await.unwrap();
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        Self { node, ledger, executor, config, _turn: turn }
    }

    pub(crate) async fn dispatcher(&self) -> Dispatcher {
        Dispatcher::start(&self.config).await
    }

    /// kill -9 of the only dispatcher. Its last requests may still stand in the executor's sockets when it is gone, so the
    /// kill lasts until the executor has read them all, which is when it has seen all connections end.
    pub(crate) async fn kill(&self, dispatcher: &mut Dispatcher) {
        let from = Moment::now();
        dispatcher.kill().await;
        self.executor.wait_until(LIMIT, |counts| counts.open == 0).await;
        self.ledger.fault_since("kill -9 of the dispatcher", from);
    }

    /// `count` tasks that alternate between the lanes; one in 20 fails at its first attempt and so comes to wait in the
    /// delay grid.
    pub(crate) fn plans(&self, name: &str, count: usize) -> Vec<Plan> {
        let plan = |n: usize| {
            let kind = if n % 20 == 7 { "fails" } else { "task" };
            let queue = format!("quebert.{}", LANES[n % LANES.len()].0);
            Plan { id: format!("{name}-{kind}-{n:05}"), queue, delay: None }
        };
        (0..count).map(plan).collect()
    }

    pub(crate) fn publish(&self, plans: Vec<Plan>, rate: f64) -> JoinHandle<()> {
        producer::publish(self.node.url(), self.executor.url(""), self.ledger.clone(), plans, rate)
    }

    /// Waits until every confirmed task is completed.
    pub(crate) async fn all_done(&self, limit: Duration) {
        self.ledger.wait_until("all confirmed tasks completed", limit, |counts| counts.open == 0).await;
    }

    /// Waits until each lane has as many consumers as there are dispatchers, each with the lane's window.
    pub(crate) async fn consumers_are(&self, dispatchers: usize) {
        let mut wanted: Vec<String> =
            LANES.iter().flat_map(|(lane, window)| vec![format!("quebert.{lane}\t{window}"); dispatchers]).collect();
        wanted.sort();
        let end = Instant::now() + LIMIT;
        loop {
            let listed = self.node.ctl(&["list_consumers", "--no-table-headers", "queue_name", "prefetch_count"]).await;
            // An error is a node that is busy coming up.
            let listed = listed.unwrap_or_default();
            let lane = |line: &&str| LANES.iter().any(|(lane, _)| line.starts_with(&format!("quebert.{lane}\t")));
            let mut seen: Vec<_> = listed.lines().filter(lane).collect();
            seen.sort_unstable();
            if seen == wanted {
                return;
            }
            assert!(Instant::now() < end, "consumers are {seen:?} instead of {wanted:?}");
        }
    }

    /// Messages of each queue, those in hand included. Of quorum queues it is what they last told, up to 5 s ago.
    pub(crate) async fn messages(&self) -> BTreeMap<String, u64> {
        let listed = self.node.ctl(&["list_queues", "--no-table-headers", "name", "messages"]).await.unwrap();
        let line = |line: &str| {
            let (name, messages) = line.split_once('\t')?;
            Some((name.to_owned(), messages.trim().parse().ok()?))
        };
        listed.lines().filter_map(line).collect()
    }

    /// Sees to it that nothing is left anywhere: no task in a work queue, none in the delay grid, no dead letter. To be
    /// asked when all dispatchers have ended. A second copy of a task may have been on its way then, so what is left is
    /// given to another dispatcher, whose requests go into the ledger as all others.
    pub(crate) async fn nothing_is_left(&self) {
        let end = Instant::now() + LIMIT;
        loop {
            let left = self.left().await;
            if left.is_empty() {
                return;
            }
            let dead = left.keys().any(|queue| queue.ends_with(".dead"));
            assert!(!dead && Instant::now() < end, "left over: {left:?}\n{}", self.ledger.story());
            let dispatcher = self.dispatcher().await;
            dispatcher.ready(LIMIT).await;
            while dispatcher.sum("quebert_tasks_in_flight").await + dispatcher.sum("quebert_tasks_buffered").await > 0.0
            {
                sleep(Duration::from_millis(100)).await;
            }
            // Time for the heads of the delay grid, whose longest retry is 3 s.
            sleep(Duration::from_secs(3)).await;
            dispatcher.stop().await;
        }
    }

    /// Messages that wait in each queue that isn't empty, as the queues themselves say.
    async fn left(&self) -> BTreeMap<String, u32> {
        let connection = Connection::connect(&self.node.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let mut left = BTreeMap::new();
        // The stream holds notes about the delay queues, not tasks.
        for queue in self.messages().await.into_keys().filter(|name| name != "quebert.delays") {
            let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let declared = channel.queue_declare(queue.as_str().into(), look, FieldTable::default()).await.unwrap();
            if declared.message_count() > 0 {
                left.insert(queue, declared.message_count());
            }
        }
        left
    }

    /// Prints the result; panics with the story if anything is wrong.
    pub(crate) fn verdict(&self, name: &str, more: &str) {
        let judgement = self.ledger.judge();
        assert!(judgement.is_clean(), "campaign {name}: {}", self.ledger.story());
        assert!(judgement.confirmed > 0, "a campaign without tasks proves nothing");
        say(&format!("campaign {name}: {more}, {judgement}"));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config);
    }
}

/// Whether the long forms are asked for.
pub(crate) fn long() -> bool {
    std::env::var_os("QUEBERT_LONG").is_some_and(|value| value == "1")
}

/// Prints a line that `cargo test` doesn't swallow.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The task's id is the last part of its path, and says how the executor behaves.
pub(crate) fn answer(ledger: &Ledger, request: &Recorded) -> Reply {
    let id = request.target.rsplit('/').next().unwrap_or_default();
    let attempt = request.header("quebert-attempt").parse().unwrap_or(0);
    let status = if id.contains("fails") && attempt == 1 { 500 } else { 200 };
    ledger.executed(id, attempt, status);
    let work = if id.contains("slow") { 2000 } else { 3 + request.number as u64 % 20 };
    Reply::status(status).after(Duration::from_millis(work))
}

/// One executor has all the slots and all of the window, since nothing here is about neighbours.
pub(crate) fn settings(url: &str, more: &str) -> String {
    let lanes: String = LANES
        .iter()
        .map(|(lane, window)| format!("[lanes.{lane}]\nslots_max = {}\nwindow = {window}\n", window * 2 / 3))
        .collect();
    format!(
        "{lanes}\n\
         [pool]\nslots = {SLOTS}\n\
         [destinations]\nslots = {SLOTS}\nwindow_share = 100\n\
         [retry]\nbackoff_min = \"1500ms\"\nbackoff_max = \"3s\"\njitter = \"none\"\nmax_attempts = 0\n\
         [http.guard]\nenabled = false\n\
         [metrics]\ndepth_interval = \"1s\"\n\
         [broker]\nurl = \"{url}\"\n{more}\n"
    )
}
