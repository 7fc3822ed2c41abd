//! Confirms: at once, late, together, never, and refusals.

use super::*;

#[test]
fn a_quorum_queue_delivers_what_it_has_stored_and_a_classic_one_what_it_has() {
    let delivered_early = |change: fn(&mut BrokerSpec)| {
        let mut bench = Bench::new(|spec| {
            (spec.confirm_min_ms, spec.confirm_max_ms) = (10, 10);
            change(spec);
        });
        let (consumer, publisher) = (bench.consume(from_q(), 1), bench.connect(Role::Publish));
        bench.publish(publisher, q(), text("a"));
        let early = bench.deliveries(consumer).len();
        assert_eq!(bench.answers(publisher), []);
        bench.wait(10);
        assert_eq!(bench.answers(publisher), [(1, Answer::Ack)]);
        assert_eq!(early + bench.deliveries(consumer).len(), 1);
        early
    };
    assert_eq!(delivered_early(|_| {}), 0);
    assert_eq!(delivered_early(classic), 1);
}

#[test]
fn late_confirms_are_about_messages_that_are_there() {
    let mut bench = Bench::new(|_| {});
    bench.rabbit.set(&Knobs { confirm_late_ms: 500, ..Knobs::default() });
    let publisher = bench.connect(Role::Publish);
    bench.publish(publisher, q(), text("a"));
    assert_eq!((bench.ready(&q()), bench.answers(publisher)), (1, vec![]));
    bench.wait(499);
    assert_eq!(bench.answers(publisher), []);
    bench.wait(1);
    assert_eq!(bench.answers(publisher), [(1, Answer::Ack)]);
}

#[test]
fn confirms_are_held_back_until_there_are_enough_or_it_has_been_long() {
    let mut bench = Bench::new(|spec| {
        spec.confirm_batch = 3;
        spec.confirm_max_ms = 2;
    });
    let publisher = bench.connect(Role::Publish);
    for body in ["a", "b", "c", "d"] {
        bench.publish(publisher, q(), text(body));
    }
    bench.wait(2);
    let told = bench.told(publisher);
    let acks = |tell: &Tell| matches!(tell, Tell::Answers(answers) if answers.len() == 3);
    assert!(matches!(&told[..], [one] if acks(one)), "{told:?}");
    bench.wait(6);
    assert_eq!(bench.answers(publisher), [(4, Answer::Ack)], "the last is not kept for ever");
}

#[test]
fn a_confirm_that_never_comes_is_about_a_message_that_is_there() {
    let mut bench = Bench::new(|_| {});
    bench.rabbit.set(&Knobs { confirm_never_per_mille: 1000, ..Knobs::default() });
    let publisher = bench.connect(Role::Publish);
    bench.publish(publisher, q(), text("a"));
    bench.wait(100_000);
    assert_eq!((bench.ready(&q()), bench.answers(publisher)), (1, vec![]));
    assert!(bench.noted().iter().any(|what| matches!(what, What::Answered { how: "never", .. })));
}

#[test]
fn what_is_refused_is_nowhere() {
    let mut bench = Bench::new(|_| {});
    bench.rabbit.set(&Knobs { confirm_nack_per_mille: 1000, ..Knobs::default() });
    let publisher = bench.connect(Role::Publish);
    bench.publish(publisher, q(), text("a"));
    assert_eq!((bench.answers(publisher), bench.ready(&q())), (vec![(1, Answer::Nack)], 0));
}

#[test]
fn what_leads_nowhere_comes_back() {
    let mut bench = Bench::new(|_| {});
    let publisher = bench.connect(Role::Publish);
    bench.publish(publisher, Target::Queue("other".into()), text("a"));
    assert_eq!(bench.answers(publisher), [(1, Answer::Returned)]);
}

#[test]
fn a_full_queue_refuses_and_takes_again_when_there_is_room() {
    let mut bench = Bench::new(|spec| spec.queue_messages_max = 2);
    bench.fill(&["a", "b"]);
    let publisher = bench.connect(Role::Publish);
    bench.publish(publisher, q(), text("c"));
    bench.consume(from_q(), 1);
    // What is unsettled does not count: the limit is of ready ones.
    bench.publish(publisher, q(), text("d"));
    let answers = bench.answers(publisher).into_iter().map(|(_, answer)| answer).collect::<Vec<_>>();
    assert_eq!(answers, [Answer::Nack, Answer::Ack]);
}
