//! The test suite that every [`Admin`] passes, so that API and command line can say the same of each broker.
//!
//! Each function is one claim and panics when it doesn't hold. Where brokers differ, a claim goes by [`Abilities`]. What
//! a dispatcher does to the same queues at the same time is not looked at here.

use super::{Abilities, Admin, AdminError, Enqueue, Enqueued, FoundState, Once, Place, Position, Sweeper, Swept, Take};
use quebert_dispatcher::{
    grid::Step,
    ports::{
        BoxFuture,
        broker::{PublishError, Target},
    },
};
use quebert_wire::{HeaderValue, Headers, Message, TaskId, Timestamp, header};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::time::sleep;

/// How long anything may take that must happen.
const LIMIT: Duration = Duration::from_secs(60);

/// What the suite needs of a broker under test.
pub trait Harness: Sync {
    /// A name that no queue has yet.
    fn fresh_name(&self) -> Arc<str>;

    /// The operators' side of a broker in which these work queues exist (made now, if need be), with their dead letters.
    fn admin(&self, queues: &[Arc<str>]) -> impl Future<Output = Arc<dyn Admin>> + Send;
}

/// What is stored is there, front first, as it was handed over.
pub async fn what_is_stored_is_there_in_order<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    let place = Place::Queue(queue.clone());
    let task = Enqueue { queue: queue.clone(), message: full_message(), once: None };
    assert_eq!(admin.enqueue(vec![task]).await, [Ok(Enqueued::Stored)]);
    fill(&*admin, &queue, &["a", "b"]).await;
    ready(&*admin, &place, 3).await;
    let mut found = content(&*admin, &place).await;
    assert_eq!(ids(&found), ["full", "a", "b"]);
    let whole = full_message();
    // Brokers may add headers of their own.
    found[0].headers.retain(|name, _| whole.headers.contains_key(name));
    assert_eq!(found[0], whole);
}

/// A batch is answered one by one, in its order, and a bad one stops no other.
pub async fn a_batch_is_answered_one_by_one<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    let missing = harness.fresh_name();
    let tasks = (0..60).map(|n| task(if n % 7 == 3 { &missing } else { &queue }, &format!("t{n}"))).collect();
    let answers = admin.enqueue(tasks).await;
    assert_eq!(answers.len(), 60);
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Err(PublishError::Returned(_)) => assert_eq!(n % 7, 3, "{n}"),
            Ok(Enqueued::Stored) => assert_ne!(n % 7, 3, "{n}"),
            other => panic!("{n}: {other:?}"),
        }
    }
    ready(&*admin, &Place::Queue(queue), 51).await;
    assert_eq!(admin.enqueue(Vec::new()).await, []);
}

/// A queue that is not there is told as such.
pub async fn a_missing_queue_is_told<H: Harness>(harness: &H) {
    let (admin, _) = one_queue(harness).await;
    let place = Place::Queue(harness.fresh_name());
    let errors = [
        admin.status(place.clone()).await.map(drop),
        admin.purge(place.clone()).await.map(drop),
        admin.sweep(place, None, 1, &mut Look::default()).await.map(drop),
    ];
    for error in errors {
        assert!(matches!(error, Err(AdminError::NoSuchPlace(_))), "{error:?}");
    }
}

/// A key that comes again stores nothing, and is answered with the first task; with another request it conflicts.
pub async fn a_key_stores_one_task<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    let ask = async |id: &str, what: u8| admin.enqueue(vec![keyed(&queue, id, "order 17", what)]).await.remove(0);
    assert_eq!(ask("first", 1).await, Ok(Enqueued::Stored));
    assert_eq!(ask("second", 1).await, Ok(Enqueued::Repeated { id: "first".into() }));
    assert_eq!(ask("third", 2).await, Ok(Enqueued::Conflict));
    assert_eq!(ask("fourth", 1).await, Ok(Enqueued::Repeated { id: "first".into() }), "a conflict changes nothing");
    let place = Place::Queue(queue.clone());
    ready(&*admin, &place, 1).await;
    assert_eq!(ids(&content(&*admin, &place).await), ["first"]);
    let other = admin.enqueue(vec![keyed(&queue, "other", "order 18", 1)]).await;
    assert_eq!(other, [Ok(Enqueued::Stored)], "another key is another task");
}

/// Of several requests with one key at the same time, one stores.
pub async fn a_key_that_comes_twice_at_once_stores_one_task<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    let ask = |n: usize| {
        let (admin, task) = (admin.clone(), keyed(&queue, &format!("t{n}"), "order 17", 1));
        tokio::spawn(async move { admin.enqueue(vec![task]).await.remove(0) })
    };
    let asked: Vec<_> = (0..8).map(ask).collect();
    let (mut stored, mut repeated) = (Vec::new(), Vec::new());
    for (n, answer) in asked.into_iter().enumerate() {
        match answer.await.expect("it does not panic") {
            Ok(Enqueued::Stored) => stored.push(format!("t{n}")),
            Ok(Enqueued::Repeated { id }) => repeated.push(id),
            Ok(Enqueued::UnderWay) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert!(repeated.iter().all(|id| *id == stored[0]), "{repeated:?}");
    let place = Place::Queue(queue);
    ready(&*admin, &place, 1).await;
    assert_eq!(ids(&content(&*admin, &place).await), stored);
}

/// A key is remembered until its time, and no longer.
pub async fn a_key_is_forgotten_after_its_time<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    let until = Timestamp::from_millis(now().as_millis() + 300);
    let ask = async |id: &str| {
        let mut task = keyed(&queue, id, "order 17", 1);
        task.once.as_mut().expect("it has a key").until = until;
        let answer = admin.enqueue(vec![task]).await.remove(0);
        (answer, now())
    };
    assert_eq!(ask("first").await.0, Ok(Enqueued::Stored));
    let end = Instant::now() + LIMIT;
    loop {
        let asked = now();
        match ask("second").await {
            (Ok(Enqueued::Repeated { .. }), _) => {
                assert!(asked < until || Instant::now() < end, "it is remembered for ever");
                sleep(Duration::from_millis(20)).await;
            }
            (Ok(Enqueued::Stored), answered) => break assert!(answered >= until, "forgotten too early"),
            other => panic!("{other:?}"),
        }
    }
    ready(&*admin, &Place::Queue(queue), 2).await;
}

/// A task that was not stored uses up no key.
pub async fn a_refused_task_uses_no_key<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    let refused = admin.enqueue(vec![keyed(&harness.fresh_name(), "a", "order 17", 1)]).await;
    assert!(matches!(refused[..], [Err(PublishError::Returned(_))]), "{refused:?}");
    assert_eq!(admin.enqueue(vec![keyed(&queue, "b", "order 17", 1)]).await, [Ok(Enqueued::Stored)]);
}

/// A look changes nothing.
pub async fn a_look_changes_nothing<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    let place = Place::Queue(queue.clone());
    let empty = admin.sweep(place.clone(), None, 10, &mut Look::default()).await.expect("it is there");
    assert_eq!(empty, Swept { complete: true, ..Swept::default() });
    fill(&*admin, &queue, &["a", "b", "c"]).await;
    for _ in 0..3 {
        ready(&*admin, &place, 3).await;
        let mut look = Look::default();
        let swept = admin.sweep(place.clone(), None, 1000, &mut look).await.expect("it is there");
        assert_eq!(swept, Swept { seen: 3, complete: true, ..Swept::default() });
        assert_eq!(ids(&look.seen), ["a", "b", "c"]);
    }
}

/// Each message gets what was decided, and a stop ends it.
pub async fn a_sweep_does_what_was_decided<H: Harness>(harness: &H) {
    let (from, to) = (harness.fresh_name(), harness.fresh_name());
    let admin = harness.admin(&[from.clone(), to.clone()]).await;
    fill(&*admin, &from, &["keep1", "remove1", "move1", "keep2", "move2", "remove2", "stop", "later"]).await;
    let place = Place::Queue(from);
    ready(&*admin, &place, 8).await;
    let mut decide = By(|message: &Message| match id(message) {
        name if name.starts_with("remove") => Take::Remove,
        name if name.starts_with("move") => Take::Move {
            target: Target::Queue(to.clone()),
            message: Message { body: "moved".into(), ..message.clone() },
        },
        "stop" => Take::Stop,
        "later" => panic!("it was stopped before"),
        _ => Take::Keep,
    });
    let swept = admin.sweep(place.clone(), None, 1000, &mut decide).await.expect("it is there");
    assert_eq!(swept, Swept { seen: 7, removed: 2, moved: 2, complete: false });
    ready(&*admin, &place, 4).await;
    let left = content(&*admin, &place).await;
    let mut left = ids(&left);
    // Some brokers put what was looked at behind what was not.
    left.sort_unstable();
    assert_eq!(left, ["keep1", "keep2", "later", "stop"]);
    let moved = Place::Queue(to.clone());
    ready(&*admin, &moved, 2).await;
    let moved = content(&*admin, &moved).await;
    assert_eq!(ids(&moved), ["move1", "move2"]);
    assert!(moved.iter().all(|message| message.body == "moved"), "what was to be published was");
}

/// No more are looked at than the limit says.
pub async fn a_sweep_keeps_to_its_limit<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    fill(&*admin, &queue, &["a", "b", "c", "d", "e"]).await;
    let place = Place::Queue(queue);
    ready(&*admin, &place, 5).await;
    let swept = admin.sweep(place.clone(), None, 2, &mut By(|_: &Message| Take::Remove)).await.expect("it is there");
    assert_eq!(swept, Swept { seen: 2, removed: 2, moved: 0, complete: false });
    ready(&*admin, &place, 3).await;
    assert_eq!(ids(&content(&*admin, &place).await), ["c", "d", "e"]);
}

/// What can't be published elsewhere stays where it is.
pub async fn what_can_not_be_moved_stays<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    fill(&*admin, &queue, &["a", "b"]).await;
    let place = Place::Queue(queue);
    ready(&*admin, &place, 2).await;
    let target = Target::Queue(harness.fresh_name());
    let mut nowhere = By(|message: &Message| Take::Move { target: target.clone(), message: message.clone() });
    let failed = admin.sweep(place.clone(), None, 10, &mut nowhere).await;
    assert!(matches!(failed, Err(AdminError::Publish(PublishError::Returned(_)))), "{failed:?}");
    ready(&*admin, &place, 2).await;
    let left = content(&*admin, &place).await;
    let mut left = ids(&left);
    left.sort_unstable();
    assert_eq!(left, ["a", "b"]);
}

/// A purge removes all, and tells how many that were.
pub async fn a_purge_removes_all_and_tells_how_many<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    fill(&*admin, &queue, &["a", "b", "c"]).await;
    let place = Place::Queue(queue);
    ready(&*admin, &place, 3).await;
    assert_eq!(admin.purge(place.clone()).await.expect("it is there"), 3);
    ready(&*admin, &place, 0).await;
    assert_eq!(admin.purge(place).await.expect("it is there"), 0);
}

/// Dead letters lie beside their queue; those of queues that nobody knows, in the common place. A letter goes back.
pub async fn the_dead_have_places_of_their_own<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    let (work, dead) = (Place::Queue(queue.clone()), Place::Dead(queue.clone()));
    assert_eq!(admin.status(dead.clone()).await.expect("it is there").ready, 0);
    fill(&*admin, &queue, &["a", "stray"]).await;
    ready(&*admin, &work, 2).await;
    let nobodys = harness.fresh_name();
    let strays = admin.status(Place::CommonDead).await.map_or(0, |status| status.ready);
    let mut bury = By(|message: &Message| {
        let of = if id(message) == "stray" { &nobodys } else { &queue };
        Take::Move { target: Target::Dead(of.clone()), message: message.clone() }
    });
    let swept = admin.sweep(work.clone(), None, 10, &mut bury).await.expect("they are moved");
    assert_eq!(swept.moved, 2);
    ready(&*admin, &work, 0).await;
    ready(&*admin, &dead, 1).await;
    ready(&*admin, &Place::CommonDead, strays + 1).await;
    assert_eq!(ids(&content(&*admin, &dead).await), ["a"]);
    ready(&*admin, &dead, 1).await;
    let mut replay =
        By(|message: &Message| Take::Move { target: Target::Queue(queue.clone()), message: message.clone() });
    admin.sweep(dead.clone(), None, 10, &mut replay).await.expect("they are moved");
    ready(&*admin, &work, 1).await;
    ready(&*admin, &dead, 0).await;
    assert_eq!(admin.purge(work).await.expect("it is there"), 1);
}

/// A task is found, run and cancelled by its id, or that is said to be impossible.
pub async fn a_waiting_task_is_found_run_and_cancelled<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    // Found by the message's id, since the body need not be readable.
    let name = harness.fresh_name();
    let id: TaskId = name.parse().expect("a name is an id");
    if !admin.abilities().lookup {
        for error in [
            admin.find(id.clone()).await.map(drop),
            admin.run_now(id.clone()).await.map(drop),
            admin.cancel(id).await.map(drop),
        ] {
            assert!(matches!(error, Err(AdminError::Unsupported(_))), "{error:?}");
        }
        return;
    }
    let states = async || {
        let found = admin.find(id.clone()).await.expect("it can look");
        assert!(found.iter().all(|found| found.queue == queue && found.message.id.as_deref() == Some(&*name)));
        found.iter().map(|found| found.state).collect::<Vec<_>>()
    };
    assert_eq!(states().await, []);
    assert!(!admin.run_now(id.clone()).await.expect("it can look"), "there is none");
    assert!(!admin.cancel(id.clone()).await.expect("it can look"), "there is none");
    fill(&*admin, &queue, &[&name]).await;
    assert_eq!(states().await, [FoundState::Ready]);
    let mut delay = By(|message: &Message| {
        let mut message = message.clone();
        let due = now().as_millis() + 3_600_000;
        message.headers.insert(header::RETURN_TO.to_owned(), HeaderValue::Text(queue.to_string()));
        message.headers.insert(header::DUE_AT.to_owned(), HeaderValue::Int(due));
        Take::Move { target: Target::Delay(hour()), message }
    });
    admin.sweep(Place::Queue(queue.clone()), None, 10, &mut delay).await.expect("it is moved");
    assert_eq!(states().await, [FoundState::Delayed]);
    if admin.abilities().ages {
        assert_eq!(admin.status(Place::Queue(queue.clone())).await.expect("it is there").delayed, Some(1));
    }
    assert!(admin.run_now(id.clone()).await.expect("it can look"));
    assert_eq!(states().await, [FoundState::Ready]);
    let [again] = &content(&*admin, &Place::Queue(queue.clone())).await[..] else { panic!("one copy") };
    assert!(!again.headers.contains_key(header::DUE_AT), "it is due");
    assert_eq!(again.headers.get(header::RUN_NOW), Some(&HeaderValue::Bool(true)), "whatever its envelope says");
    assert!(admin.cancel(id.clone()).await.expect("it can look"));
    assert_eq!(states().await, []);
    ready(&*admin, &Place::Queue(queue), 0).await;
}

/// Pauses are remembered where the broker says so.
pub async fn pauses_are_remembered_where_that_is_said<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    for paused in [true, true, false, false] {
        admin.remember_pause(queue.clone(), paused).await.expect("it is there");
        let remembered = admin.paused().await.expect("it is there").contains(&queue);
        assert_eq!(remembered, paused && admin.abilities().durable_pause);
    }
}

/// Ages and sizes are told where the broker says so, and never guessed.
pub async fn ages_are_told_where_that_is_said<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    let before = now();
    fill(&*admin, &queue, &["a", "b"]).await;
    let place = Place::Queue(queue);
    ready(&*admin, &place, 2).await;
    let status = admin.status(place).await.expect("it is there");
    let Abilities { ages, .. } = admin.abilities();
    assert_eq!((status.oldest.is_some(), status.delayed.is_some()), (ages, ages), "{status:?}");
    if let Some(oldest) = status.oldest {
        assert!((before..=now()).contains(&oldest), "{oldest} is not between {before} and now");
    }
    assert!(status.consumers.is_none_or(|consumers| consumers == 0), "nobody consumes: {status:?}");
}

/// Where messages have positions, a sweep goes on behind one; elsewhere that is said to be impossible.
pub async fn a_sweep_goes_on_behind_a_position<H: Harness>(harness: &H) {
    let (admin, queue) = one_queue(harness).await;
    fill(&*admin, &queue, &["a", "b", "c", "d"]).await;
    let place = Place::Queue(queue);
    ready(&*admin, &place, 4).await;
    let mut first = Look::default();
    admin.sweep(place.clone(), None, 2, &mut first).await.expect("it is there");
    ready(&*admin, &place, 4).await;
    let mut rest = Look::default();
    match first.last {
        None => {
            let failed = admin.sweep(place, Some(Position(1)), 10, &mut rest).await;
            assert!(matches!(failed, Err(AdminError::Unsupported(_))), "{failed:?}");
        }
        after => {
            let swept = admin.sweep(place, after, 10, &mut rest).await.expect("it is there");
            assert!(swept.complete);
            assert_eq!(ids(&rest.seen), ["c", "d"]);
        }
    }
}

async fn one_queue<H: Harness>(harness: &H) -> (Arc<dyn Admin>, Arc<str>) {
    let queue = harness.fresh_name();
    (harness.admin(std::slice::from_ref(&queue)).await, queue)
}

fn task(queue: &Arc<str>, id: &str) -> Enqueue {
    let message = Message { id: Some(id.into()), body: format!("body of {id}").into(), ..Message::default() };
    Enqueue { queue: queue.clone(), message, once: None }
}

fn keyed(queue: &Arc<str>, id: &str, key: &str, what: u8) -> Enqueue {
    let until = Timestamp::from_millis(now().as_millis() + 3_600_000);
    // Harnesses may share a broker, which remembers keys for all of its queues.
    let key = format!("{queue} {key}");
    Enqueue { once: Some(Once { key, fingerprint: [what; 32], until }), ..task(queue, id) }
}

async fn fill(admin: &dyn Admin, queue: &Arc<str>, ids: &[&str]) {
    // One by one, so that their order is known.
    for id in ids {
        assert_eq!(admin.enqueue(vec![task(queue, id)]).await, [Ok(Enqueued::Stored)]);
    }
}

/// Waits until as many are ready: what was looked at may come back a little later.
async fn ready(admin: &dyn Admin, place: &Place, count: u64) {
    let end = Instant::now() + LIMIT;
    loop {
        let status = admin.status(place.clone()).await;
        if status.as_ref().is_ok_and(|status| status.ready == count) {
            return;
        }
        assert!(Instant::now() < end, "{place:?} should have {count} ready: {status:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn content(admin: &dyn Admin, place: &Place) -> Vec<Message> {
    let mut look = Look::default();
    admin.sweep(place.clone(), None, 1000, &mut look).await.expect("it is there");
    look.seen
}

fn id(message: &Message) -> &str {
    message.id.as_deref().expect("all of these have ids")
}

fn ids(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(id).collect()
}

/// Keeps all, and remembers it.
#[derive(Default)]
struct Look {
    seen: Vec<Message>,
    last: Option<Position>,
}

impl Sweeper for Look {
    fn decide<'a>(&'a mut self, at: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        self.last = at;
        self.seen.push(message.clone());
        Box::pin(async { Take::Keep })
    }
}

/// Decides by a closure.
struct By<F>(F);

impl<F: FnMut(&Message) -> Take + Send> Sweeper for By<F> {
    fn decide<'a>(&'a mut self, _at: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        let take = (self.0)(message);
        Box::pin(async move { take })
    }
}

fn full_message() -> Message {
    let headers = Headers::from([
        ("quebert-attempts".to_owned(), HeaderValue::Int(3)),
        ("mine".to_owned(), HeaderValue::Text("kept".into())),
    ]);
    Message {
        id: Some("full".into()),
        content_type: Some("application/json".into()),
        timestamp: Some(Timestamp::from_millis(1_700_000_000_000)),
        headers,
        body: (0..=255).collect::<Vec<u8>>().into(),
        ..Message::default()
    }
}

fn hour() -> Step {
    Step::all().filter(|step| step.length() <= Duration::from_secs(3600)).max().expect("the grid begins at seconds")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
