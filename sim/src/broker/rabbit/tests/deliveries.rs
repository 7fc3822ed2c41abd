//! Windows, flags, positions, and what ends a channel.

use super::*;

#[test]
fn a_window_is_filled_and_never_passed() {
    let mut bench = Bench::new(|_| {});
    bench.fill(&["a", "b", "c", "d"]);
    let conn = bench.consume(from_q(), 2);
    assert_eq!(bodies(&bench.deliveries(conn)), ["a", "b"]);
    bench.settle(conn, &[2], &[]);
    assert_eq!(bodies(&bench.deliveries(conn)), ["c"]);
}

#[test]
fn what_a_lost_connection_held_comes_again_flagged_and_first() {
    let mut bench = Bench::new(|_| {});
    bench.fill(&["a", "b", "c"]);
    let first = bench.consume(from_q(), 2);
    assert!(bench.deliveries(first).iter().all(|got| !got.redelivered));
    bench.rabbit.gone(bench.at(), &mut bench.conns, first);
    let second = bench.consume(from_q(), 3);
    let got = bench.deliveries(second);
    assert_eq!(bodies(&got), ["a", "b", "c"]);
    assert_eq!(got.iter().map(|got| got.redelivered).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn what_is_given_back_stands_at_its_old_place_or_comes_in_the_order_of_its_return() {
    let order = |requeue_first| {
        let mut bench = Bench::new(|spec| spec.requeue_first = requeue_first);
        bench.fill(&["a", "b", "c"]);
        let conn = bench.consume(from_q(), 2);
        bench.deliveries(conn);
        bench.ask(conn, Ask::Pause { channel: 1 });
        bench.settle(conn, &[], &[2, 1]);
        let next = bench.consume(from_q(), 3);
        bodies(&bench.deliveries(next)).join("")
    };
    assert_eq!(order(false), "abc");
    assert_eq!(order(true), "bac");
}

#[test]
fn a_tag_that_the_channel_does_not_have_closes_it() {
    let mut bench = Bench::new(|_| {});
    bench.fill(&["a"]);
    let conn = bench.consume(from_q(), 1);
    bench.told(conn);
    bench.settle(conn, &[7], &[]);
    let told = bench.told(conn);
    assert!(matches!(&told[..], [Tell::Failed { channel: 1, code: 406, .. }]), "{told:?}");
    assert_eq!(bench.ready(&q()), 1, "what it held is ready again");
    // What comes behind is about nothing, and costs nothing.
    bench.settle(conn, &[1], &[]);
    assert_eq!((bench.told(conn), bench.ready(&q())), (vec![], 1));
}

#[test]
fn a_delivery_that_is_unsettled_for_too_long_closes_its_channel() {
    let mut bench = Bench::new(|spec| spec.consumer_timeout_ms = 1000);
    bench.fill(&["a", "b"]);
    let conn = bench.consume(from_q(), 1);
    bench.wait(600);
    bench.settle(conn, &[1], &[]);
    bench.wait(900);
    assert!(!bench.told(conn).iter().any(|tell| matches!(tell, Tell::Failed { .. })), "each has its own time");
    bench.wait(100);
    let told = bench.told(conn);
    assert!(matches!(&told[..], [Tell::Failed { code: 406, .. }]), "{told:?}");
    assert!(bench.noted().iter().any(|what| matches!(what, What::Returned { why: "consumer_timeout", .. })));
}

#[test]
fn a_cancelled_consumer_gets_nothing_new_and_goes_on_settling() {
    let mut bench = Bench::new(|_| {});
    bench.fill(&["a", "b"]);
    let conn = bench.consume(from_q(), 1);
    bench.told(conn);
    bench.rabbit.cancel(bench.at(), &mut bench.conns, CLIENT, "q");
    assert_eq!(bench.told(conn), [Tell::Cancelled { channel: 1 }]);
    bench.settle(conn, &[1], &[]);
    assert_eq!((bench.told(conn), bench.ready(&q())), (vec![], 1));
}

#[test]
fn a_queue_that_is_not_there_costs_the_channel() {
    let mut bench = Bench::new(|_| {});
    let conn = bench.consume(Source::Queue("other".into()), 1);
    assert!(matches!(&bench.told(conn)[..], [Tell::Failed { code: 404, .. }]));
}

#[test]
fn quorum_queues_count_what_comes_back_and_classic_ones_do_not() {
    let counts = |change: fn(&mut BrokerSpec)| {
        let mut bench = Bench::new(change);
        bench.fill(&["a"]);
        let conn = bench.consume(from_q(), 1);
        let mut counts = Vec::new();
        for _ in 0..3 {
            let got = bench.deliveries(conn).remove(0);
            counts.push(got.message.headers.get("x-delivery-count").cloned());
            bench.settle(conn, &[], &[got.seq]);
        }
        counts
    };
    assert_eq!(counts(|_| {}), [None, Some(HeaderValue::Int(1)), Some(HeaderValue::Int(2))]);
    assert_eq!(counts(classic), [None, None, None]);
}

#[test]
fn a_new_delay_queue_is_told_to_all_who_consume() {
    let mut bench = Bench::new(|_| {});
    let (one, other) = (bench.connect(Role::Consume), bench.connect(Role::Publish));
    bench.ask(one, Ask::Declare { no: 1, step: Step::FIRST });
    let delay = Tell::Delay { step: Step::FIRST, age_ms: 0 };
    assert_eq!(bench.told(one), [delay, Tell::Declared { no: 1 }]);
    assert_eq!(bench.told(other), []);
    bench.wait(300);
    let late = bench.connect(Role::Consume);
    assert_eq!(bench.told(late), [Tell::Delay { step: Step::FIRST, age_ms: 300 }]);
}
