//! The store turn by turn, on a disk that fails at a chosen moment: the states that no timing from outside meets for sure.

mod keys;
mod reads;
mod sick;

use self::sick::Sick;
use super::{
    EmbeddedBroker, EmbeddedConfig,
    disk::Disk,
    file::Medium,
    inbox::{Enqueuing, Inbox, Publish, Request},
    once::OnceEntry,
    record::Record,
    store::Store,
    time::Machine,
};
use crate::{
    admin::{Admin, AdminError, Enqueued, Once, Place, Position, Sweeper, Take},
    queue::{ClientId, Letter, QueueName, Spot},
};
use bytes::Bytes;
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker, BrokerEvent, Delivery, PublishError, Source, Target},
};
use quebert_wire::{Message, Timestamp};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Nothing is cached, so that every delivery of an earlier transaction's message is read.
fn config() -> EmbeddedConfig {
    EmbeddedConfig { queues: vec!["work".into()], cache_bytes: 0, ..EmbeddedConfig::default() }
}

fn message(body: &str) -> Message {
    Message { id: Some(body.into()), body: Bytes::copy_from_slice(body.as_bytes()), ..Message::default() }
}

/// A store without its thread.
struct Bench {
    store: Store,
    disk: Sick,
}

type Published = oneshot::Receiver<Result<(), PublishError>>;

impl Bench {
    fn new() -> Self {
        Self::on(Sick::default())
    }

    fn on(disk: Sick) -> Self {
        Self::with(disk, config())
    }

    fn with(disk: Sick, config: EmbeddedConfig) -> Self {
        let medium = Medium::backend(Path::new("sick"), disk.clone());
        Self { store: Store::open(medium, config, Arc::new(Inbox::default()), Arc::new(Machine::new())).unwrap(), disk }
    }

    /// What is found after a loss of power.
    fn after_loss_of_power(&self) -> Self {
        Self::on(self.disk.after_loss_of_power())
    }

    fn ask_to_publish(&mut self, message: &Message) -> Published {
        let (answer, answered) = oneshot::channel();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let record = Record::new(message, self.store.wall()).unwrap();
        let target = Target::Queue("work".into());
        self.store.take_in(Request::Publish(Publish { target, record, from: None, permit, answer }));
        answered
    }

    fn publish(&mut self, body: &str) -> Result<(), PublishError> {
        let mut answer = self.ask_to_publish(&message(body));
        self.store.turn();
        answer.try_recv().unwrap()
    }

    /// Stores a task under an idempotency key that ends at a moment of the wall.
    fn enqueue(&mut self, id: &str, key: &str, end: Timestamp) -> Result<Enqueued, PublishError> {
        let (answer, mut answered) = oneshot::channel();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let once = Once { key: key.into(), fingerprint: [0; 32], until: end };
        let record = Record::new(&message(id), self.store.wall()).ok_or(PublishError::Refused(String::new()));
        let task = Enqueuing { queue: "work".into(), record, id: id.into(), once: Some(once) };
        self.store.take_in(Request::Enqueue { tasks: vec![task], permit, answer });
        self.store.turn();
        answered.try_recv().unwrap().remove(0)
    }

    /// Opens the file again without a memory for its pages, so that whatever is read next is read from the disk.
    fn without_page_cache(&mut self) {
        self.store.disk = None;
        let database = redb::Builder::new().set_cache_size(0).create_with_backend(self.disk.clone()).unwrap();
        self.store.disk = Some(Disk::new(database).unwrap());
    }

    fn client(&mut self, client: u64, window: u16) -> mpsc::Receiver<BrokerEvent> {
        let (events, receiver) = mpsc::channel(4096);
        let client = ClientId(client);
        self.store.take_in(Request::Start { client, events });
        self.store.take_in(Request::Open { client, source: Source::Queue("work".into()), window });
        receiver
    }

    fn bodies(&mut self) -> Vec<String> {
        let queue = self.store.core.queue(&QueueName::Work("work".into())).unwrap();
        let spots = self.store.core.ready_after(queue, 0).map(|(spot, _)| spot).collect::<Vec<_>>();
        let records = self.store.read(&spots).unwrap();
        assert_eq!(records.len(), spots.len(), "all that is ready is in the file");
        let body = |spot: &Spot| super::record::message(&records[spot]).unwrap().body;
        let body = |spot: &Spot| String::from_utf8(body(spot).to_vec()).unwrap();
        spots.iter().map(|spot| body(spot).trim_end_matches('.').to_owned()).collect()
    }

    /// The file has room for large messages from now on, so that storing one is a single sync.
    fn make_room(&mut self) {
        let queue = self.store.core.queue(&QueueName::Work("work".into())).unwrap();
        for seq in 1..=8 {
            self.publish(&large("room")).unwrap();
            assert!(self.store.take(Spot { queue, seq }));
            self.store.turn();
        }
    }

    /// The disk works again, and it is time for another try.
    fn recover(&mut self) {
        self.disk.is_well();
        self.store.try_now();
        assert!(self.store.trouble.is_none(), "{}", self.store.words());
    }
}

fn deliveries(events: &mut mpsc::Receiver<BrokerEvent>) -> Vec<Delivery> {
    let events = std::iter::from_fn(|| events.try_recv().ok());
    events.filter_map(|event| if let BrokerEvent::Delivered(it) = event { Some(it) } else { None }).collect()
}

/// It lies in pages of its own, which no later transaction writes.
fn large(body: &str) -> String {
    format!("{body:.<20000}")
}

#[test]
fn what_a_failed_sync_left_unwritten_is_written_again_before_more_is_confirmed() {
    let mut bench = Bench::new();
    bench.make_room();
    bench.publish("before").unwrap();
    bench.disk.fails_to_sync();
    let unsure = bench.publish(&large("unsure"));
    assert!(matches!(unsure, Err(PublishError::Unknown(_))), "{unsure:?}");
    bench.recover();
    bench.publish("after").unwrap();
    let mut found = bench.after_loss_of_power();
    assert_eq!(found.bodies(), ["before", "unsure", "after"]);
}

#[test]
fn nothing_is_confirmed_while_what_a_sync_left_unwritten_cannot_be_written() {
    let mut bench = Bench::new();
    bench.make_room();
    bench.disk.fails_to_sync();
    bench.disk.is_gone();
    assert!(matches!(bench.publish(&large("unsure")), Err(PublishError::Unknown(_))));
    bench.disk.is_well();
    bench.disk.fails_to_write();
    bench.store.try_now();
    assert!(bench.store.is_stuck(), "it can be read, but not made good");
    assert!(matches!(bench.publish("refused"), Err(PublishError::Refused(_))));
    bench.recover();
    bench.publish("after").unwrap();
    assert_eq!(bench.after_loss_of_power().bodies(), ["unsure", "after"]);
}

/// Its fate is open until the file can be opened again, and meanwhile tasks are settled.
#[test]
fn a_transaction_found_to_have_landed_late_loses_no_ack() {
    let mut bench = Bench::new();
    for body in ["a", "b", "c"] {
        bench.publish(body).unwrap();
    }
    let mut events = bench.client(1, 2);
    bench.store.turn();
    let out = deliveries(&mut events);
    bench.store.take_in(Request::Ack(out[0].tag));
    bench.disk.fails_to_sync();
    bench.disk.is_gone();
    assert!(matches!(bench.publish("d"), Err(PublishError::Unknown(_))));
    assert!(bench.store.doubt.is_some());
    bench.store.take_in(Request::Ack(out[1].tag));
    bench.store.turn();
    bench.recover();
    assert_eq!(bench.store.doubt, None);
    bench.store.turn();
    let out = deliveries(&mut events).iter().map(|it| it.message.body.clone()).collect::<Vec<_>>();
    assert_eq!(out, ["c", "d"], "each is delivered once it is known to be there");
    assert_eq!(bench.after_loss_of_power().bodies(), ["c", "d"]);
}

#[test]
fn a_transaction_found_not_to_have_landed_is_undone_and_its_acks_are_kept() {
    let mut bench = Bench::new();
    bench.publish("a").unwrap();
    let mut events = bench.client(1, 1);
    bench.store.turn();
    let out = deliveries(&mut events);
    bench.store.take_in(Request::Ack(out[0].tag));
    bench.disk.fails_to_write();
    bench.disk.is_gone();
    assert!(matches!(bench.publish("b"), Err(PublishError::Unknown(_))));
    bench.recover();
    bench.publish("c").unwrap();
    assert_eq!(deliveries(&mut events).iter().map(|it| it.message.body.clone()).collect::<Vec<_>>(), ["c"]);
    assert_eq!(bench.after_loss_of_power().bodies(), ["c"]);
}

/// Two clients have one queue open, and a transaction that delivers to both is undone after one of them has gone.
#[test]
fn a_client_that_goes_while_its_delivery_is_in_doubt_leaves_no_trace_of_it() {
    let mut bench = Bench::new();
    let mut first = bench.client(1, 1);
    let mut second = bench.client(2, 1);
    bench.store.turn();
    let answers = ["a", "b"].map(|body| bench.ask_to_publish(&message(body)));
    bench.disk.fails_to_write();
    bench.disk.is_gone();
    bench.store.turn();
    for mut answer in answers {
        assert!(matches!(answer.try_recv().unwrap(), Err(PublishError::Unknown(_))));
    }
    bench.store.take_in(Request::Gone(ClientId(2)));
    bench.store.turn();
    bench.recover();
    assert!(bench.store.pending.notes.is_empty(), "of what never was");
    bench.publish("c").unwrap();
    bench.store.turn();
    assert_eq!(deliveries(&mut first).iter().map(|it| it.message.body.clone()).collect::<Vec<_>>(), ["c"]);
    assert!(deliveries(&mut second).is_empty());
    assert!(bench.store.disk.as_ref().unwrap().index().unwrap().notes.is_empty());
}

#[test]
fn a_file_that_is_older_than_what_was_confirmed_is_not_gone_on_with() {
    let mut bench = Bench::new();
    bench.publish("a").unwrap();
    let old = bench.disk.image();
    bench.publish("b").unwrap();
    let image = bench.disk.image();
    for (replaced, words) in [(old, "was confirmed"), (Vec::new(), "it is empty"), (image[..4096].to_vec(), "")] {
        bench.store.disk = None;
        bench.disk.replace(replaced.clone());
        bench.store.begin_trouble("a fault".into());
        bench.store.try_now();
        assert!(bench.store.is_stuck() && bench.store.words().contains(words), "{}", bench.store.words());
        assert!(matches!(bench.publish("refused"), Err(PublishError::Refused(_))));
        assert!(!replaced.is_empty() || bench.disk.image().is_empty(), "no new store was made of it");
        bench.store.disk = None;
        bench.disk.replace(image.clone());
        bench.recover();
    }
    bench.publish("c").unwrap();
    assert_eq!(bench.after_loss_of_power().bodies(), ["a", "b", "c"]);
}

#[test]
fn the_deliveries_of_one_transaction_have_a_bound_in_bytes() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        let large = Message { body: vec![b'x'; 10 << 20].into(), ..Message::default() };
        let mut answer = bench.ask_to_publish(&large);
        bench.store.turn();
        answer.try_recv().unwrap().unwrap();
    }
    let mut events = bench.client(1, 10);
    let counts = [0; 3].map(|_| {
        bench.store.turn();
        deliveries(&mut events).len()
    });
    assert_eq!(counts, [2, 1, 0]);
}

/// Keeps all.
struct Keeping;

impl Sweeper for Keeping {
    fn decide<'a>(&'a mut self, _: Option<Position>, _: &'a Message) -> BoxFuture<'a, Take> {
        Box::pin(async { Take::Keep })
    }
}

#[tokio::test]
async fn a_sweep_goes_past_pages_that_cannot_be_read() {
    let mut bench = Bench::new();
    let queue = bench.store.core.queue(&QueueName::Work("work".into())).unwrap();
    for _ in 0..250 {
        let letter = Letter { payload: (), bytes: 21, at_ms: 0, id: 0, home: None };
        let spot = bench.store.core.publish(queue, letter, false).unwrap();
        // A head, and nothing behind it.
        let record = Record::new(&message("x"), Timestamp::default()).unwrap().seal(0).slice(..21);
        bench.store.batch.added.push((spot, record));
    }
    bench.publish("readable").unwrap();
    let disk = bench.disk.after_loss_of_power();
    let broker = EmbeddedBroker::open_on(disk, config()).unwrap();
    let mut sweeper = Keeping;
    let sweep = broker.sweep(Place::Queue("work".into()), None, u64::MAX, &mut sweeper);
    let swept = tokio::time::timeout(Duration::from_secs(60), sweep).await.expect("it ends").unwrap();
    assert_eq!((swept.seen, swept.complete), (1, true));
    broker.stop().await;
}

#[test]
fn a_compaction_is_not_repeated_for_nothing() {
    let mut bench = Bench::new();
    let large = Message { body: vec![b'x'; 24 << 20].into(), ..Message::default() };
    let mut answer = bench.ask_to_publish(&large);
    bench.store.turn();
    answer.try_recv().unwrap().unwrap();
    let queue = bench.store.core.queue(&QueueName::Work("work".into())).unwrap();
    assert!(bench.store.take(Spot { queue, seq: 1 }));
    bench.store.turn();
    let length = bench.disk.image().len() as u64;
    assert!(length > 24 << 20);

    // The last one left more than half of it.
    bench.store.incompressible = length / 2 + 1;
    bench.store.tidy(true);
    assert_eq!(bench.disk.image().len() as u64, length);
    // Idempotency keys are contents, too.
    bench.store.incompressible = 0;
    for n in 0..length / (4 * 256) + 1 {
        let entry = OnceEntry { fingerprint: [0; 32], until: Timestamp::from_millis(i64::MAX), id: String::new() };
        bench.store.batch.once.insert(format!("{n}"), entry);
    }
    bench.store.turn();
    assert_eq!(bench.disk.image().len() as u64, length, "there was room for them");
    bench.store.tidy_at = Some(bench.store.mono());
    bench.store.tidy(false);
    assert_eq!(bench.disk.image().len() as u64, length);
    assert_eq!(bench.store.tidy_at, None, "it has had its look");
}

#[test]
fn a_file_that_is_mostly_free_is_compacted() {
    let mut bench = Bench::new();
    let large = Message { body: vec![b'x'; 24 << 20].into(), ..Message::default() };
    let _answer = bench.ask_to_publish(&large);
    bench.publish("small").unwrap();
    let queue = bench.store.core.queue(&QueueName::Work("work".into())).unwrap();
    assert!(bench.store.take(Spot { queue, seq: 1 }));
    bench.store.turn();
    bench.store.tidy(true);
    assert!(bench.disk.image().len() < 4 << 20, "{}", bench.disk.image().len());
    assert_eq!((bench.store.incompressible, bench.bodies()), (0, vec!["small".into()]));
}

#[test]
fn the_database_is_closed_before_what_it_lies_on() {
    let bench = Bench::new();
    let disk = bench.disk.clone();
    drop(bench);
    assert!(!disk.was_used_after_close());
}

/// A dispatcher ends with its events, and the program tells that nobody asked for it.
#[tokio::test]
async fn a_store_that_panics_ends_the_events_of_its_clients() {
    let disk = Sick::default();
    let broker = EmbeddedBroker::open_on(disk.clone(), config()).unwrap();
    let mut events = broker.start();
    broker.publish(Target::Queue("work".into()), message("a")).await.unwrap();
    disk.panics_at_a_sync();
    let unsure = broker.publish(Target::Queue("work".into()), message("b")).await;
    assert!(matches!(unsure, Err(PublishError::Unknown(_))), "{unsure:?}");
    let end = async { while events.recv().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), end).await.expect("the events end");
    let refused = broker.publish(Target::Queue("work".into()), message("c")).await;
    assert!(matches!(refused, Err(PublishError::NotConnected(_))), "{refused:?}");
    broker.stop().await;
}
