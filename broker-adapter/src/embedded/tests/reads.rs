//! What cannot be read: the beginning of trouble, whoever asked for it.

use super::*;

#[test]
fn what_was_refused_since_a_read_failed_is_nowhere_later() {
    let mut bench = Bench::new();
    bench.publish("old").unwrap();
    let mut events = bench.client(1, 10);
    let mut refused = bench.ask_to_publish(&message("refused"));
    let (answer, mut paused) = oneshot::channel();
    bench.store.take_in(Request::RememberPause { queue: "work".into(), paused: true, answer });
    // The delivery of the old one has to read.
    bench.store.disk = None;
    bench.store.turn();
    assert!(matches!(refused.try_recv().unwrap(), Err(PublishError::Refused(_))));
    assert!(matches!(paused.try_recv().unwrap(), Err(AdminError::Unavailable(_))));
    assert!(deliveries(&mut events).is_empty());
    bench.recover();
    bench.store.turn();
    assert_eq!(deliveries(&mut events).iter().map(|it| &*it.message.body).collect::<Vec<_>>(), [b"old"]);
    let mut found = bench.after_loss_of_power();
    assert_eq!(found.bodies(), ["old"]);
    assert_eq!(found.store.disk.as_ref().unwrap().paused().unwrap(), Vec::<String>::new());
}

#[test]
fn a_key_that_cannot_be_looked_up_is_the_beginning_of_trouble_which_passes() {
    let mut bench = Bench::new();
    let end = Timestamp::from_millis(i64::MAX);
    assert_eq!(bench.enqueue("a", "key", end), Ok(Enqueued::Stored));
    bench.without_page_cache();
    bench.disk.fails_to_read();
    let refused = bench.enqueue("b", "key", end);
    assert!(matches!(&refused, Err(PublishError::Refused(words)) if words.contains("does not read")), "{refused:?}");
    assert!(bench.store.is_stuck(), "it will be tried again, whoever asks for what");
    bench.recover();
    assert_eq!(bench.enqueue("b", "key", end), Ok(Enqueued::Repeated { id: "a".into() }));
    assert_eq!(bench.bodies(), ["a"]);
}

#[test]
fn pauses_that_cannot_be_read_are_the_beginning_of_trouble_which_passes() {
    let mut bench = Bench::new();
    let (answer, _) = oneshot::channel();
    bench.store.take_in(Request::RememberPause { queue: "work".into(), paused: true, answer });
    bench.store.turn();
    bench.without_page_cache();
    bench.disk.fails_to_read();
    let paused = |bench: &mut Bench| {
        let (answer, mut answered) = oneshot::channel();
        bench.store.take_in(Request::Paused(answer));
        bench.store.turn();
        answered.try_recv().unwrap()
    };
    assert!(matches!(paused(&mut bench), Err(AdminError::Unavailable(_))));
    assert!(bench.store.is_stuck());
    bench.recover();
    assert_eq!(paused(&mut bench).unwrap(), ["work".into()]);
}
