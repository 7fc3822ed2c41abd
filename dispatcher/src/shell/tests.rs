//! The shell, with a broker in memory and a transport of closures, in paused time.

use super::*;
use crate::{
    backoff::RetryPolicy,
    config::{DestinationConfig, HookErrorRule, LaneConfig, Schedule},
    event::Event,
    memory::MemoryBroker,
    outcome::{Outcome, Response},
    ports::{
        BoxFuture,
        broker::Target,
        mediator::{Attempt, Before},
    },
    verdict::StatusRules,
};
use quebert_wire::{Limits, Message, Timestamp};
use std::sync::Mutex;
use tokio::sync::watch;

/// The requests so far, and when they were made.
type Seen = Arc<Mutex<Vec<(tokio::time::Instant, http::Request<bytes::Bytes>)>>>;

type Answer = Box<dyn Fn(&Request, usize) -> (Duration, u16) + Send + Sync>;

/// Answers by a closure, which is told how many requests came before.
struct Scripted {
    seen: Seen,
    answer: Answer,
}

impl Transport for Scripted {
    fn send(&self, request: Request) -> BoxFuture<'static, Outcome> {
        let mut seen = self.seen.lock().unwrap();
        let (delay, status) = (self.answer)(&request, seen.len());
        seen.push((tokio::time::Instant::now(), request.http));
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            Outcome::Answered(Response {
                status: http::StatusCode::from_u16(status).unwrap(),
                headers: http::HeaderMap::new(),
                body: bytes::Bytes::new(),
                truncated: false,
            })
        })
    }
}

/// Counts settlements, so that tests can wait for them.
struct Settled(watch::Sender<Vec<Settlement>>);

impl Observer for Settled {
    fn observe(&self, event: &Event) {
        if let Event::Settled { result, .. } = event {
            self.0.send_modify(|all| all.push(*result));
        }
    }
}

struct Bench {
    broker: MemoryBroker,
    seen: Seen,
    settled: watch::Receiver<Vec<Settlement>>,
    handle: Handle,
    running: tokio::task::JoinHandle<Summary>,
}

fn core_config() -> CoreConfig {
    let lane = LaneConfig {
        name: "a".into(),
        queue: "q.a".into(),
        priority: 1,
        weight: 1,
        slots_own: 0,
        slots_max: u32::MAX,
        window: 16,
        attempt_timeout: Duration::from_secs(30),
        attempt_timeout_max: Duration::from_secs(60),
        ttl_default: None,
        retry: RetryPolicy::default(),
        status: StatusRules::default(),
    };
    CoreConfig {
        lanes: vec![lane],
        slots_shared: 8,
        schedule: Schedule::Strict { pass_over_max: None },
        destinations: DestinationConfig {
            slots: 8,
            slots_of: BTreeMap::new(),
            window_share: 100,
            patience: Duration::from_secs(1),
            put_off_min: Duration::from_secs(2),
            put_off_max: Duration::from_secs(60),
        },
        limits: Limits::default(),
        hold_max: Duration::from_secs(1),
        consumer_timeout: Duration::from_secs(1800),
        redeliveries_max: None,
        delay_window: 16,
        bury_expired: false,
        bury_unknown_fields: false,
        hook_error: HookErrorRule::PutOff,
        mediated: false,
        seed: 7,
    }
}

fn bench(
    extend: impl FnOnce(Builder) -> Builder,
    answer: impl Fn(&Request, usize) -> (Duration, u16) + Send + Sync + 'static,
) -> Bench {
    let broker = MemoryBroker::new();
    broker.declare("q.a");
    let seen = Seen::default();
    let transport = Scripted { seen: Arc::clone(&seen), answer: Box::new(answer) };
    let (sender, settled) = watch::channel(Vec::new());
    let builder = Dispatcher::builder(core_config(), Arc::new(broker.clone()), Arc::new(transport))
        .clock(Arc::new(SystemClock::starting_at(Timestamp::from_millis(1_800_000_000_000))))
        .observer(Settled(sender));
    let dispatcher = extend(builder).build();
    let handle = dispatcher.handle();
    Bench { broker, seen, settled, handle, running: tokio::spawn(dispatcher.run()) }
}

impl Bench {
    async fn enqueue(&self, json: &str) {
        let message = Message { body: json.to_owned().into(), ..Message::default() };
        self.broker.publish(Target::Queue("q.a".into()), message).await.unwrap();
    }

    async fn settlements(&mut self, n: usize) -> Vec<Settlement> {
        self.settled.wait_for(|all| all.len() >= n).await.unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_sent_retried_after_its_backoff_and_completed() {
    let mut bench = bench(|builder| builder, |_, before| (Duration::ZERO, if before < 3 { 500 } else { 200 }));
    bench.enqueue(r#"{"id":"t","url":"http://host/p","body":{"n": 1}}"#).await;
    let settled = &mut bench.settled;
    settled.wait_for(|all| all.last() == Some(&Settlement::Succeeded)).await.unwrap();
    let seen = bench.seen.lock().unwrap();
    let attempts: Vec<_> = seen.iter().map(|(_, request)| request.headers()["quebert-attempt"].clone()).collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    for (n, pair) in seen.windows(2).enumerate() {
        let (least, most) = RetryPolicy::default().bounds(u32::try_from(n).unwrap() + 1);
        let gap = pair[1].0 - pair[0].0;
        // The paused clock moves in whole milliseconds.
        assert!(gap >= least && gap <= most + Duration::from_millis(20), "{gap:?} not in {least:?}..{most:?}");
    }
    assert!(seen.iter().all(|(_, request)| request.body() == r#"{"n": 1}"#));
    assert!(bench.broker.everything().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cut_while_a_request_is_under_way_does_not_send_it_twice() {
    let mut bench = bench(|builder| builder, |_, _| (Duration::from_secs(5), 200));
    bench.enqueue(r#"{"id":"t","url":"http://host/"}"#).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.broker.cut();
    assert_eq!(bench.settlements(2).await, [Settlement::Requeued, Settlement::Succeeded]);
    assert_eq!(bench.seen.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_settles_what_is_under_way_and_its_summary_adds_up() {
    let bench = bench(|builder| builder, |_, _| (Duration::from_secs(5), 200));
    for n in 0..20 {
        bench.enqueue(&format!(r#"{{"id":"t{n}","url":"http://host/"}}"#)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.handle.drain(Duration::from_secs(30));
    let summary = bench.running.await.unwrap();
    assert_eq!(summary.settlements[&Settlement::Succeeded], 8);
    assert_eq!(summary.deliveries, summary.settlements.values().sum::<u64>() + summary.held);
    assert_eq!((summary.held, bench.broker.everything().len()), (0, 12));
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_everything_back_at_once() {
    let bench = bench(|builder| builder, |_, _| (Duration::from_secs(500), 200));
    bench.enqueue(r#"{"id":"t","url":"http://host/"}"#).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = tokio::time::Instant::now();
    bench.handle.stop_now();
    let summary = bench.running.await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!((summary.deliveries, summary.held, bench.broker.everything().len()), (1, 1, 1));
}

/// Does as its task's labels say.
struct Labelled;

impl Mediator for Labelled {
    async fn before(&self, attempt: &mut Attempt) -> Before {
        match attempt.task.labels.get("do").map(String::as_str) {
            Some("drop") => Before::Drop,
            Some("bury") => Before::Bury("not wanted".to_owned()),
            Some("panic") => panic!("a hook's own fault"),
            Some("hang") => std::future::pending().await,
            Some("elsewhere") => {
                attempt.task.url = http::Uri::from_static("http://other/path");
                Before::Send
            }
            _ => Before::Send,
        }
    }

    fn verdict(&self, attempt: &Attempt, _: &Outcome, proposed: crate::verdict::Verdict) -> crate::verdict::Verdict {
        match attempt.task.labels.get("verdict").map(String::as_str) {
            Some("complete") => crate::verdict::Verdict::Complete,
            Some("panic") => panic!("a hook's own fault"),
            _ => proposed,
        }
    }
}

#[track_caller]
fn mediated(labels: &str, status: u16, expect: Settlement) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async move {
        let mut bench = bench(|builder| builder.mediator(Labelled), move |_, _| (Duration::ZERO, status));
        bench.enqueue(&format!(r#"{{"id":"t","url":"http://host/","labels":{{{labels}}}}}"#)).await;
        assert_eq!(bench.settlements(1).await[0], expect, "{labels}");
        bench.seen.lock().unwrap().len()
    })
}

#[test]
fn mediators_drop_bury_and_override() {
    assert_eq!(mediated(r#""do":"drop""#, 200, Settlement::Filtered), 0);
    assert_eq!(mediated(r#""do":"bury""#, 200, Settlement::DeadLettered), 0);
    assert_eq!(mediated(r#""verdict":"complete""#, 500, Settlement::Succeeded), 1);
}

#[test]
fn a_hook_that_panics_or_hangs_loses_nothing() {
    assert_eq!(mediated(r#""do":"panic""#, 200, Settlement::Retried), 0);
    assert_eq!(mediated(r#""do":"hang""#, 200, Settlement::Retried), 0);
    assert_eq!(mediated(r#""verdict":"panic""#, 200, Settlement::Succeeded), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mediator_may_send_a_task_elsewhere() {
    let mut bench = bench(|builder| builder.mediator(Labelled), |_, _| (Duration::ZERO, 200));
    bench.enqueue(r#"{"id":"t","url":"http://host/","labels":{"do":"elsewhere"}}"#).await;
    assert_eq!(bench.settlements(1).await, [Settlement::Succeeded]);
    assert_eq!(bench.seen.lock().unwrap()[0].1.uri(), "http://other/path");
}

#[tokio::test(start_paused = true)]
async fn a_delayed_task_survives_a_restart_of_the_dispatcher() {
    let bench = bench(|builder| builder, |_, _| (Duration::ZERO, 200));
    bench.enqueue(r#"{"id":"t","url":"http://host/","delay_ms":40000}"#).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    bench.handle.stop_now();
    bench.running.await.unwrap();
    assert_eq!(bench.broker.everything().len(), 1);
    let (sender, mut settled) = watch::channel(Vec::new());
    let seen = Seen::default();
    let transport = Scripted { seen: Arc::clone(&seen), answer: Box::new(|_, _| (Duration::ZERO, 200)) };
    let second = Dispatcher::builder(core_config(), Arc::new(bench.broker.another()), Arc::new(transport))
        .clock(Arc::new(SystemClock::starting_at(Timestamp::from_millis(1_800_000_010_000))))
        .observer(Settled(sender))
        .build();
    let started = tokio::time::Instant::now();
    tokio::spawn(second.run());
    settled.wait_for(|all: &Vec<Settlement>| all.contains(&Settlement::Succeeded)).await.unwrap();
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(30) && waited < Duration::from_millis(30_050), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_lane_sends_nothing_until_it_goes_on() {
    let mut bench = bench(|builder| builder.paused(["a".into()]), |_, _| (Duration::from_secs(5), 200));
    bench.enqueue(r#"{"id":"first","url":"http://host/"}"#).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(bench.seen.lock().unwrap().is_empty(), "paused from the first moment");
    bench.handle.resume("a");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.seen.lock().unwrap().len(), 1);
    bench.handle.pause("a");
    // Without an id a redelivery could not be told from another task.
    bench.enqueue(r#"{"url":"http://host/"}"#).await;
    bench.broker.cut();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.seen.lock().unwrap().len(), 1);
    bench.handle.resume("a");
    bench.settled.wait_for(|all| all.last() == Some(&Settlement::Succeeded)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.seen.lock().unwrap().len(), 2, "each was sent once");
    assert!(bench.broker.everything().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_ends_at_once_sends_nothing_twice() {
    let mut bench = bench(|builder| builder, |_, _| (Duration::from_secs(5), 200));
    for _ in 0..30 {
        bench.enqueue(r#"{"url":"http://host/"}"#).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.handle.pause("a");
    bench.handle.resume("a");
    let done = |all: &Vec<Settlement>| all.iter().filter(|result| **result == Settlement::Succeeded).count() == 30;
    bench.settled.wait_for(done).await.unwrap();
    assert_eq!(bench.seen.lock().unwrap().len(), 30);
    assert!(bench.broker.everything().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_task_can_be_found_sent_now_and_cancelled() {
    let mut bench = bench(|builder| builder, |_, _| (Duration::from_secs(5), 200));
    let id = |id: &str| TaskId::new(id).unwrap();
    for name in ["wanted", "unwanted"] {
        bench.enqueue(&format!(r#"{{"id":"{name}","url":"http://host/{name}","delay_ms":20000}}"#)).await;
    }
    bench.settled.wait_for(|all| all.len() == 2).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let found = bench.handle.find(id("wanted")).await;
    assert_eq!((found.len(), found[0].state, found[0].lane.as_deref()), (1, HeldState::Delayed, Some("a")));
    assert_eq!(bench.handle.cancel(id("unwanted")).await, Steered::Done);
    assert_eq!(bench.handle.cancel(id("unwanted")).await, Steered::NotHeld);
    let before = tokio::time::Instant::now();
    assert_eq!(bench.handle.run_now(id("wanted")).await, Steered::Done);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.handle.run_now(id("wanted")).await, Steered::UnderWay);
    bench.settled.wait_for(|all| all.last() == Some(&Settlement::Succeeded)).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(7), "{:?}", before.elapsed());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.seen.lock().unwrap().len(), 1);
    assert!(bench.broker.everything().is_empty());
    bench.handle.stop_now();
    bench.running.await.unwrap();
    assert_eq!(bench.handle.cancel(id("wanted")).await, Steered::NotHeld, "after the end");
}

#[tokio::test(start_paused = true)]
async fn what_is_paused_before_the_start_is_not_even_delivered() {
    let broker = MemoryBroker::new();
    broker.declare("q.a");
    let message = Message { body: r#"{"id":"t","url":"http://host/"}"#.into(), ..Message::default() };
    broker.publish(Target::Queue("q.a".into()), message).await.unwrap();
    let transport = Scripted { seen: Seen::default(), answer: Box::new(|_, _| (Duration::ZERO, 200)) };
    let dispatcher = Dispatcher::builder(core_config(), Arc::new(broker), Arc::new(transport)).build();
    let handle = dispatcher.handle();
    for paused in [true, false, true] {
        if paused { handle.pause("a") } else { handle.resume("a") }
    }
    let running = tokio::spawn(dispatcher.run());
    tokio::time::sleep(Duration::from_secs(1)).await;
    handle.drain(Duration::from_secs(1));
    assert_eq!(running.await.unwrap().deliveries, 0);
}
