//! What is there after a crash: what was confirmed, and some of the rest.

use super::*;

/// Fates over many seeds: each way that a thing can go must be met.
fn fates<T: Ord>(fate: impl Fn(u64) -> T) -> BTreeSet<T> {
    (0..40).map(fate).collect()
}

fn slow(spec: &mut BrokerSpec) {
    (spec.confirm_min_ms, spec.confirm_max_ms) = (50, 50);
}

#[test]
fn what_was_confirmed_is_there_after_any_crash() {
    for (seed, how) in (0..20).flat_map(|seed| [(seed, Down::Kill), (seed, Down::Power)]) {
        let mut bench = Bench::seeded(seed, slow);
        let publisher = bench.connect(Role::Publish);
        bench.publish(publisher, q(), text("a"));
        bench.wait(50);
        assert_eq!(bench.answers(publisher), [(1, Answer::Ack)]);
        bench.crash(how);
        assert_eq!(bench.ready(&q()), 1);
    }
}

#[test]
fn what_was_not_confirmed_is_there_or_not() {
    for change in [slow as fn(&mut BrokerSpec), |spec| {
        slow(spec);
        classic(spec);
    }] {
        let seen = fates(|seed| {
            let mut bench = Bench::seeded(seed, change);
            let publisher = bench.connect(Role::Publish);
            bench.publish(publisher, q(), text("a"));
            bench.wait(10);
            bench.crash(Down::Kill);
            bench.wait(1000);
            bench.ready(&q())
        });
        assert_eq!(seen, [0, 1].into());
    }
}

#[test]
fn an_ack_shortly_before_a_crash_counts_or_not_and_an_older_one_does() {
    let after = |wait| {
        fates(move |seed| {
            let mut bench = Bench::seeded(seed, slow);
            let publisher = bench.connect(Role::Publish);
            bench.publish(publisher, q(), text("a"));
            bench.wait(50);
            let consumer = bench.consume(from_q(), 1);
            bench.settle(consumer, &[1], &[]);
            bench.wait(wait);
            bench.crash(Down::Power);
            let again = bench.consume(from_q(), 1);
            bench.deliveries(again).into_iter().map(|got| got.redelivered).collect::<Vec<_>>()
        })
    };
    assert_eq!(after(10), [vec![], vec![true]].into(), "what comes again is flagged");
    assert_eq!(after(50), [vec![]].into());
}

#[test]
fn what_was_out_comes_again_flagged_and_counted() {
    let mut bench = Bench::new(|_| {});
    bench.fill(&["a"]);
    let conn = bench.consume(from_q(), 1);
    assert_eq!(bench.deliveries(conn).len(), 1);
    bench.crash(Down::Kill);
    let again = bench.consume(from_q(), 1);
    let got = bench.deliveries(again).remove(0);
    assert!(got.redelivered);
    assert_eq!(got.message.headers["x-delivery-count"], HeaderValue::Int(1));
}

#[test]
fn a_young_delay_queue_may_be_forgotten_and_an_older_one_is_not() {
    let left = |age| {
        fates(move |seed| {
            let mut bench = Bench::seeded(seed, |_| {});
            let (consumer, publisher) = (bench.connect(Role::Consume), bench.connect(Role::Publish));
            bench.ask(consumer, Ask::Declare { no: 1, step: Step::FIRST });
            let delay = Target::Delay(Step::FIRST);
            bench.publish(publisher, delay.clone(), text("a"));
            bench.wait(age);
            bench.crash(Down::Kill);
            bench.ready(&delay)
        })
    };
    assert_eq!(left(1000), [0, 1].into());
    assert_eq!(left(4000), [1].into());
}
