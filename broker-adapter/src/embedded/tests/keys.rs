//! How many idempotency keys there are, and which are forgotten when.

use super::*;

/// Some moment far away, and so many milliseconds.
const fn end(n: i64) -> Timestamp {
    Timestamp::from_millis(i64::MAX / 2 + n)
}

fn bench(keys_max: u64) -> Bench {
    Bench::with(Sick::default(), EmbeddedConfig { idempotency_keys_max: keys_max, ..config() })
}

/// What the database counts, which must be what is in the tables.
#[track_caller]
fn keys(bench: &Bench) -> u64 {
    bench.store.disk.as_ref().unwrap().once_len()
}

/// Puts so many keys of this end into one transaction.
fn put(bench: &mut Bench, count: u64, end: Timestamp) {
    for n in 0..count {
        let entry = OnceEntry { fingerprint: [0; 32], until: end, id: String::new() };
        bench.store.batch.once.insert(format!("{n:05} {}", end.as_millis()), entry);
    }
    bench.store.turn();
}

/// It is quiet now.
fn tidy(bench: &mut Bench) {
    bench.store.tidy_at = Some(bench.store.mono());
    bench.store.tidy(false);
}

#[test]
fn when_there_are_too_many_keys_those_that_end_first_make_room() {
    let mut bench = bench(3);
    for (key, at) in [("a", 4), ("b", 1), ("c", 3), ("d", 2)] {
        assert_eq!(bench.enqueue(key, key, end(at)), Ok(Enqueued::Stored));
        assert!(keys(&bench) <= 3);
    }
    for key in ["a", "c", "d"] {
        assert_eq!(bench.enqueue("again", key, end(9)), Ok(Enqueued::Repeated { id: key.into() }), "{key} is known");
    }
    assert_eq!(bench.enqueue("again", "b", end(0)), Ok(Enqueued::Stored), "it was forgotten");
    assert_eq!(
        bench.enqueue("later", "b", end(0)),
        Ok(Enqueued::Repeated { id: "again".into() }),
        "a new key stays, though it ends before all others"
    );
    assert_eq!(bench.enqueue("again", "d", end(9)), Ok(Enqueued::Stored), "it made room");
    assert_eq!(keys(&bench), 3);
}

#[test]
fn more_new_keys_than_there_is_room_for_fail_nobody() {
    let mut bench = bench(5);
    put(&mut bench, 100, end(1));
    assert_eq!(keys(&bench), 5);
    put(&mut bench, 100, end(0));
    assert_eq!(keys(&bench), 5);
}

#[test]
fn a_lowered_limit_is_reached_bit_by_bit() {
    let mut bench = bench(1000);
    put(&mut bench, 100, end(1));
    bench.store.config.idempotency_keys_max = 60;
    let counts = [0, 1, 2, 3].map(|n| {
        bench.enqueue("task", &n.to_string(), end(2)).unwrap();
        keys(&bench)
    });
    assert_eq!(counts, [84, 68, 60, 60]);
}

#[test]
fn the_count_is_right_after_transactions_that_failed_and_a_start() {
    let mut bench = bench(1000);
    bench.make_room();
    bench.enqueue("a", "a", end(1)).unwrap();
    bench.disk.fails_to_write();
    assert!(bench.enqueue("b", "b", end(1)).is_err());
    bench.recover();
    assert_eq!(keys(&bench), 1);
    bench.enqueue("b", "b", end(1)).unwrap();
    bench.disk.fails_to_sync();
    let unsure = bench.enqueue(&large("c"), "c", end(1));
    assert!(matches!(unsure, Err(PublishError::Unknown(_))), "{unsure:?}");
    bench.recover();
    assert_eq!(keys(&bench), 3, "it has landed");
    assert_eq!(keys(&bench.after_loss_of_power()), 3);
}

#[test]
fn keys_whose_time_is_over_are_forgotten_by_any_transaction_and_when_it_is_quiet() {
    let mut bench = bench(1000);
    put(&mut bench, 100, Timestamp::from_millis(1));
    put(&mut bench, 1, end(0));
    assert_eq!(keys(&bench), 101 - 17, "one for the new one, and some more");
    bench.publish("without a key").unwrap();
    assert_eq!(keys(&bench), 101 - 17 - 16);
    tidy(&mut bench);
    assert_eq!((keys(&bench), bench.store.tidy_at), (1, None));
    bench.publish("without a key").unwrap();
    assert_eq!(keys(&bench), 1, "the one whose time is not over");
}

#[test]
fn a_quiet_store_forgets_many_keys_in_parts() {
    let mut bench = bench(10_000);
    put(&mut bench, 1500, Timestamp::from_millis(1));
    tidy(&mut bench);
    assert_eq!(keys(&bench), 500);
    assert!(bench.store.tidy_at.is_some(), "it comes again");
    tidy(&mut bench);
    assert_eq!((keys(&bench), bench.store.tidy_at), (0, None));
}

#[test]
fn keys_that_cannot_be_forgotten_are_the_beginning_of_trouble_which_passes() {
    let mut bench = bench(1000);
    put(&mut bench, 10, Timestamp::from_millis(1));
    bench.disk.fails_to_write();
    tidy(&mut bench);
    assert!(bench.store.is_stuck());
    bench.recover();
    bench.publish("after").unwrap();
    assert_eq!((keys(&bench), bench.bodies()), (0, vec!["after".into()]));
}
