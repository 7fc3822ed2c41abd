//! Single cases of what goes wrong, and of the end: lost connections, failed publishes, clocks, drains.

use super::{
    cases::{SECOND, delay_queue, one_lane, settles, task},
    world::{Kept, World, int, message, text},
    *,
};

#[test]
fn a_refused_publish_is_tried_again_with_growing_rests_and_the_delivery_is_kept() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.answer(500, &[]);
    let mut publishes = 0;
    for _ in 0..600 {
        if let Some((id, ..)) = world.publishing.pop_front() {
            publishes += 1;
            world.feed(Input::Published { id, result: Err(PublishError::Refused("full".into())) });
        }
        world.advance(SECOND / 10);
    }
    assert!((10..=20).contains(&publishes), "{publishes} publishes in a minute");
    assert!(world.acked.is_empty());
    world.advance(5 * SECOND);
    world.confirm();
    settles(&world, &[Settlement::Retried]);
}

#[test]
fn a_broken_delay_queue_is_gone_round() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.answer(500, &[]);
    let mut tried = Vec::new();
    for _ in 0..8 {
        let (id, target, _) = world.publishing.pop_front().unwrap();
        let Target::Delay(step) = target else { panic!("{target:?}") };
        tried.push(step.millis());
        world.feed(Input::Published { id, result: Err(PublishError::Unknown("no answer".into())) });
        world.advance(5 * SECOND);
    }
    assert_eq!(tried, [2000, 2000, 1750, 1500, 1250, 1000, 1250, 1000]);
    world.confirm();
    settles(&world, &[Settlement::Retried]);
}

#[test]
fn a_task_that_kills_dispatchers_is_buried_where_the_broker_does_not_count() {
    let mut config = config(vec![lane("a", 1)]);
    config.redeliveries_max = Some(3);
    let mut world = World::new(config);
    world.produce("q.a", task("t"));
    let mut sent = 0;
    while world.dead.is_empty() {
        world.deliver_all();
        world.confirm_all();
        world.deliver_all();
        sent += world.sending.len();
        // A new dispatcher each time: nothing of the old one is left.
        world.sending.clear();
        let (queues, dead) = (std::mem::take(&mut world.queues), std::mem::take(&mut world.dead));
        let unsettled = std::mem::take(&mut world.unsettled);
        world = World::new(world.core.config.clone());
        (world.queues, world.dead) = (queues, dead);
        for (_, (source, message)) in unsettled {
            world.queues.entry(source).or_default().push_front(Kept { message, redelivered: true });
        }
        assert!(sent < 20, "it goes on for ever");
    }
    assert_eq!((sent, world.dead.len()), (4, 1));
    assert_eq!(text(&world.dead[0], "quebert-dead-reason"), Some("max_deliveries"));
}

#[test]
fn a_redelivery_that_its_full_queue_refuses_is_sent_uncounted() {
    let mut config = config(vec![lane("a", 1)]);
    config.redeliveries_max = Some(3);
    config.lanes[0].window = 1;
    let mut world = World::new(config);
    world.produce("q.a", task("t"));
    world.produce("q.a", task("other"));
    world.deliver_all();
    world.sending.clear();
    world.restart(world.core.config.clone());
    world.deliver_all();
    let (id, target, _) = world.publishing.pop_front().unwrap();
    assert_eq!((target, world.sending.len()), (Target::Queue("q.a".into()), 0));
    world.feed(Input::Published { id, result: Err(PublishError::Refused("maxlen".into())) });
    world.answer(200, &[]);
    world.deliver_all();
    world.answer(200, &[]);
    assert_eq!(world.everything().count(), 0);
}

#[test]
fn a_due_task_whose_queue_is_gone_is_buried_with_that_reason() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.answer(500, &[]);
    world.confirm();
    world.deliver_all();
    world.advance(2 * SECOND);
    let (id, target, _) = world.publishing.pop_front().unwrap();
    assert_eq!(target, Target::Queue("q.a".into()));
    world.feed(Input::Published { id, result: Err(PublishError::Returned("NO_ROUTE".into())) });
    world.confirm();
    assert_eq!(text(&world.dead[0], "quebert-dead-reason"), Some("unroutable"));
    assert_eq!(world.everything().count(), 1);
}

#[test]
fn a_success_whose_ack_was_lost_is_recognised_and_not_sent_again() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.answer(200, &[]);
    world.cut(1);
    world.deliver_all();
    assert!(world.sending.is_empty());
    settles(&world, &[Settlement::Succeeded, Settlement::Duplicate]);
    assert_eq!(world.everything().count(), 0);
}

#[test]
fn a_replayed_task_is_not_taken_for_its_former_self() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.answer(410, &[]);
    world.confirm();
    // The ack has arrived, but nobody here knows.
    world.cut(0);
    world.produce("q.a", task("t"));
    world.deliver_all();
    assert_eq!(world.sending.len(), 1, "it is no redelivery");
}

#[test]
fn a_drain_waits_for_heads_that_are_on_their_way() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","delay_ms":4000}"#));
    world.deliver_all();
    world.confirm_all();
    world.deliver_all();
    world.advance(4 * SECOND);
    world.feed(Input::Drain { deadline: world.now.mono + 30 * SECOND });
    assert!(!world.stopped);
    world.confirm();
    assert!(world.stopped);
    assert_eq!(world.everything().count(), 1, "one copy");
}

#[test]
fn a_drain_gives_heads_back_that_wait_and_takes_no_new_ones() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","delay_ms":4000}"#));
    world.deliver_all();
    world.confirm_all();
    world.deliver_all();
    let (source, _) = world.unsettled.values().next().cloned().unwrap();
    assert!(matches!(source, Source::Delay(_)), "the head waits here");
    world.feed(Input::Drain { deadline: world.now.mono + 30 * SECOND });
    assert_eq!(world.unsettled.len(), 0, "it goes back at once");
    assert_eq!(world.queues[&source].len(), 1);
    assert!(world.open[&source].2, "no other comes");
    assert!(world.stopped);
}

#[test]
fn two_tasks_without_ids_that_look_alike_are_two_tasks() {
    let mut world = one_lane();
    let anonymous = message(r#"{"url":"http://host/tick"}"#);
    world.produce("q.a", anonymous.clone());
    world.deliver_all();
    world.answer(200, &[]);
    world.produce("q.a", anonymous);
    world.deliver_all();
    // The first one's ack did arrive. The second one, redelivered after the cut, must not be taken for it.
    world.cut(0);
    world.deliver_all();
    assert_eq!(world.sending.len(), 2, "the request that was under way, and the redelivery");
}

#[test]
fn a_request_under_way_adopts_the_redelivery() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.cut(0);
    world.deliver_all();
    assert_eq!(world.sending.len(), 1, "sent once");
    world.answer(200, &[]);
    settles(&world, &[Settlement::Requeued, Settlement::Succeeded]);
    assert_eq!(world.everything().count(), 0);
}

#[test]
fn a_success_during_an_outage_waits_for_the_redelivery() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.cut(0);
    world.answer(200, &[]);
    world.deliver_all();
    assert!(world.sending.is_empty());
    settles(&world, &[Settlement::Requeued, Settlement::Succeeded]);
}

#[test]
fn the_ack_of_a_duplicate_may_be_lost_as_well() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.answer(200, &[]);
    for _ in 0..3 {
        world.cut(1);
        world.deliver_all();
        assert!(world.sending.is_empty(), "sent again");
    }
    settles(&world, &[Settlement::Succeeded, Settlement::Duplicate, Settlement::Duplicate, Settlement::Duplicate]);
}

#[test]
fn the_ack_of_a_moved_head_s_duplicate_may_be_lost_as_well() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","delay_ms":4000}"#));
    world.deliver_all();
    world.confirm_all();
    world.deliver_all();
    world.advance(4 * SECOND);
    world.confirm_all();
    for _ in 0..3 {
        let (opening, lost) = world.lose(&delay_queue(4), 1);
        assert_eq!(lost.len(), 1);
        world.feed(Input::Broker(BrokerEvent::Closed { opening }));
        world.open_source(delay_queue(4), 4);
        world.deliver_all();
    }
    assert!(world.publishing.is_empty(), "moved again");
    assert_eq!(world.sending.len(), 1);
}

#[test]
fn an_attempt_that_stands_only_here_outlasts_a_cut_while_the_next_one_is_prepared() {
    let mut config = config(vec![lane("a", 1)]);
    config.lanes[0].retry.backoff_min = SECOND / 10;
    config.lanes[0].retry.backoff_max = SECOND / 10;
    config.mediated = true;
    let mut world = World::new(config);
    world.produce("q.a", task("t"));
    world.deliver_all();
    prepare(&mut world);
    world.answer(500, &[]);
    let (ticket, verdict) = world.reviewing.pop_front().unwrap();
    world.feed(Input::Reviewed { ticket, verdict });
    world.advance(SECOND / 10);
    world.cut(0);
    prepare(&mut world);
    world.deliver_all();
    prepare(&mut world);
    assert_eq!(world.answer(200, &[]), 2);
}

/// The mediators let the oldest task go.
fn prepare(world: &mut World) {
    let (ticket, attempt) = world.preparing.pop_front().unwrap();
    world.feed(Input::Prepared { ticket, attempt, before: Ok(Before::Send) });
}

#[test]
fn a_mediator_can_not_say_which_lane_a_task_came_through() {
    let mut config = config(vec![lane("a", 1)]);
    config.mediated = true;
    let mut world = World::new(config);
    world.produce("q.a", task("t"));
    world.deliver_all();
    let (ticket, mut attempt) = world.preparing.pop_front().unwrap();
    attempt.lane = "another".into();
    world.feed(Input::Prepared { ticket, attempt, before: Ok(Before::Send) });
    assert_eq!(&*world.sending[0].1.lane, "a");
}

#[test]
fn a_wall_clock_that_goes_back_makes_nothing_early() {
    let mut config = config(vec![lane("a", 1)]);
    config.destinations.slots = 1;
    for mediated in [false, true] {
        config.mediated = mediated;
        let mut world = World::new(config.clone());
        let later = r#"{"id":"later","url":"http://host/","created_at":1767225600000,"delay_ms":500}"#;
        world.produce("q.a", if mediated { message(later) } else { task("first") });
        world.produce("q.a", message(later));
        world.deliver_all();
        world.advance(SECOND / 2);
        let back = Timestamp::from_millis(world.now.wall.as_millis() - 100);
        world.now.wall = back;
        if mediated {
            prepare(&mut world);
        } else {
            world.answer(200, &[]);
        }
        assert!(world.sending.is_empty() && world.preparing.is_empty(), "early");
        world.advance(SECOND / 10);
        assert_eq!(world.sending.len() + world.preparing.len(), 1);
    }
}

/// One task is under way, and behind it waits one that expires after five seconds.
fn one_waits_for_five_seconds() -> World {
    let mut config = config(vec![lane("a", 1)]);
    config.destinations.slots = 1;
    let mut world = World::new(config);
    world.produce("q.a", task("first"));
    world.produce("q.a", message(r#"{"id":"late","url":"http://host/","ttl_ms":5000}"#));
    world.deliver_all();
    world
}

#[test]
fn a_task_that_has_expired_by_a_jump_of_the_wall_clock_is_not_sent() {
    let mut world = one_waits_for_five_seconds();
    world.now.wall = world.now.wall.saturating_add(5 * SECOND);
    world.answer(200, &[]);
    assert!(world.sending.is_empty());
    settles(&world, &[Settlement::Succeeded, Settlement::Expired]);
}

#[test]
fn a_waiting_task_expires_in_its_time_though_the_wall_clock_went_back() {
    let mut world = one_waits_for_five_seconds();
    world.now.wall = Timestamp::from_millis(world.now.wall.as_millis() - 10_000);
    world.advance(14 * SECOND);
    settles(&world, &[]);
    world.advance(SECOND);
    settles(&world, &[Settlement::Expired]);
}

#[test]
fn what_was_decided_of_a_lost_delivery_is_forgotten_if_it_never_comes_again() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.cut(0);
    // Another dispatcher has it now.
    world.queues.get_mut(&Source::Queue("q.a".into())).unwrap().clear();
    world.answer(500, &[]);
    world.advance(14 * 60 * SECOND);
    assert!(!world.core.orphans.is_empty(), "it may come still");
    // A quarter of an hour after it was decided, at the next sweep.
    world.advance(16 * 60 * SECOND);
    assert!(world.core.orphans.is_empty() && world.core.tickets.is_empty());
}

#[test]
fn a_copy_that_comes_back_from_the_grid_is_not_taken_for_the_one_that_went_in() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","delay_ms":4000}"#));
    world.deliver_all();
    world.confirm_all();
    world.cut(0);
    world.deliver_all();
    world.advance(4 * SECOND);
    world.confirm_all();
    // Flagged as redelivered, as after a crash of another dispatcher.
    let source = Source::Queue("q.a".into());
    world.queues.get_mut(&source).unwrap()[0].redelivered = true;
    world.deliver_all();
    assert_eq!(world.sending.len(), 1);
}

#[test]
fn a_drain_ends_what_is_under_way_and_gives_back_the_rest() {
    let mut world = one_lane();
    for n in 0..5 {
        world.produce("q.a", task(&format!("t{n}")));
    }
    world.deliver_all();
    world.feed(Input::Drain { deadline: world.now.mono + 30 * SECOND });
    assert_eq!((world.sending.len(), world.queues[&Source::Queue("q.a".into())].len()), (3, 2));
    world.answer(200, &[]);
    world.answer(500, &[]);
    assert!(!world.stopped);
    world.answer(200, &[]);
    assert!(!world.stopped, "the retry's copy is not confirmed yet");
    world.confirm();
    assert!(world.stopped);
    assert_eq!(world.everything().count(), 3);
    assert_eq!(world.core.held(), 0);
}

#[test]
fn a_drain_starts_nothing_that_is_still_with_its_mediators() {
    let mut config = config(vec![lane("a", 1)]);
    config.mediated = true;
    let mut world = World::new(config);
    world.produce("q.a", task("t1"));
    world.produce("q.a", task("t2"));
    world.deliver_all();
    world.feed(Input::Drain { deadline: world.now.mono + 30 * SECOND });
    prepare(&mut world);
    assert!(!world.stopped);
    world.preparing[0].1.task.url = "http://elsewhere/".parse().unwrap();
    prepare(&mut world);
    assert!(world.sending.is_empty());
    assert!(world.stopped, "nothing is left to wait for");
    assert_eq!(world.queues[&Source::Queue("q.a".into())].len(), 2);
}

#[test]
fn a_drain_does_not_outlast_its_grace() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.feed(Input::Drain { deadline: world.now.mono + 3 * SECOND });
    world.advance(3 * SECOND);
    assert!(world.stopped);
    assert_eq!(world.queues[&Source::Queue("q.a".into())].len(), 1);
}

#[test]
fn short_backoffs_are_held_and_their_attempts_survive_a_drain() {
    let mut config = config(vec![lane("a", 1)]);
    config.lanes[0].retry.backoff_min = SECOND / 10;
    config.lanes[0].retry.backoff_max = SECOND / 10;
    let mut world = World::new(config);
    world.produce("q.a", task("t"));
    world.deliver_all();
    assert_eq!(world.answer(500, &[]), 1);
    assert!(world.publishing.is_empty() && world.sending.is_empty());
    world.advance(SECOND / 10);
    assert_eq!(world.answer(500, &[]), 2);
    world.feed(Input::Drain { deadline: world.now.mono + 3 * SECOND });
    world.confirm();
    assert!(world.stopped);
    let kept = world.everything().next().unwrap();
    assert_eq!(int(kept, "quebert-attempts"), Some(2));
}

#[test]
fn a_mediator_that_always_says_not_now_is_not_asked_in_a_hot_loop() {
    let mut config = config(vec![lane("a", 1)]);
    config.mediated = true;
    let mut world = World::new(config);
    world.produce("q.a", task("t"));
    world.deliver_all();
    let mut asked = 0;
    for _ in 0..1000 {
        if let Some((ticket, attempt)) = world.preparing.pop_front() {
            asked += 1;
            world.feed(Input::Prepared { ticket, attempt, before: Ok(Before::PutOff(Duration::ZERO)) });
        }
        world.advance(Duration::from_millis(1));
    }
    assert!((5..=10).contains(&asked), "asked {asked} times in a second");
}

#[test]
fn while_a_delay_queue_is_new_an_older_one_takes_its_tasks() {
    let mut world = one_lane();
    let second = crate::grid::Step::from_millis(1000).unwrap();
    world.feed(Input::Broker(BrokerEvent::DelayExists(second)));
    world.feed(Input::Broker(BrokerEvent::DelaySettled(second)));
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","delay_ms":4000}"#));
    let produced = world.now.mono;
    world.deliver_all();
    world.confirm_all();
    assert_eq!(world.delay_steps(), [second]);
    assert!(world.wanted.contains_key(&delay_queue(4)), "it is made all the same");
    for step in [2000, 3000].map(|ms| crate::grid::Step::from_millis(ms).unwrap()) {
        world.feed(Input::Broker(BrokerEvent::DelaySettled(step)));
    }
    while world.sending.is_empty() {
        world.deliver_all();
        world.confirm_all();
        world.advance(Duration::from_millis(100));
    }
    let waited = world.now.mono - produced;
    assert!(waited >= 4 * SECOND && waited < 5 * SECOND, "{waited:?}");
}
