//! The embedded broker on files that are damaged, foreign, out of reach or in use: each is named and not made worse, or
//! everything that was confirmed is there, byte by byte. Losses of power are in embedded_power.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use bytes::Bytes;
use quebert_broker_adapter::{
    admin::{Admin as _, FoundState},
    embedded::{EmbeddedBroker, EmbeddedConfig, OpenError},
};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Broker as _, BrokerEvent, PublishError, Source, Target},
};
use quebert_wire::{HeaderValue, Message, TaskId, header};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(60);
const QUEUE: &str = "work";
/// Confirmed tasks in the store that is damaged.
const TASKS: usize = 150;
/// More than fit into the small file system.
const CHECKED: usize = 20_000;
/// Set for a process that these tests start: what it is to do.
const ROLE: &str = "QUEBERT_TEST_ROLE";

// ---- A store that is damaged -------------------------------------------------------------------------------------

#[tokio::test]
async fn a_truncated_file_is_named_or_complete_at_every_length() {
    for image in images().await {
        let mut rng = StdRng::seed_from_u64(1);
        let bytes = image.bytes.len();
        let edges = [1, 8, 9, 64, 319, 320, 511, 512, 4095, 4096, 4097, 8192, bytes / 2, bytes - 4096, bytes - 1];
        let random = (0..rounds(25)).map(|_| rng.random_range(1..bytes));
        let mut outcomes = Outcomes::default();
        for length in edges.into_iter().chain(random.collect::<Vec<_>>()) {
            let mut damaged = image.bytes.clone();
            damaged.truncate(length);
            outcomes.note(image.open_damaged(&damaged, &format!("cut to {length} of {bytes} bytes")).await);
        }
        assert!(outcomes.named > 0, "the half of a file is no store");
        println!("truncated, {}: {outcomes:?}", image.name);
    }
}

#[tokio::test]
async fn a_file_with_a_flipped_bit_is_named_or_complete() {
    for image in images().await {
        let mut rng = StdRng::seed_from_u64(2);
        let mut outcomes = Outcomes::default();
        for _ in 0..rounds(100) {
            let mut damaged = image.bytes.clone();
            // Half of them where there is something.
            let mut at = rng.random_range(0..damaged.len());
            while damaged[at] == 0 && rng.random_bool(0.9) {
                at = rng.random_range(0..damaged.len());
            }
            let bit = rng.random_range(0..8);
            damaged[at] ^= 1 << bit;
            outcomes.note(image.open_damaged(&damaged, &format!("bit {bit} of byte {at} flipped")).await);
        }
        assert!(outcomes.named > 0, "a bit of content is checked");
        println!("flipped bits, {}: {outcomes:?}", image.name);
    }
}

#[tokio::test]
async fn a_file_with_a_lost_or_foreign_page_is_named_or_complete() {
    const PAGE: usize = 4096;
    for image in images().await {
        let mut rng = StdRng::seed_from_u64(3);
        let mut outcomes = Outcomes::default();
        let pages = image.bytes.len() / PAGE;
        for _ in 0..rounds(40) {
            let mut damaged = image.bytes.clone();
            let (page, other) = (rng.random_range(0..pages) * PAGE, rng.random_range(0..pages) * PAGE);
            let what = match rng.random_range(0..3) {
                0 => {
                    damaged[page..page + PAGE].fill(0);
                    format!("zeros from {page}")
                }
                1 => {
                    damaged.copy_within(other..other + PAGE, page);
                    format!("the page from {other} at {page}")
                }
                _ => {
                    rng.fill(&mut damaged[page..page + PAGE]);
                    format!("noise from {page}")
                }
            };
            outcomes.note(image.open_damaged(&damaged, &what).await);
        }
        println!("pages, {}: {outcomes:?}", image.name);
    }
}

/// How damaged files were met.
#[derive(Debug, Default)]
struct Outcomes {
    named: usize,
    complete: usize,
}

impl Outcomes {
    fn note(&mut self, named: bool) {
        if named {
            self.named += 1;
        } else {
            self.complete += 1;
        }
    }
}

/// A store's file with `TASKS` confirmed tasks in it, and some that are settled.
struct Image {
    name: &'static str,
    /// Of the file in its folder.
    file: PathBuf,
    bytes: Vec<u8>,
}

/// As an orderly end leaves it, and as `kill -9` does.
async fn images() -> Vec<Image> {
    let folder = Folder::new();
    let broker = open(&folder.0).unwrap();
    let mut events = broker.start();
    for n in 0..TASKS {
        let (target, _) = target(n);
        broker.publish(target, message(n)).await.unwrap();
    }
    for n in 0..20 {
        let settled = Message { id: Some(format!("settled-{n}")), ..message(n) };
        broker.publish(Target::Queue("settled".into()), settled).await.unwrap();
    }
    broker.open(Source::Queue("settled".into()), 20);
    let mut left = 20;
    while left > 0 {
        if let BrokerEvent::Delivered(delivery) = timeout(LIMIT, events.recv()).await.unwrap().unwrap() {
            broker.ack(delivery.tag);
            left -= 1;
        }
    }
    // What is confirmed after an ack is written after it.
    broker.remember_pause("settled".into(), true).await.unwrap();
    let file = folder.file();
    let killed = fs::read(&file).unwrap();
    broker.stop().await;
    drop(broker);
    let ended = fs::read(&file).unwrap();
    let file = PathBuf::from(file.file_name().unwrap());
    vec![Image { name: "ended", file: file.clone(), bytes: ended }, Image { name: "killed", file, bytes: killed }]
}

/// Where the n-th task lies, and what it is doing there.
fn target(n: usize) -> (Target, FoundState) {
    match n % 5 {
        0 => (Target::Delay(delay()), FoundState::Delayed),
        1 => (Target::Dead(QUEUE.into()), FoundState::Dead),
        _ => (Target::Queue(QUEUE.into()), FoundState::Ready),
    }
}

/// So long that nothing comes due.
fn delay() -> Step {
    Step::from_millis(3_584_000).unwrap()
}

fn message(n: usize) -> Message {
    let bytes = if n.is_multiple_of(30) { 9_000 } else { 100 + n * 3 };
    let body: Bytes = (0..bytes).map(|i| (i * 31 + n * 7 + i / 251) as u8 | 1).collect();
    let mut message = Message { id: Some(format!("task-{n}")), body, ..Message::default() };
    message.headers.insert(header::RETURN_TO.to_owned(), HeaderValue::Text(QUEUE.to_owned()));
    message
}

impl Image {
    /// Whether the damage was named. If not, everything must be there.
    async fn open_damaged(&self, bytes: &[u8], what: &str) -> bool {
        let folder = Folder::new();
        let file = folder.0.join(&self.file);
        fs::write(&file, bytes).unwrap();
        let opened = catch_unwind(AssertUnwindSafe(|| open(&folder.0)));
        let opened = opened.unwrap_or_else(|_| panic!("{} store, {what}: it panics", self.name));
        match opened {
            Ok(broker) => {
                if let Err(missing) = complete(&broker).await {
                    panic!("{} store, {what}: it opens, and {missing}", self.name);
                }
                broker.stop().await;
                false
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(file.to_str().unwrap()), "{what}: {text}");
                assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Io { .. }), "{what}: {text}");
                self.undo_damage(&file, bytes, what).await;
                true
            }
        }
    }
}

impl Image {
    /// Naming the damage must not make it worse: with the lost bytes back, everything is there.
    async fn undo_damage(&self, file: &Path, damaged: &[u8], what: &str) {
        let mut after = fs::read(file).unwrap();
        if after == damaged {
            return;
        }
        for (at, byte) in self.bytes.iter().enumerate() {
            match damaged.get(at) {
                Some(damaged) if damaged == byte => {}
                Some(_) => after[at] = *byte,
                None => break,
            }
        }
        after.truncate(damaged.len());
        after.extend_from_slice(self.bytes.get(after.len()..).unwrap_or_default());
        let folder = Folder::new();
        fs::write(folder.0.join(&self.file), after).unwrap();
        let broker = open(&folder.0).unwrap_or_else(|error| panic!("{} store, {what}, made worse: {error}", self.name));
        complete(&broker).await.unwrap_or_else(|missing| panic!("{} store, {what}, made worse: {missing}", self.name));
    }
}

/// Each task is where it was, as it was: found by its id, counted, and delivered.
async fn complete(broker: &EmbeddedBroker) -> Result<(), String> {
    let mut events = broker.start();
    let mut waiting = BTreeMap::new();
    for n in 0..TASKS {
        let (message, (_, state)) = (message(n), target(n));
        let id = TaskId::new(&format!("task-{n}")).unwrap();
        let found = broker.find(id).await.map_err(|error| format!("task {n} can't be looked for: {error}"))?;
        let [found] = &found[..] else { return Err(format!("task {n} is there {} times", found.len())) };
        if found.state != state || found.message.body != message.body || found.message.headers != message.headers {
            return Err(format!("task {n} is not as it was: {found:?}"));
        }
        if state != FoundState::Dead {
            waiting.insert(message.id, message.body);
        }
    }
    for source in [Source::Queue(QUEUE.into()), Source::Delay(delay())] {
        broker.open(source, 1000);
    }
    let published = broker.publish(Target::Queue("settled".into()), message(0)).await;
    published.map_err(|error| format!("takes nothing: {error}"))?;
    while !waiting.is_empty() {
        let event = timeout(LIMIT, events.recv()).await.map_err(|_| format!("{} never come", waiting.len()))?;
        match event {
            Some(BrokerEvent::Delivered(delivery)) => {
                if waiting.remove(&delivery.message.id) != Some(delivery.message.body) {
                    return Err(format!("{:?} is delivered otherwise than it was", delivery.message.id));
                }
            }
            Some(_) => {}
            None => return Err("the events end".to_owned()),
        }
    }
    Ok(())
}

// ---- Files and folders that are none -----------------------------------------------------------------------------

#[tokio::test]
async fn a_foreign_file_is_named_and_left_as_it_is() {
    let name = file_name().await;
    let texts: [&[u8]; 3] = [b"SQLite format 3\0and so on", &[0; 20_000], &[0x7f; 300_000]];
    for text in texts {
        let folder = Folder::new();
        let file = folder.0.join(&name);
        fs::write(&file, text).unwrap();
        let error = open(&folder.0).expect_err("that is no store");
        assert!(matches!(&error, OpenError::Damaged { path, .. } if *path == file), "{error}");
        assert!(fs::read(&file).unwrap() == text, "left as it is");
    }
}

#[tokio::test]
async fn another_program_s_redb_file_is_named_and_left_as_it_is() {
    let folder = Folder::new();
    let file = folder.0.join(file_name().await);
    let foreign = redb::Database::create(&file).unwrap();
    let table = redb::TableDefinition::<u64, &str>::new("addresses");
    let transaction = foreign.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(1, "elsewhere").unwrap();
    transaction.commit().unwrap();
    drop(foreign);
    let error = open(&folder.0).expect_err("that is no store of ours");
    assert!(matches!(&error, OpenError::Damaged { path, .. } if *path == file), "{error}");
    let foreign = redb::Database::open(&file).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&foreign).unwrap();
    let there = transaction.open_table(table).unwrap().get(1).unwrap().map(|value| value.value().to_owned());
    assert_eq!(there.as_deref(), Some("elsewhere"));
}

/// A file of no bytes is what a crash may leave of a file that was just made; there was never a task in it. Whether it is
/// named or taken for new is the store's choice, but it must be one of the two, and a store must work.
#[tokio::test]
async fn an_empty_file_is_named_or_becomes_a_store() {
    let folder = Folder::new();
    fs::write(folder.0.join(file_name().await), b"").unwrap();
    match open(&folder.0) {
        Ok(broker) => broker.publish(Target::Queue(QUEUE.into()), message(1)).await.unwrap(),
        Err(error) => assert!(error.to_string().contains(folder.0.to_str().unwrap()), "{error}"),
    }
}

#[tokio::test]
async fn a_folder_out_of_reach_is_named() {
    let folder = Folder::new();
    // A file where the folder should be.
    let taken = folder.0.join("taken");
    fs::write(&taken, b"").unwrap();
    // A folder where the file should be.
    let full = folder.0.join("full");
    fs::create_dir_all(full.join(file_name().await)).unwrap();
    let mut cases = vec![taken.clone(), taken.join("below"), full];
    // Root may do anything.
    let locked = folder.0.join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if fs::read_dir(&locked).is_err() {
        cases.push(locked.join("store"));
        cases.push(locked.clone());
    }
    for case in cases {
        let error = open(&case).err().unwrap_or_else(|| panic!("{case:?} can't be a store"));
        assert!(error.to_string().contains(case.to_str().unwrap()), "{error}");
        assert!(!matches!(error, OpenError::InUse { .. }), "{error}");
    }
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
}

// ---- Other processes ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_second_process_is_told_so_until_the_first_is_gone() {
    let folder = Folder::new();
    let mut holder = Process::start(Command::new(std::env::current_exe().unwrap()), "hold", &folder.0);
    assert_eq!(holder.line(), "open");
    let error = open(&folder.0).expect_err("it is in use");
    assert!(matches!(&error, OpenError::InUse { path } if path.starts_with(&folder.0)), "{error}");
    // kill -9: nobody is left to give the lock back.
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    let broker = open(&folder.0).unwrap();
    let error = open(&folder.0).expect_err("it is in use by ourselves");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    broker.publish(Target::Queue(QUEUE.into()), message(1)).await.unwrap();
}

/// A file system of its own, of 24 MiB, that is full from some point on.
#[tokio::test]
async fn a_full_file_system_refuses_publishes_and_loses_nothing() {
    let folder = Folder::new();
    // In a namespace of its own, which needs no rights where the kernel lets users have some, and ends with its processes.
    let wrapper = format!(
        "mount -t tmpfs -o size=24m tmpfs {0} && head -c 8M /dev/zero > {0}/balloon && \"$@\"; {ROLE}=\"check {0}\" exec \"$@\"",
        folder.0.display()
    );
    let namespace = ["unshare", "--user", "--map-root-user", "--mount"];
    if !Command::new(namespace[0]).args(&namespace[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        println!("no mount namespaces here: not tested");
        return;
    }
    let mut command = Command::new(namespace[0]);
    command.args(&namespace[1..]).args(["bash", "-c", &wrapper, "wrapper"]).arg(std::env::current_exe().unwrap());
    let mut process = Process::start(command, "fill", &folder.0);
    let refused = process.line();
    assert!(refused.contains("refused") && refused.contains("space"), "{refused}");
    let settled: usize = process.line().strip_prefix("settled ").unwrap().parse().unwrap();
    let confirmed: usize = process.line().strip_prefix("confirmed ").unwrap().parse().unwrap();
    assert!(settled > 100 && confirmed > 2 * settled, "{settled} settled of {confirmed}");
    // Acks that were not yet written when it was killed come again.
    let left: Vec<usize> =
        process.line().strip_prefix("left ").unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
    let first = left[0];
    assert!(first <= settled, "task {settled} is lost, and the first that is left is {first}");
    assert_eq!(left, (first..confirmed).collect::<Vec<_>>(), "{settled} settled of {confirmed}");
}

/// Not a claim: what the processes do that the tests above start. Does nothing by itself.
#[tokio::test]
async fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (role, folder) = role.split_once(' ').unwrap();
    let folder = Path::new(folder);
    let broker = open(folder).unwrap();
    match role {
        "hold" => say("open"),
        "fill" => fill(&broker, &folder.join("balloon")).await,
        "check" => check(&broker).await,
        _ => panic!("no such role: {role}"),
    }
    // Until it is killed.
    std::future::pending::<()>().await;
}

/// Publishes until it is refused, settles what is there, makes room, publishes more, and is gone without a word.
async fn fill(broker: &EmbeddedBroker, balloon: &Path) {
    let target = Target::Queue(QUEUE.into());
    let mut confirmed = 0;
    let error = loop {
        match broker.publish(target.clone(), message(confirmed)).await {
            Ok(()) => confirmed += 1,
            Err(error) => break error,
        }
    };
    say(&format!("refused: {error}"));
    let mut events = broker.start();
    broker.open(Source::Queue(QUEUE.into()), 20);
    let settle = confirmed / 2;
    let mut settled = 0;
    while settled < settle {
        let event = timeout(LIMIT, events.recv()).await.expect("deliveries go on without room").unwrap();
        if let BrokerEvent::Delivered(delivery) = event {
            assert_eq!(delivery.message.body, message(settled).body, "in order");
            broker.ack(delivery.tag);
            settled += 1;
        }
    }
    broker.close(&Source::Queue(QUEUE.into()));
    say(&format!("settled {settled}"));
    let refused = broker.publish(target.clone(), message(confirmed)).await;
    assert!(matches!(refused, Err(PublishError::Refused(_))), "still no room: {refused:?}");
    fs::remove_file(balloon).unwrap();
    let more = confirmed + 100;
    while confirmed < more {
        match broker.publish(target.clone(), message(confirmed)).await {
            Ok(()) => confirmed += 1,
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
    say(&format!("confirmed {confirmed}"));
    std::process::abort();
}

/// Tells which tasks are there, as they were.
async fn check(broker: &EmbeddedBroker) {
    let mut left = Vec::new();
    for n in 0..CHECKED {
        let found = broker.find(TaskId::new(&format!("task-{n}")).unwrap()).await.unwrap();
        match &found[..] {
            [found] if found.message.body == message(n).body => left.push(n.to_string()),
            [] => {}
            other => panic!("task {n} is not as it was: {other:?}"),
        }
    }
    say(&format!("left {}", left.join(" ")));
}

/// A line that the parent reads, which is not swallowed as a test's output.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@ {line}").unwrap();
    out.flush().unwrap();
}

/// This program as another process, in a role of its own.
struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(mut command: Command, role: &str, folder: &Path) -> Self {
        let mut child = command
            .args(["role", "--exact", "--nocapture"])
            .env(ROLE, format!("{role} {}", folder.to_str().unwrap()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that it says.
    fn line(&mut self) -> String {
        loop {
            let line = self.lines.next().expect("it ended").unwrap();
            if let Some(line) = line.strip_prefix("@ ") {
                return line.to_owned();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- Folders -----------------------------------------------------------------------------------------------------

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("quebert-damage-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// The store's file in it.
    fn file(&self) -> PathBuf {
        let mut files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|extension| extension == "redb")).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(folder: &Path) -> Result<EmbeddedBroker, OpenError> {
    let queues = vec![QUEUE.into(), "settled".into()];
    EmbeddedBroker::open(EmbeddedConfig { folder: folder.to_owned(), queues, ..EmbeddedConfig::default() })
}

/// The name of a store's file.
async fn file_name() -> PathBuf {
    let folder = Folder::new();
    open(&folder.0).unwrap().stop().await;
    PathBuf::from(folder.file().file_name().unwrap())
}

/// Ten times as many with `QUEBERT_LONG=1`.
fn rounds(n: usize) -> usize {
    if std::env::var_os("QUEBERT_LONG").is_some_and(|long| long == "1") { 10 * n } else { n }
}
