//! Dead letters that the broker makes: over the limit, or too old at the head; lost on the way or not; in circles.

use super::*;

fn dead() -> Target {
    Target::Dead("q".into())
}

/// Gives `q` a time to live, and sends its dead somewhere.
fn expires(bench: &mut Bench, ms: u64, target: &QueueName, how: DeadLetter) {
    let (queue, target) = (bench.queue(&QueueName::Work("q".into())), bench.queue(target));
    let rules = Rules { ttl: Some(Duration::from_millis(ms)), dead: Some((target, how)), ..Rules::of(Kind::Quorum) };
    bench.rabbit.rules.insert(queue, rules);
}

fn dead_name() -> QueueName {
    QueueName::Dead("q".into())
}

#[test]
fn over_its_delivery_limit_a_message_is_buried_and_says_where_it_died() {
    let mut bench = Bench::new(|spec| spec.delivery_limit = 2);
    bench.fill(&["a"]);
    let conn = bench.consume(from_q(), 1);
    for _ in 0..3 {
        let got = bench.deliveries(conn).remove(0);
        bench.settle(conn, &[], &[got.seq]);
    }
    bench.wait(10);
    assert_eq!((bench.deliveries(conn), bench.ready(&q()), bench.ready(&dead())), (vec![], 0, 1));
    assert!(bench.noted().iter().any(|what| matches!(what, What::BuriedByBroker { .. })));
    let from_dead = bench.queue(&dead_name());
    let (spot, _) = bench.rabbit.core.ready_after(from_dead, 0).next().unwrap();
    let HeaderValue::List(deaths) = &bench.rabbit.parcels[&spot].message.headers["x-death"] else { panic!("a list") };
    let HeaderValue::Table(death) = &deaths[0] else { panic!("a table") };
    assert_eq!(death["reason"], HeaderValue::Text("delivery_limit".to_owned()));
}

#[test]
fn a_classic_queue_has_no_delivery_limit() {
    let mut bench = Bench::new(|spec| {
        classic(spec);
        spec.delivery_limit = 1;
    });
    bench.fill(&["a"]);
    let conn = bench.consume(from_q(), 1);
    for _ in 0..5 {
        let got = bench.deliveries(conn).remove(0);
        bench.settle(conn, &[], &[got.seq]);
    }
    bench.wait(10);
    assert_eq!((bench.deliveries(conn).len(), bench.ready(&dead())), (1, 0));
}

#[test]
fn a_time_to_live_acts_at_the_head_only() {
    let mut bench = Bench::new(|_| {});
    expires(&mut bench, 1000, &dead_name(), DeadLetter::AtLeastOnce);
    bench.fill(&["a"]);
    bench.wait(500);
    bench.fill(&["b"]);
    // The head is held by somebody: what is behind it is the head of the ready ones.
    let conn = bench.consume(from_q(), 1);
    bench.ask(conn, Ask::Pause { channel: 1 });
    bench.wait(999);
    assert_eq!((bench.ready(&q()), bench.ready(&dead())), (1, 0));
    bench.wait(1);
    assert_eq!((bench.ready(&q()), bench.ready(&dead())), (0, 1));
    // What comes back has lived long enough.
    bench.settle(conn, &[], &[1]);
    bench.wait(10);
    assert_eq!((bench.ready(&q()), bench.ready(&dead())), (0, 2));
}

#[test]
fn one_that_has_lived_long_enough_stays_behind_a_head_that_has_not() {
    let mut bench = Bench::new(|_| {});
    expires(&mut bench, 1000, &dead_name(), DeadLetter::AtLeastOnce);
    bench.fill(&["a"]);
    bench.wait(10);
    bench.fill(&["b"]);
    // The head was stored anew, as one that another broker has moved: its time begins later.
    let queue = bench.queue(&QueueName::Work("q".into()));
    let (head, _) = bench.rabbit.core.ready_after(queue, 0).next().unwrap();
    bench.rabbit.parcels.get_mut(&head).unwrap().at += Duration::from_millis(5000);
    bench.wait(2000);
    assert_eq!((bench.ready(&q()), bench.ready(&dead())), (2, 0));
}

#[test]
fn after_a_crash_an_old_head_stays_until_its_queue_is_touched() {
    let mut bench = Bench::new(|_| {});
    expires(&mut bench, 1000, &dead_name(), DeadLetter::AtLeastOnce);
    bench.fill(&["a"]);
    bench.wait(100);
    bench.crash(Down::Kill);
    bench.wait(10_000);
    assert_eq!((bench.ready(&q()), bench.ready(&dead())), (1, 0));
    bench.fill(&["b"]);
    bench.wait(10);
    assert_eq!((bench.ready(&q()), bench.ready(&dead())), (1, 1));
}

#[test]
fn a_dead_letter_on_its_way_outlives_a_crash_only_at_least_once() {
    let found = |how| {
        (0..40).map(move |seed| {
            let mut bench = Bench::seeded(seed, |spec| (spec.confirm_min_ms, spec.confirm_max_ms) = (50, 50));
            expires(&mut bench, 1000, &dead_name(), how);
            bench.fill(&["a"]);
            bench.wait(1070);
            assert_eq!((bench.ready(&q()), bench.ready(&dead())), (0, 0), "it is on its way");
            bench.crash(Down::Kill);
            bench.wait(1000);
            bench.ready(&dead())
        })
    };
    assert_eq!(found(DeadLetter::AtMostOnce).collect::<BTreeSet<_>>(), [0].into());
    assert_eq!(found(DeadLetter::AtLeastOnce).collect::<BTreeSet<_>>(), [1, 2].into(), "never lost, perhaps twice");
}

#[test]
fn a_circle_without_a_rejection_drops_the_message() {
    let mut bench = Bench::new(|_| {});
    expires(&mut bench, 1000, &QueueName::Work("q".into()), DeadLetter::AtLeastOnce);
    bench.fill(&["a"]);
    bench.wait(1010);
    assert_eq!(bench.ready(&q()), 0, "it was here before");
    assert!(bench.noted().iter().any(|what| matches!(what, What::Acked { by: NODE, .. })));
}

#[test]
fn a_circle_with_a_rejection_goes_on_whoever_wrote_of_it() {
    let mut bench = Bench::new(|_| {});
    bench.rabbit.declare(&"other".into());
    expires(&mut bench, 1000, &QueueName::Work("other".into()), DeadLetter::AtLeastOnce);
    let other = QueueName::Work("other".into()).to_string();
    let with_death = |reason: &str| {
        let text_of = |text: &str| HeaderValue::Text(text.to_owned());
        let death = [("queue".to_owned(), text_of(&other)), ("reason".to_owned(), text_of(reason))];
        let deaths = HeaderValue::List(vec![HeaderValue::Table(death.into())]);
        Message { headers: [("x-death".to_owned(), deaths)].into(), ..text("a") }
    };
    let publisher = bench.connect(Role::Publish);
    bench.publish(publisher, q(), with_death("expired"));
    bench.publish(publisher, q(), with_death("rejected"));
    bench.wait(1010);
    assert_eq!(bench.ready(&Target::Queue("other".into())), 1, "the one that somebody rejected");
}
