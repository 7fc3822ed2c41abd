//! What people do by hand, on a real RabbitMQ: topology, looking through queues, moving and removing.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_broker_adapter::{
    admin::{Admin, AdminError, Enqueue, Enqueued, Once, Place, Position, Sweeper, Swept, Take},
    amqp::{Exchange, LaneTopology, QueueType, RabbitAdmin, RabbitBroker, RabbitConfig, State, Topology},
    testing::PrivateRabbit,
};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker, BrokerEvent, PublishError, Source, Target},
};
use quebert_wire::{Message, Timestamp};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};

const LIMIT: Duration = Duration::from_secs(60);

/// One node for all tests here, each in a virtual host of its own. The node's guard ends it with this process.
static NODE: OnceCell<PrivateRabbit> = OnceCell::const_new();

async fn node() -> &'static PrivateRabbit {
    NODE.get_or_init(|| async { PrivateRabbit::start().await.unwrap() }).await
}

/// A config for a virtual host of this name, which is made.
async fn config(vhost: &str, topology: Topology) -> RabbitConfig {
    let node = node().await;
    node.add_vhost(vhost).await.unwrap();
    let urls = vec![node.url_of(vhost)];
    // These are no tests of speed.
    RabbitConfig { urls, topology, connection_name: vhost.into(), connect_timeout: LIMIT, ..RabbitConfig::default() }
}

fn lane(queue: &str) -> Topology {
    Topology { lanes: vec![LaneTopology::of(queue)], ..Topology::default() }
}

/// A topology as others have it: their exchange, their keys, their queues.
fn flow(declare: bool) -> Topology {
    let lane = |level: &str| LaneTopology {
        routing_key: Some(format!("tasks.{level}")),
        ..LaneTopology::of(format!("{level}-priority-queue"))
    };
    Topology {
        declare,
        exchange: Some(Exchange { name: "flow".into(), kind: "direct".into() }),
        lanes: ["high", "medium", "low"].map(lane).into(),
        ..Topology::default()
    }
}

async fn connect(config: &RabbitConfig) -> RabbitAdmin {
    RabbitAdmin::connect(config.clone()).await.unwrap()
}

fn message(n: usize) -> Message {
    Message { id: Some(format!("m{n}")), body: "body".into(), ..Message::default() }
}

async fn fill(admin: &RabbitAdmin, queue: &str, count: usize) {
    for n in 0..count {
        admin.publish_to("", queue, &message(n)).await.unwrap();
    }
}

fn names(count: std::ops::Range<usize>) -> Vec<String> {
    count.map(|n| format!("m{n}")).collect()
}

fn ids(messages: Vec<Message>) -> Vec<String> {
    messages.into_iter().map(|message| message.id.unwrap()).collect()
}

/// Decides by a closure.
struct By<F>(F);

impl<F: FnMut(Message) -> BoxFuture<'static, Take> + Send> Sweeper for By<F> {
    fn decide<'a>(&'a mut self, at: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        assert_eq!(at, None, "RabbitMQ has no positions");
        (self.0)(message.clone())
    }
}

/// Sweeps the dead letters of `work`.
async fn sweep(
    admin: &RabbitAdmin,
    limit: u64,
    decide: impl FnMut(Message) -> BoxFuture<'static, Take> + Send,
) -> Result<Swept, AdminError> {
    admin.sweep(Place::Dead("work".into()), None, limit, &mut By(decide)).await
}

fn to(queue: &str, message: Message) -> Take {
    Take::Move { target: Target::Queue(queue.into()), message }
}

/// What is ready in a queue, front first, once it is as many: what a lost connection held comes back a little later.
async fn content(admin: &RabbitAdmin, queue: &str, count: usize) -> Vec<String> {
    let end = Instant::now() + LIMIT;
    loop {
        let found = ids(admin.browse(queue, 1000).await.unwrap());
        if found.len() == count {
            return found;
        }
        assert!(Instant::now() < end, "{queue} holds {found:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Kinds of states by object.
fn states(reports: Vec<quebert_broker_adapter::amqp::Report>) -> BTreeMap<String, &'static str> {
    let kind = |state: State| match state {
        State::Ready => "ready",
        State::Differs(_) => "differs",
        State::Missing(_) => "missing",
        State::Unchecked => "unchecked",
        State::Failed(_) => "failed",
        _ => "?",
    };
    reports.into_iter().map(|report| (report.object, kind(report.state))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_then_made_and_making_it_again_changes_nothing() {
    let config = config("made", flow(true)).await;
    let admin = connect(&config).await;
    let before = states(admin.check().await.unwrap());
    assert_eq!(
        before.len(),
        1 + 3 + 3 + 3 + 1 + 1,
        "exchange, queues, bindings, dead letters, announcements: {before:?}"
    );
    assert!(
        before.iter().all(|(name, state)| *state == if name.starts_with("binding") { "unchecked" } else { "missing" }),
        "{before:?}"
    );
    assert!(states(admin.check().await.unwrap()) == before, "a look makes nothing");
    for _ in 0..2 {
        let applied = states(admin.apply().await.unwrap());
        assert!(applied.values().all(|state| *state == "ready") && applied.len() == before.len(), "{applied:?}");
    }
    let after = states(admin.check().await.unwrap());
    assert!(after.values().all(|state| ["ready", "unchecked"].contains(state)), "{after:?}");
    admin.publish_to("flow", "tasks.low", &message(0)).await.unwrap();
    assert_eq!(content(&admin, "low-priority-queue", 1).await, ["m0"], "it is bound");
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_with_other_arguments_is_named_with_the_difference_and_used() {
    let mut config = config("differs", lane("work")).await;
    config.topology.lanes[0].arguments.insert("x-max-length".into(), quebert_broker_adapter::amqp::Argument::Int(77));
    let other = connect(&config).await;
    other.apply().await.unwrap();
    config.topology.lanes[0].arguments.clear();
    let admin = connect(&config).await;
    for reports in [admin.check().await.unwrap(), admin.apply().await.unwrap()] {
        let odd: Vec<_> = reports.iter().filter(|report| report.state != State::Ready).collect();
        let [work] = odd[..] else { panic!("{odd:?}") };
        let State::Differs(words) = &work.state else { panic!("{work:?}") };
        assert!(work.object == "queue \"work\"" && words.contains("x-max-length"), "{work:?}");
        assert!(work.state.is_usable());
    }
    fill(&admin, "work", 1).await;
    assert_eq!(content(&admin, "work", 1).await, ["m0"]);
    admin.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topology_of_others_is_used_and_left_alone() {
    let config = config("others", flow(false)).await;
    let admin = connect(&config).await;
    let objects = |args: &'static [&'static str]| async move {
        let text = node().await.ctl(&[args, &["--no-table-headers", "-p", "others"]].concat()).await.unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let queues = || objects(&["list_queues", "name", "arguments"]);
    let applied = states(admin.apply().await.unwrap());
    let missing: Vec<_> =
        applied.iter().filter(|(_, state)| **state != "ready").map(|(name, state)| format!("{name} {state}")).collect();
    assert_eq!(
        missing.iter().filter(|line| line.ends_with("missing")).count(),
        4,
        "the exchange and the queues: {missing:?}"
    );
    assert!(!queues().await.iter().any(|line| line.contains("priority-queue\t")), "they are not ours to make");

    // Theirs: without any of our arguments.
    let levels = ["high", "medium", "low"];
    let queue = |level: &str| {
        serde_json::json!({"name": format!("{level}-priority-queue"), "vhost": "others", "durable": true,
            "auto_delete": false, "arguments": {}})
    };
    let binding = |level: &str| {
        serde_json::json!({"source": "flow", "vhost": "others", "destination": format!("{level}-priority-queue"),
            "destination_type": "queue", "routing_key": format!("tasks.{level}"), "arguments": {}})
    };
    let exchange = serde_json::json!({"name": "flow", "vhost": "others", "type": "direct", "durable": true,
        "auto_delete": false, "internal": false, "arguments": {}});
    let (queues_json, bindings_json) = (levels.map(queue).to_vec(), levels.map(binding).to_vec());
    let theirs = serde_json::json!({"exchanges": [exchange], "queues": queues_json, "bindings": bindings_json});
    import("others", &theirs.to_string()).await;
    let (exchanges, bindings) = (objects(&["list_exchanges"]).await, objects(&["list_bindings"]).await);
    // RabbitMQ 4 notes the type of what it imports.
    let before: Vec<_> = queues().await.into_iter().filter(|line| line.contains("priority-queue\t")).collect();
    for reports in [admin.apply().await.unwrap(), admin.check().await.unwrap()] {
        let states = states(reports);
        assert!(states.values().all(|state| ["ready", "unchecked"].contains(state)), "{states:?}");
    }
    let made: Vec<_> = queues().await.into_iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect();
    let ours = [
        "high-priority-queue.dead",
        "low-priority-queue.dead",
        "medium-priority-queue.dead",
        "quebert.dead",
        "quebert.delays",
    ];
    let work = ["high-priority-queue", "low-priority-queue", "medium-priority-queue"];
    let mut wanted = [&ours[..], &work[..]].concat();
    wanted.sort_unstable();
    assert_eq!(made, wanted);
    let after: Vec<_> = queues().await.into_iter().filter(|line| line.contains("priority-queue\t")).collect();
    assert_eq!(after, before, "their arguments are still theirs");
    assert_eq!(objects(&["list_exchanges"]).await, exchanges);
    let more: Vec<_> = objects(&["list_bindings"]).await.into_iter().filter(|line| !bindings.contains(line)).collect();
    assert!(more.is_empty(), "{more:?}");

    let broker = RabbitBroker::new(config).unwrap();
    let mut events = broker.start();
    broker.open(Source::Queue("medium-priority-queue".into()), 5);
    admin.publish_to("flow", "tasks.medium", &message(7)).await.unwrap();
    let arrived = timeout(LIMIT, async {
        loop {
            if let BrokerEvent::Delivered(delivery) = events.recv().await.expect("the events go on") {
                return delivery.message.id;
            }
        }
    });
    assert_eq!(arrived.await.expect("it arrives").as_deref(), Some("m7"));
    broker.stop().await;
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_definitions_can_be_imported_and_are_what_is_looked_for() {
    let config = config("imported", flow(true)).await;
    import("imported", &config.topology.definitions_json("imported", Duration::from_secs(5))).await;
    let admin = connect(&config).await;
    // Declaring them would tell of any argument that differs.
    for reports in [admin.check().await.unwrap(), admin.apply().await.unwrap()] {
        let states = states(reports);
        assert!(states.values().all(|state| ["ready", "unchecked"].contains(state)), "{states:?}");
    }
    let admin_of_delays = quebert_dispatcher::grid::Step::all().filter(|step| step.length() <= Duration::from_secs(5));
    for step in admin_of_delays {
        let target = Target::Delay(step);
        assert!(admin.depth(&target).await.is_some(), "no queue for {step:?}");
    }
    admin.publish_to("flow", "tasks.high", &message(0)).await.unwrap();
    admin.close().await;
}

async fn import(name: &str, definitions: &str) {
    let path = std::env::temp_dir().join(format!("quebert-{name}-{}.json", std::process::id()));
    std::fs::write(&path, definitions).unwrap();
    let imported = node().await.ctl(&["import_definitions", path.to_str().unwrap()]).await;
    std::fs::remove_file(&path).unwrap();
    imported.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn browsing_keeps_messages_and_their_order_however_often_it_is_done() {
    for (vhost, queue_type) in [("browse-quorum", QueueType::Quorum), ("browse-classic", QueueType::Classic)] {
        let config = config(vhost, Topology { queue_type, ..lane("work") }).await;
        let admin = connect(&config).await;
        admin.apply().await.unwrap();
        fill(&admin, "work.dead", 8).await;
        // Past the limit of work queues, 50, and the default of RabbitMQ 4, 20.
        for _ in 0..60 {
            assert_eq!(content(&admin, "work.dead", 8).await, names(0..8), "{vhost}");
        }
        assert_eq!(ids(admin.browse("work.dead", 3).await.unwrap()), names(0..3), "no more than asked for");
        let mut after = content(&admin, "work.dead", 8).await;
        if queue_type == QueueType::Quorum {
            // What comes back to a quorum queue stands behind what came back before it.
            after.sort();
        }
        assert_eq!(after, names(0..8), "{vhost}");
        let none = admin.browse("no-such-queue", 1).await.unwrap_err();
        assert!(matches!(&none, AdminError::NoSuchPlace(name) if name == "no-such-queue"), "{none:?}");
        admin.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_does_with_each_message_what_was_decided() {
    let config = config("sweep", lane("work")).await;
    let admin = connect(&config).await;
    admin.apply().await.unwrap();
    fill(&admin, "work.dead", 10).await;
    let decide = |found: Message| match found.id.as_deref() {
        Some("m1" | "m3") => Take::Remove,
        Some("m2" | "m5") => to("work", Message { priority: Some(3), ..found }),
        Some("m7") => Take::Stop,
        _ => Take::Keep,
    };
    let swept = sweep(&admin, 1000, |found| Box::pin(async move { decide(found) })).await.unwrap();
    assert_eq!(swept, Swept { seen: 8, removed: 2, moved: 2, complete: false });
    assert_eq!(content(&admin, "work.dead", 6).await, ["m0", "m4", "m6", "m7", "m8", "m9"]);
    let moved = admin.browse("work", 10).await.unwrap();
    assert!(moved.iter().all(|message| message.priority == Some(3) && message.body == "body"), "{moved:?}");
    assert_eq!(ids(moved), ["m2", "m5"]);
    let swept = sweep(&admin, 2, |_| Box::pin(async { Take::Remove })).await.unwrap();
    assert_eq!((swept.seen, swept.removed), (2, 2), "no more than the limit");
    assert_eq!(content(&admin, "work.dead", 4).await, ["m6", "m7", "m8", "m9"]);
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_can_not_be_moved_stays() {
    let config = config("stays", lane("work")).await;
    let admin = connect(&config).await;
    admin.apply().await.unwrap();
    fill(&admin, "work.dead", 3).await;
    let failed = sweep(&admin, 1000, |found| Box::pin(async { to("gone", found) })).await.unwrap_err();
    assert!(matches!(failed, AdminError::Publish(_)), "{failed:?}");
    assert_eq!(content(&admin, "work.dead", 3).await, names(0..3));
    admin.close().await;
}

/// Which of a session's two connections is cut while a message is being moved.
async fn cut_while_moving(vhost: &str, role: &'static str) -> (RabbitAdmin, AdminError) {
    let config = config(vhost, lane("work")).await;
    let other = connect(&RabbitConfig { connection_name: "other".into(), ..config.clone() }).await;
    other.apply().await.unwrap();
    fill(&other, "work.dead", 5).await;
    let admin = connect(&config).await;
    let connection = format!("{vhost}-{role}");
    let cut = sweep(&admin, 1000, |found| {
        let connection = connection.clone();
        Box::pin(async move {
            if found.id.as_deref() == Some("m2") {
                close_connection(&connection).await;
            }
            to("work", found)
        })
    })
    .await;
    admin.close().await;
    (other, cut.unwrap_err())
}

/// Has the broker close the connection of this name.
async fn close_connection(name: &str) {
    let node = node().await;
    let list = node.ctl(&["list_connections", "pid", "client_properties"]).await.unwrap();
    let named = format!("\"{name}\"");
    let line = list.lines().find(|line| line.contains(&named)).unwrap_or_else(|| panic!("{name} in {list}"));
    node.ctl(&["close_connection", line.split('\t').next().unwrap(), "cut by a test"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_between_publish_and_ack_leaves_the_message_in_both_queues() {
    let (other, error) = cut_while_moving("cut-ack", "consume").await;
    assert!(matches!(error, AdminError::Unavailable(_)), "{error:?}");
    assert_eq!(content(&other, "work", 3).await, names(0..3));
    assert_eq!(content(&other, "work.dead", 3).await, names(2..5), "moved and kept, rather than lost");
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_before_the_publish_leaves_the_message_where_it_was() {
    let (other, error) = cut_while_moving("cut-publish", "publish").await;
    assert!(matches!(error, AdminError::Publish(_)), "{error:?}");
    assert_eq!(content(&other, "work", 2).await, names(0..2));
    assert_eq!(content(&other, "work.dead", 3).await, names(2..5));
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_whose_ack_did_not_arrive_is_not_told_as_done() {
    let config = config("cut-last", lane("work")).await;
    let admin = connect(&config).await;
    admin.apply().await.unwrap();
    fill(&admin, "work.dead", 1).await;
    let cut = sweep(&admin, 1, |_| {
        Box::pin(async {
            close_connection("cut-last-consume").await;
            Take::Remove
        })
    })
    .await;
    assert!(matches!(cut, Err(AdminError::Unavailable(_))), "{cut:?}");
    admin.close().await;
    let other = connect(&config).await;
    assert_eq!(content(&other, "work.dead", 1).await, names(0..1));
    other.close().await;
}

fn task(id: &str) -> Enqueue {
    let message = Message { id: Some(id.into()), body: "body".into(), ..Message::default() };
    Enqueue { queue: "work".into(), message, once: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_cut_is_opened_again_by_the_next_request() {
    let config = config("again", lane("work")).await;
    let admin = RabbitAdmin::new(config).unwrap();
    admin.apply().await.unwrap();
    for n in 0..3 {
        node().await.ctl(&["close_all_connections", "--vhost", "again", "cut by a test"]).await.unwrap();
        let end = Instant::now() + LIMIT;
        // The request that meets the cut may fail; none after it does.
        while admin.enqueue(vec![task(&format!("m{n}"))]).await != [Ok(Enqueued::Stored)] {
            assert!(Instant::now() < end, "it stays cut");
        }
    }
    let status = admin.status(Place::Queue("work".into())).await.unwrap();
    assert!(status.ready >= 3 && status.consumers == Some(0) && status.oldest.is_none(), "{status:?}");
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_a_broker_that_is_away_share_one_attempt_and_its_end() {
    // Takes connections, and never speaks.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("amqp://guest:hunter2@{}/%2f", silent.local_addr().unwrap());
    let connect_timeout = Duration::from_millis(300);
    let config = RabbitConfig { urls: vec![url], connect_timeout, topology: lane("work"), ..RabbitConfig::default() };
    let admin = Arc::new(RabbitAdmin::new(config).unwrap());
    let accepted = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(Ok((stream, _))) = timeout(Duration::from_secs(2), silent.accept()).await {
            held.push(stream);
        }
        held.len()
    });
    let ask = || {
        let admin = admin.clone();
        tokio::spawn(async move { admin.enqueue(vec![task("a"), task("b")]).await })
    };
    let asked: Vec<_> = (0..20).map(|_| ask()).collect();
    for answer in asked {
        for result in answer.await.unwrap() {
            let Err(PublishError::NotConnected(words)) = result else { panic!("{result:?}") };
            assert!(!words.contains("hunter2"), "{words}");
        }
    }
    // Two connections for each attempt; a second one may begin after the first has ended.
    let connections = accepted.await.unwrap();
    assert!((2..=4).contains(&connections), "{connections} connections for 20 requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_go_through_the_exchange_of_their_lane_and_come_back_where_it_leads_nowhere() {
    let config = config("routed", flow(true)).await;
    let admin = RabbitAdmin::new(config).unwrap();
    admin.apply().await.unwrap();
    let low: Arc<str> = "low-priority-queue".into();
    let routed = Enqueue { queue: low.clone(), ..task("a") };
    assert_eq!(admin.enqueue(vec![routed.clone()]).await, [Ok(Enqueued::Stored)]);
    assert_eq!(admin.status(Place::Queue(low.clone())).await.unwrap().ready, 1);
    let vhost = ["-p", "routed"];
    // As an administrator would: rabbitmqctl itself can't unbind.
    let code = "rabbit_binding:remove({binding, {resource, <<\"routed\">>, exchange, <<\"flow\">>}, <<\"tasks.low\">>, \
        {resource, <<\"routed\">>, queue, <<\"low-priority-queue\">>}, []}, <<\"test\">>).";
    node().await.ctl(&["eval", code]).await.unwrap();
    let bindings = node().await.ctl(&[&["list_bindings"], &vhost[..]].concat()).await.unwrap();
    assert!(!bindings.contains("tasks.low"), "{bindings}");
    let back = admin.enqueue(vec![routed, Enqueue { queue: "medium-priority-queue".into(), ..task("b") }]).await;
    assert!(matches!(&back[..], [Err(PublishError::Returned(_)), Ok(Enqueued::Stored)]), "{back:?}");
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_broker_is_told_of_within_seconds_and_an_open_key_stands_for_one_task() {
    // A node of its own, since an alarm is everybody's.
    let node = PrivateRabbit::start().await.unwrap();
    let config = RabbitConfig { urls: vec![node.url()], topology: lane("work"), ..RabbitConfig::default() };
    let admin = RabbitAdmin::new(config).unwrap();
    admin.apply().await.unwrap();
    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await.unwrap();
    let until = Timestamp::from_millis(i64::MAX);
    let once = Some(Once { key: "k".into(), fingerprint: [1; 32], until });
    let started = Instant::now();
    let refused = admin.enqueue(vec![Enqueue { once: once.clone(), ..task("first") }]).await;
    assert!(matches!(refused[..], [Err(PublishError::Unknown(_))]), "the alarm comes with the publish: {refused:?}");
    let tasks: Vec<_> = (0..200).map(|n| task(&n.to_string())).collect();
    for result in admin.enqueue(tasks).await {
        assert!(matches!(result, Err(PublishError::NotConnected(_) | PublishError::Unknown(_))), "{result:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).await.unwrap();
    let end = Instant::now() + LIMIT;
    loop {
        let again = admin.enqueue(vec![Enqueue { once: once.clone(), ..task("second") }]).await;
        match &again[..] {
            [Ok(Enqueued::Repeated { id })] => break assert_eq!(id, "first"),
            [Err(_)] => assert!(Instant::now() < end, "{again:?}"),
            _ => panic!("{again:?}"),
        }
    }
    let found = ids(admin.browse("work", 1000).await.unwrap());
    assert!(found.iter().any(|id| id == "first") && !found.iter().any(|id| id == "second"), "{found:?}");
    admin.close().await;
}
