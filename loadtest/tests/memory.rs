//! The ledger of ten million tasks takes less than 512 MiB. In a process of its own, since it looks at its own memory.

#![cfg(target_os = "linux")]

use quebert_loadtest::{
    arrivals::Arrival,
    clock::Clock,
    figures::Layout,
    fleet::{Answered, Seen, Witness},
    ledger::{Book, Findings, QueueRule, Rules},
    target::process,
};
use std::time::Duration;

const TASKS: u64 = 10_000_000;
/// Every so manieth task is taken through its whole life; the memory of a task is the same either way.
const LIVED: u64 = 100;

#[test]
fn ten_million_tasks_take_less_than_512_mib() {
    let rules = Rules {
        max_attempts: None,
        backoff_min: Duration::ZERO,
        retry_after_max: Duration::ZERO,
        permanent: Vec::new(),
        early_grace: Duration::ZERO,
        late_grace: Duration::ZERO,
        queues: vec![QueueRule { name: "load".into(), priority: 0, slots: None }],
        queue_of: vec![0],
    };
    let clock = Clock::start();
    let layout = Layout { queues: 1, phases: vec![Duration::MAX], warm_up: Duration::ZERO };
    let book = Book::new(clock, "memory", rules, layout);
    for index in 0..TASKS {
        let at = Duration::from_micros(index * 100);
        book.offered(&Arrival { index, at, phase: 0, class: 0, size: 0, ttl: None, delay: None });
        if index % LIVED == 0 {
            live(&book, index);
        }
    }
    let verdict = book.judge(&Findings::default());
    assert_eq!((verdict.confirmed, verdict.succeeded, verdict.lost), (TASKS / LIVED, TASKS / LIVED, 0));
    let look = process::look(std::process::id()).expect("this process is there");
    let mib = look.rss_peak_bytes >> 20;
    assert!(mib < 512, "{mib} MiB");
    // It is held, not imagined.
    assert!(mib > 300, "{mib} MiB");
}

fn live(book: &Book, number: u64) {
    book.publishing(number, None, None);
    book.confirmed(number);
    let id = book.id(number);
    let seen = Seen { executor: 0, task: &id, attempt: 1, max_attempts: None, due_ms: None, under_way: 1 };
    assert_eq!(book.arrived(seen), Some(number));
    book.answered(number, 1, Duration::from_millis(1), Answered::Status(http::StatusCode::OK, None));
}
