//! What operators do by hand: dead letters listed, replayed and deleted, and a topology that others have made.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_broker_adapter::{
    amqp::{LaneTopology, RabbitAdmin, RabbitBroker, RabbitConfig, Topology},
    testing::PrivateRabbit,
};
use quebert_dispatcher::ports::broker::{Broker as _, BrokerEvent, Source};
use quebert_wire::{HeaderValue, Headers, Message, header};
use serde_json::Value;
use std::{
    process::Stdio,
    time::{Duration, Instant, SystemTime},
};
use tokio::{process::Command, sync::OnceCell, time::timeout};

/// Far beyond what anything here takes: a limit for tests that fail.
const LONG: Duration = Duration::from_secs(60);

/// One node for all tests here, each in a virtual host of its own. The node's guard ends it with this process.
static NODE: OnceCell<PrivateRabbit> = OnceCell::const_new();

/// The program, pointed at a virtual host.
struct Host {
    node: &'static PrivateRabbit,
    name: &'static str,
}

struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Host {
    async fn new(name: &'static str) -> Self {
        let node = NODE.get_or_init(|| async { PrivateRabbit::start().await.unwrap() }).await;
        node.add_vhost(name).await.unwrap();
        Self { node, name }
    }

    async fn quebert(&self, args: &[&str]) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quebert"));
        command.args(args).args(["--broker", &self.node.url_of(self.name)]);
        command
            .current_dir(std::env::temp_dir())
            .env_remove("QUEBERT_CONFIG")
            .env_remove("QUEBERT_API")
            .kill_on_drop(true);
        let output = command.stdin(Stdio::null()).output();
        let output = timeout(LONG, output).await.expect("the command ends").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What it prints when all goes well.
    async fn good(&self, args: &[&str]) -> String {
        let done = self.quebert(args).await;
        assert_eq!(done.code, Some(0), "{args:?}: {}{}", done.out, done.err);
        done.out
    }

    /// The dead letters that fit.
    async fn letters(&self, filter: &[&str]) -> Vec<Value> {
        let listed = self.good(&[&["dead", "list", "--json"], filter].concat()).await;
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Their ids, in order of the alphabet.
    async fn ids(&self, filter: &[&str]) -> String {
        let letters = self.letters(filter).await;
        let mut ids: Vec<_> = letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids.join(" ")
    }

    fn config(&self) -> RabbitConfig {
        let lanes = ["high", "medium", "low"].map(|lane| LaneTopology::of(format!("quebert.{lane}")));
        let topology = Topology { lanes: lanes.into(), delivery_limit: 1, ..Topology::default() };
        RabbitConfig { urls: vec![self.node.url_of(self.name)], topology, ..RabbitConfig::default() }
    }

    async fn admin(&self) -> RabbitAdmin {
        RabbitAdmin::connect(self.config()).await.unwrap()
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// A dead letter as the dispatcher leaves it: 20 attempts, in its 22nd copy.
fn letter(id: &str, reason: &str, url: &str, age_s: i64) -> Message {
    let text = |text: &str| HeaderValue::Text(text.to_owned());
    let headers: Headers = [
        (header::DEAD_REASON, text(reason)),
        (header::DEAD_DETAIL, text("in words")),
        (header::DEAD_LANE, text("high")),
        (header::DEAD_AT, HeaderValue::Int(now_ms() - age_s * 1000)),
        (header::ATTEMPTS, HeaderValue::Int(20)),
        (header::COPY, HeaderValue::Int(21)),
        (header::ID, text(id)),
        (header::HISTORY, text("20 500")),
        ("mine", text("kept")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    Message { headers, body: format!("{{\"url\": \"{url}\"}}").into(), ..Message::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_found_by_what_is_known_of_them_and_deleted_only_when_asked_for() {
    let host = Host::new("found").await;
    assert_eq!(host.ids(&[]).await, "", "nothing was ever declared, so nothing is dead");
    host.good(&["topology", "apply"]).await;
    let admin = host.admin().await;
    for (queue, letter) in [
        ("quebert.high.dead", letter("a", "max_attempts", "http://one.test/x", 3600)),
        ("quebert.high.dead", letter("b", "permanent", "http://two.test/", 2 * 86_400)),
        ("quebert.low.dead", letter("c", "max_attempts", "http://two.test/y", 60)),
        ("quebert.dead", Message { body: "junk".into(), ..letter("d", "undecodable", "", 5) }),
    ] {
        admin.publish_to("", queue, &letter).await.unwrap();
    }
    admin.close().await;
    for (filter, ids) in [
        (&[][..], "a b c d"),
        (&["--lane", "high"], "a b"),
        (&["--reason", "max_attempts"], "a c"),
        (&["--url", "http://two.test/"], "b c"),
        (&["--id", "a", "--id", "d"], "a d"),
        (&["--older-than", "30m"], "a b"),
        (&["--newer-than", "30m"], "c d"),
        (&["--reason", "max_attempts", "--older-than", "30m"], "a"),
        (&["--lane", "high", "--limit", "1"], "a"),
        (&["--lane", "medium"], ""),
        (&["--reason", "delivery_limit"], ""),
    ] {
        assert_eq!(host.ids(filter).await, ids, "{filter:?}");
    }
    let table = host.good(&["dead", "list"]).await;
    assert!(table.contains("4 dead letters: 2 max_attempts, 1 permanent, 1 undecodable"), "{table}");
    for wrong in [&["--reason", "nonsense"], &["--lane", "nonsense"]] {
        assert_eq!(host.quebert(&[&["dead", "list"], &wrong[..]].concat()).await.code, Some(2), "{wrong:?}");
    }
    let shown: Value = serde_json::from_str(&host.good(&["dead", "show", "a", "--json"]).await).unwrap();
    assert_eq!(
        (&shown["body"], &shown["headers"]["mine"]),
        (&"{\"url\": \"http://one.test/x\"}".into(), &"kept".into())
    );
    assert_eq!(host.quebert(&["dead", "show", "e"]).await.code, Some(2));

    let refused = host.quebert(&["dead", "purge", "--reason", "permanent"]).await;
    assert!(refused.code == Some(2) && refused.err.contains("--yes"), "{}", refused.err);
    let dry = host.good(&["dead", "purge", "--reason", "permanent", "--dry-run", "--yes"]).await;
    assert_eq!(dry, "b\n1 would be deleted\n");
    assert_eq!(host.ids(&[]).await, "a b c d", "nothing is changed until it is asked for");
    assert_eq!(host.good(&["dead", "purge", "--reason", "permanent", "--yes"]).await, "1 deleted\n");
    assert_eq!(host.ids(&[]).await, "a c d");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_to_its_rate_and_makes_new_copies_of_the_same_tasks() {
    let host = Host::new("replay").await;
    host.good(&["topology", "apply"]).await;
    let admin = host.admin().await;
    for id in ["a", "b", "c", "d", "e"] {
        let letter = letter(id, "max_attempts", "http://one.test/", 10);
        admin.publish_to("", "quebert.high.dead", &letter).await.unwrap();
    }
    let dry = host.good(&["dead", "replay", "--dry-run", "--id", "b", "--id", "a"]).await;
    assert_eq!(dry, "a -> quebert.high\nb -> quebert.high\n2 would be replayed, 0 stay\n");
    assert_eq!(host.ids(&[]).await, "a b c d e");

    let started = Instant::now();
    assert_eq!(host.good(&["dead", "replay", "--rate", "10"]).await, "5 replayed, 0 stay\n");
    assert!(started.elapsed() >= Duration::from_millis(400), "5 at 10 a second took {:?}", started.elapsed());
    assert_eq!(host.ids(&[]).await, "");
    let replayed = admin.browse("quebert.high", 10).await.unwrap();
    assert_eq!(replayed.len(), 5);
    for (mut message, id) in replayed.into_iter().zip(["a", "b", "c", "d", "e"]) {
        let at = message.headers.remove(header::ENQUEUED_AT);
        let Some(HeaderValue::Int(at)) = at else { panic!("{at:?}") };
        assert!((now_ms() - 120_000..=now_ms()).contains(&at), "its age counts from now");
        let text = |text: &str| HeaderValue::Text(text.to_owned());
        // The broker's own count of deliveries of this copy.
        message.headers.remove("x-delivery-count");
        // Neither attempts nor notes of its death; the copy's number has gone on.
        let headers: [(&str, HeaderValue); 4] = [
            (header::COPY, HeaderValue::Int(22)),
            (header::HISTORY, text("20 500")),
            (header::ID, text(id)),
            ("mine", text("kept")),
        ];
        assert_eq!(message.headers, headers.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(message.body, "{\"url\": \"http://one.test/\"}");
    }

    // Of the common dead letters nothing tells where they came from, unless they do themselves.
    admin.publish_to("", "quebert.dead", &letter("lost", "unroutable", "http://one.test/", 10)).await.unwrap();
    let mut known = letter("known", "unroutable", "http://one.test/", 10);
    known.headers.insert(header::RETURN_TO.to_owned(), HeaderValue::Text("quebert.low".into()));
    admin.publish_to("", "quebert.dead", &known).await.unwrap();
    let partly = host.quebert(&["dead", "replay"]).await;
    assert_eq!((partly.code, &*partly.out), (Some(1), "1 replayed, 1 stay\n"), "{}", partly.err);
    assert!(partly.err.contains("lost"), "{}", partly.err);
    assert_eq!(host.ids(&[]).await, "lost");
    assert_eq!(admin.browse("quebert.low", 10).await.unwrap().len(), 1);
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_the_broker_itself_gave_up_is_listed_as_such_and_can_be_replayed() {
    let host = Host::new("limit").await;
    host.good(&["topology", "apply", "--set", "topology.delivery_limit=1"]).await;
    let admin = host.admin().await;
    let task =
        Message { id: Some("crasher".into()), body: r#"{"url": "http://one.test/"}"#.into(), ..Message::default() };
    admin.publish_to("", "quebert.high", &task).await.unwrap();
    // Each cut gives back what was delivered, and counts; the admin's connections are cut as well.
    let broker = RabbitBroker::new(host.config()).unwrap();
    let mut events = broker.start();
    broker.open(Source::Queue("quebert.high".into()), 1);
    for delivery in 1..=2 {
        let delivered = timeout(LONG, async {
            while !matches!(events.recv().await.expect("the events go on"), BrokerEvent::Delivered(_)) {}
        });
        delivered.await.unwrap_or_else(|_| panic!("delivery {delivery} does not come"));
        host.node.ctl(&["close_all_connections", "--vhost", "limit", "cut by a test"]).await.unwrap();
    }
    drop(admin);
    let end = Instant::now() + LONG;
    let letter = loop {
        if let Some(letter) = host.letters(&[]).await.pop() {
            break letter;
        }
        assert!(Instant::now() < end, "it is not given up");
    };
    broker.stop().await;
    assert_eq!(letter["id"], "crasher");
    assert_eq!((&letter["reason"], &letter["queue"]), (&"delivery_limit".into(), &"high".into()), "{letter}");
    assert!(letter["detail"].as_str().unwrap().contains("quebert.high"), "{letter}");
    assert_eq!(host.ids(&["--reason", "delivery_limit", "--newer-than", "1h"]).await, "crasher");
    host.good(&["dead", "replay", "--reason", "delivery_limit"]).await;
    let admin = host.admin().await;
    let replayed = admin.browse("quebert.high", 10).await.unwrap();
    admin.close().await;
    let [again] = &replayed[..] else { panic!("{replayed:?}") };
    assert_eq!((again.id.as_deref(), &again.body), (Some("crasher"), &task.body));
    let names: Vec<_> = again.headers.keys().filter(|name| *name != "x-delivery-count").collect();
    assert_eq!(
        names,
        [header::COPY, header::ENQUEUED_AT],
        "no trace of the death, which the broker would take for a cycle"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printed_topology_can_be_imported_and_is_then_complete() {
    let host = Host::new("printed").await;
    let folder = std::env::temp_dir().join(format!("quebert-printed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let lane =
        |level: &str| format!("[lanes.{level}]\nqueue = \"{level}-priority-queue\"\nrouting_key = \"tasks.{level}\"\n");
    let lanes: String = ["high", "medium", "low"].map(lane).concat();
    let config = folder.join("quebert.toml");
    std::fs::write(&config, format!("[topology]\ndeclare = false\nexchange = \"flow\"\n{lanes}")).unwrap();
    let config = ["--config", config.to_str().unwrap()];
    let before = host.quebert(&[&["check"], &config[..]].concat()).await;
    assert!(before.code == Some(1) && before.out.contains("missing"), "{}{}", before.out, before.err);

    let print = ["topology", "print", "--vhost", "printed", "--longest-delay", "10s"];
    let definitions = folder.join("definitions.json");
    std::fs::write(&definitions, host.good(&[&print, &config[..]].concat()).await).unwrap();
    host.node.ctl(&["import_definitions", definitions.to_str().unwrap()]).await.unwrap();
    let check = host.good(&[&["check", "--json"], &config[..]].concat()).await;
    let states: Vec<_> = check.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    assert_eq!(states.len(), 12, "{check}");
    for state in states {
        let binding = state["object"].as_str().unwrap().starts_with("binding");
        assert_eq!(state["state"], if binding { "unchecked" } else { "ready" }, "{state}");
    }
    let admin = host.admin().await;
    let task = Message { body: "{}".into(), ..Message::default() };
    admin.publish_to("flow", "tasks.medium", &task).await.unwrap();
    assert_eq!(admin.browse("medium-priority-queue", 5).await.unwrap().len(), 1, "it is bound");
    admin.close().await;
    std::fs::remove_dir_all(&folder).unwrap();
}
