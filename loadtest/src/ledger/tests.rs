//! The ledger's own parts: records keep what is written, a file keeps the ledger, and the judge draws the right sum.

use super::{record::flag, *};
use crate::{
    arrivals::Arrival,
    clock::Clock,
    figures::Layout,
    fleet::{Answered, Seen, Witness as _},
};
use http::StatusCode;
use proptest::prelude::*;
use std::time::Duration;

fn rules() -> Rules {
    let queue = |name: &str, priority, slots| QueueRule { name: name.into(), priority, slots: Some(slots) };
    Rules {
        max_attempts: Some(3),
        backoff_min: Duration::from_secs(1),
        retry_after_max: Duration::from_secs(3600),
        permanent: vec![410],
        early_grace: Duration::from_millis(2),
        late_grace: Duration::from_millis(100),
        queues: vec![queue("high", 2, 8), queue("low", 0, 8)],
        queue_of: vec![0, 1],
    }
}

fn book() -> Book {
    let layout = Layout { queues: 2, phases: vec![Duration::MAX], warm_up: Duration::ZERO };
    Book::new(Clock::start_virtual(), "t", rules(), layout)
}

fn publish(book: &Book, index: u64, class: u8) {
    let at = book.clock().now().run;
    book.offered(&Arrival { index, at, phase: 0, class, size: 0, ttl: None, delay: None });
    book.publishing(index, None, None);
    book.confirmed(index);
}

fn attempt(book: &Book, number: u64, attempt: u32, status: u16) {
    let id = book.id(number);
    let seen = Seen { executor: 0, task: &id, attempt, max_attempts: None, due_ms: None, under_way: 1 };
    assert_eq!(book.arrived(seen), Some(number));
    book.answered(number, attempt, Duration::ZERO, Answered::Status(StatusCode::from_u16(status).unwrap(), None));
}

#[test]
fn ticks_keep_ten_microseconds_for_half_a_day() {
    for us in [0, 10, 123_450, 11 * 3_600_000_000] {
        assert_eq!(Tick::at(Duration::from_micros(us)).get(), Some(Duration::from_micros(us)));
    }
    assert_eq!((Tick::NONE.get(), Tick::at(Duration::from_micros(19)).get()), (None, Some(Duration::from_micros(10))));
    assert!(Tick::at(Duration::MAX).is_some());
}

#[tokio::test(start_paused = true)]
async fn ids_of_other_runs_are_nobodys() {
    let book = book();
    publish(&book, 0, 0);
    assert_eq!(book.number("lt-t-0"), Some(0));
    for id in ["lt-u-0", "lt-t-", "lt-t-+0", "lt-t-x", "", "0"] {
        assert_eq!(book.number(id), None, "{id:?}");
    }
    let seen = |task| Seen { executor: 0, task, attempt: 1, max_attempts: None, due_ms: None, under_way: 1 };
    assert_eq!((book.arrived(seen("lt-u-0")), book.arrived(seen("lt-t-1"))), (None, None));
    assert_eq!(book.judge(&Findings::default()).unknown, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_in_queues_is_not_lost() {
    let book = book();
    (0..5).for_each(|n| publish(&book, n, 0));
    attempt(&book, 0, 1, 200);
    book.found(1, End::Dead);
    book.found(2, End::Left);
    let sum = |unnamed| {
        let verdict = book.judge(&Findings { left_unnamed: Some(unnamed), ..Findings::default() });
        (verdict.succeeded, verdict.dead, verdict.left, verdict.lost)
    };
    assert_eq!((sum(0), sum(1), sum(9)), ((1, 1, 1, 2), (1, 1, 2, 1), (1, 1, 3, 0)));
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_task_may_end_in_any_way() {
    let book = book();
    book.offered(&Arrival { index: 0, at: Duration::ZERO, phase: 0, class: 0, size: 0, ttl: None, delay: None });
    book.publishing(0, None, None);
    book.unconfirmed(0);
    let verdict = book.judge(&Findings::default());
    assert_eq!((verdict.unconfirmed, verdict.confirmed, verdict.lost), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn retry_after_moves_the_earliest_moment() {
    let book = book();
    publish(&book, 0, 0);
    let id = book.id(0);
    let seen = |attempt| Seen { executor: 0, task: &id, attempt, max_attempts: None, due_ms: None, under_way: 1 };
    book.arrived(seen(1));
    let asked = Some(Duration::from_secs(5));
    book.answered(0, 1, Duration::ZERO, Answered::Status(StatusCode::TOO_MANY_REQUESTS, asked));
    tokio::time::sleep(Duration::from_secs(4)).await;
    book.arrived(seen(2));
    assert_eq!(book.counts().early, 1);
    book.answered(0, 2, Duration::ZERO, Answered::Abandoned);
    tokio::time::sleep(Duration::from_secs(1)).await;
    attempt(&book, 0, 3, 200);
    assert_eq!((book.counts().early, book.counts().early_us_max / 1000), (1, 998));
}

#[tokio::test(start_paused = true)]
async fn of_two_copies_each_waits_for_its_own_backoff() {
    let book = book();
    publish(&book, 0, 0);
    attempt(&book, 0, 1, 503);
    tokio::time::sleep(Duration::from_millis(800)).await;
    // The broker has sent the task to another dispatcher as well.
    attempt(&book, 0, 1, 503);
    tokio::time::sleep(Duration::from_millis(300)).await;
    attempt(&book, 0, 2, 200);
    assert_eq!((book.counts().early, book.counts().repeats), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_made_again_at_once_is_a_repeat_and_not_early() {
    let book = book();
    publish(&book, 0, 0);
    attempt(&book, 0, 1, 503);
    attempt(&book, 0, 1, 503);
    assert_eq!((book.counts().early, book.counts().repeats), (0, 1));
    attempt(&book, 0, 2, 200);
    assert_eq!((book.counts().early, book.counts().repeats), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_inversion_is_a_low_task_while_high_ones_wait_that_could_go() {
    let book = book();
    publish(&book, 0, 0);
    publish(&book, 1, 1);
    publish(&book, 2, 1);
    attempt(&book, 1, 1, 200);
    assert_eq!(book.counts().inversions, 0, "the high one may not have arrived yet");
    tokio::time::sleep(Duration::from_secs(1)).await;
    attempt(&book, 2, 1, 200);
    assert_eq!(book.counts().inversions, 1);
    attempt(&book, 0, 1, 200);
    publish(&book, 3, 1);
    attempt(&book, 3, 1, 200);
    assert_eq!(book.counts().inversions, 1, "no high one waits any more");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_differs_is_a_broken_promise() {
    let book = book();
    let ok = |theirs, slack| {
        let account = Account { name: "attempts".into(), theirs, ours: 5.0, slack };
        book.judge(&Findings { accounts: vec![account], ..Findings::default() }).ok
    };
    assert_eq!([ok(5.0, 0.0), ok(6.0, 0.0), ok(6.0, 1.0), ok(4.0, 1.0)], [true, false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_file_keeps_the_ledger_and_is_judged_the_same() {
    let book = book();
    (0..1000).for_each(|n| publish(&book, n, u8::try_from(n % 2).unwrap()));
    for n in 0..999 {
        attempt(&book, n, 1, if n % 10 == 0 { 410 } else { 200 });
    }
    attempt(&book, 1, 1, 200);
    book.fault("kill", Duration::from_secs(5), Duration::from_secs(6));
    let found = Findings { left: Some(3), left_unnamed: Some(0), peaks: vec![1, 9], accounts: Vec::new() };
    let path = std::env::temp_dir().join(format!("quebert-loadtest-ledger-{}", std::process::id()));
    book.save(&path, &found).unwrap();
    let read = LedgerFile::open(&path).unwrap();
    let verdict = read.judge();
    assert_eq!(verdict, book.judge(&found));
    assert_eq!((verdict.lost, verdict.duplicates_unexplained, verdict.over_limits), (101, 1, 1));
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(LedgerFile::open(&path), Err(LedgerFileError::Io(_))));
    std::fs::write(&path, "{}\n").unwrap();
    assert!(matches!(LedgerFile::open(&path), Err(LedgerFileError::Format)));
    std::fs::remove_file(&path).unwrap();
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(ticks: [u32; 7], bytes: [u8; 4]) {
        let [intended, published, confirmed, first, last, due, expires] = ticks.map(Tick::from_bits);
        let [attempt, extras, class, flags] = bytes;
        let record =
            Record { intended, published, confirmed, first, last, due, expires, attempt, extras, class, flags };
        prop_assert_eq!(Record::from_bytes(&record.to_bytes()), record);
        prop_assert_eq!(record.succeeded(), flags & flag::SUCCEEDED != 0);
    }
}
