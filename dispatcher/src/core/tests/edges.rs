//! Single cases at the edges: limits met exactly, what is told of what happened, and what must be forgotten. Each kills a
//! mutant of the core that the larger tests let live; the stories stand beside this file.

use super::{
    cases::{SECOND, delay_queue, one_lane, settles, task},
    steering::{LATER, delayed},
    world::{World, message, text},
    *,
};

use crate::{
    core::ticket::State,
    event::{Event, Purpose},
    grid::Step,
    outcome::{Failure, FailureKind},
};
use quebert_wire::{HeaderValue, limits::MESSAGE_HEAD_BYTES_MAX};

/// A delayed task on its way back to its queue.
fn moving_head() -> World {
    let mut world = delayed();
    world.advance(4 * SECOND);
    assert_eq!(world.publishing.len(), 1);
    world
}

fn lose_the_delay_queue(world: &mut World) {
    let (opening, _) = world.lose(&delay_queue(4), 0);
    world.feed(Input::Broker(BrokerEvent::Closed { opening }));
}

fn refuse(world: &mut World) {
    let (id, ..) = world.publishing.pop_front().unwrap();
    world.feed(Input::Published { id, result: Err(PublishError::Refused("full".into())) });
}

#[test]
fn what_waits_long_for_a_slot_is_put_off_before_the_broker_takes_it_back() {
    let mut config = config(vec![lane("a", 1)]);
    config.destinations.slots = 1;
    // A third of what is left beside the longest attempt: 10 s; looked at every 5 s.
    config.consumer_timeout = 90 * SECOND;
    let mut world = World::new(config);
    world.produce("q.a", task("first"));
    world.produce("q.a", task("second"));
    world.deliver_all();
    world.advance(10 * SECOND);
    assert!(world.publishing.is_empty());
    world.advance(6 * SECOND);
    assert_eq!(world.publishing.len(), 1);
}

#[test]
fn headers_beyond_the_limit_are_not_allowed_which_is_another_thing_than_unreadable() {
    let mut world = one_lane();
    let mut large = task("t");
    large.headers.insert("x".to_owned(), HeaderValue::Text("x".repeat(MESSAGE_HEAD_BYTES_MAX)));
    world.produce("q.a", large);
    world.produce("q.a", message("no envelope"));
    world.deliver_all();
    world.confirm_all();
    let reasons: Vec<_> = world.dead.iter().map(|dead| text(dead, "quebert-dead-reason").unwrap()).collect();
    assert_eq!(reasons, ["not_allowed", "undecodable"]);
    // What would leave no room for such notes goes, and is named.
    let shed: Vec<_> = world.dead.iter().map(|dead| dead.headers.get("quebert-dead-shed")).collect();
    assert_eq!(shed, [Some(&HeaderValue::List(vec![HeaderValue::Text("x".to_owned())])), None]);
    assert!(!world.dead[0].headers.contains_key("x"));
}

#[test]
fn unknown_fields_are_told_of_tasks_that_have_some() {
    let mut world = one_lane();
    world.produce("q.a", task("plain"));
    world.produce("q.a", message(r#"{"url":"http://host/","colour":1}"#));
    world.deliver_all();
    let told: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| if let Event::UnknownFields { fields, .. } = event { Some(fields.join(",")) } else { None })
        .collect();
    assert_eq!(told, ["colour"]);
}

#[test]
fn of_lost_deliveries_only_those_under_way_are_remembered() {
    let mut world = one_lane();
    for n in 0..5 {
        world.produce("q.a", task(&format!("t{n}")));
    }
    world.deliver_all();
    assert_eq!((world.sending.len(), world.core.tickets.len()), (3, 5));
    world.cut(0);
    assert_eq!(world.core.tickets.len(), 3);
}

#[test]
fn each_attempt_has_a_span_of_its_own_that_is_not_zero_and_the_context_that_the_task_came_with() {
    let mut world = one_lane();
    let mut spans = BTreeSet::new();
    for n in 0..20 {
        let mut traced = task(&format!("t{n}"));
        for name in ["traceparent", "tracestate", "baggage"] {
            traced.headers.insert(name.to_owned(), HeaderValue::Text(format!("{name} of {n}")));
        }
        world.produce("q.a", traced);
        world.deliver_all();
        let trace = &world.sending[0].1.trace;
        let context = [&trace.traceparent, &trace.tracestate, &trace.baggage];
        assert_eq!(
            context.map(|text| text.as_deref()),
            ["traceparent", "tracestate", "baggage"]
                .map(|name| Some(format!("{name} of {n}")))
                .each_ref()
                .map(Option::as_deref)
        );
        assert_eq!(trace.span_id[7] & 1, 1);
        spans.insert(trace.span_id);
        world.answer(200, &[]);
    }
    // Nor is it without any header.
    world.produce("q.a", task("bare"));
    world.deliver_all();
    spans.insert(world.sending[0].1.trace.span_id);
    assert!(spans.len() == 21 && !spans.contains(&[0; 8]), "{spans:?}");
}

#[test]
fn silence_makes_a_destination_distrusted_and_a_refusal_does_not() {
    for (kind, distrusted) in [(FailureKind::Timeout, true), (FailureKind::Connect, false)] {
        let mut world = one_lane();
        world.produce("q.a", task("t"));
        world.deliver_all();
        let (ticket, attempt, _) = world.sending.pop_front().unwrap();
        let outcome = Outcome::Failed(Failure { kind, detail: String::new(), reached: false });
        world.feed(Input::Answered { ticket, attempt, outcome });
        let told = |event: &Event| matches!(event, Event::DestinationTrusted { trusted: false, .. });
        assert_eq!(world.events.iter().any(told), distrusted, "{kind:?}");
    }
}

#[test]
fn a_task_from_the_future_has_not_waited_and_that_is_told() {
    for (ahead_ms, wait_ms, skewed) in [(-1, 1, false), (0, 0, false), (1, 0, true)] {
        let mut world = one_lane();
        let created = EPOCH.as_millis() + ahead_ms;
        world.produce("q.a", message(&format!(r#"{{"url":"http://host/","created_at":{created}}}"#)));
        world.deliver_all();
        let told = world.events.iter().find_map(|event| match event {
            Event::Waited { wait, skewed, .. } => Some((*wait, *skewed)),
            _ => None,
        });
        assert_eq!(told, Some((Duration::from_millis(wait_ms), skewed)), "{ahead_ms} ms");
    }
}

#[test]
fn what_is_left_to_wait_is_held_in_hand_up_to_the_limit() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","delay_ms":9000}"#));
    world.deliver_all();
    world.confirm_all();
    assert_eq!(world.delay_steps(), [Step::from_millis(8000).unwrap()]);
    world.deliver_all();
    world.advance(8 * SECOND);
    assert_eq!(world.publishing[0].1, Target::Queue("q.a".into()), "one second is held, not sent round again");
    world.confirm_all();
    world.deliver_all();
    assert!(world.sending.is_empty());
    world.advance(SECOND);
    assert_eq!(world.sending.len(), 1);
}

#[test]
fn a_due_task_that_is_buried_is_told_under_its_lane_s_name() {
    let mut world = World::new(config(vec![lane("a", 2), lane("b", 1)]));
    world.produce("q.b", message(LATER));
    world.deliver_all();
    world.confirm_all();
    world.deliver_all();
    world.advance(4 * SECOND);
    let (id, ..) = world.publishing.pop_front().unwrap();
    world.feed(Input::Published { id, result: Err(PublishError::Returned("NO_ROUTE".into())) });
    let told = |event: &Event| matches!(event, Event::Buried { lane, .. } if &**lane == "b");
    assert!(world.events.iter().any(told), "{:?}", world.events);
}

#[test]
fn a_due_task_that_is_refused_is_tried_again_with_growing_rests() {
    let mut world = moving_head();
    let mut publishes = 0;
    for _ in 0..600 {
        if !world.publishing.is_empty() {
            publishes += 1;
            refuse(&mut world);
        }
        world.advance(SECOND / 10);
    }
    assert!((10..=20).contains(&publishes), "{publishes} publishes in a minute");
    assert!(world.dead.is_empty());
    world.advance(5 * SECOND);
    world.confirm();
    assert_eq!(world.everything().count(), 1);
}

#[test]
fn a_due_task_that_is_refused_after_its_delivery_was_lost_is_left_to_whoever_gets_that() {
    let mut world = moving_head();
    lose_the_delay_queue(&mut world);
    assert!(!world.core.delays.is_empty(), "its publish may still succeed");
    refuse(&mut world);
    world.advance(60 * SECOND);
    assert!(world.publishing.is_empty() && world.core.delays.is_empty());
}

#[test]
fn a_head_that_only_waits_is_forgotten_with_its_delivery() {
    let mut world = delayed();
    assert!(!world.core.delays.is_empty());
    lose_the_delay_queue(&mut world);
    assert!(world.core.delays.is_empty());
}

#[test]
fn a_publish_for_a_head_without_a_name_is_answered_though_its_delivery_is_lost() {
    let mut world = delayed();
    // As the one in hand, but nobody could recognise it.
    let mut nameless = world.unsettled.values().next().unwrap().1.clone();
    assert!(nameless.headers.remove("quebert-id").is_some(), "{:?}", nameless.headers);
    let source = delay_queue(4);
    world.queues.entry(source.clone()).or_default().push_back(world::Kept { message: nameless, redelivered: false });
    world.deliver_all();
    world.advance(4 * SECOND);
    assert_eq!(world.publishing.len(), 2);
    lose_the_delay_queue(&mut world);
    world.events.clear();
    world.confirm_all();
    let answered = |event: &&Event| matches!(event, Event::Published { purpose: Purpose::Due, result: "ack", .. });
    assert_eq!(world.events.iter().filter(answered).count(), 2);
}

#[test]
fn a_head_that_is_due_before_the_broker_takes_it_back_is_kept_in_hand() {
    // Two fifths of the consumer timeout of 1800 s: 720 s.
    for (delay_s, kept) in [(640, true), (768, false)] {
        let mut world = one_lane();
        world.produce("q.a", message(&format!(r#"{{"id":"t","url":"http://host/","delay_ms":{delay_s}000}}"#)));
        world.deliver_all();
        world.confirm_all();
        world.deliver_all();
        assert_eq!(world.open.contains_key(&delay_queue(delay_s)), kept, "{delay_s} s");
    }
}

#[test]
fn a_head_exactly_as_far_as_may_be_is_kept_in_hand() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","delay_ms":768000}"#));
    world.deliver_all();
    world.confirm_all();
    world.step_clock(48 * SECOND);
    world.deliver_all();
    assert!(world.open.contains_key(&delay_queue(768)), "720 s are left");
    settles(&world, &[Settlement::Retried]);
}

#[test]
fn a_drain_gives_back_what_was_put_off_until_now_and_what_was_put_off_as_its_message_says() {
    // The one is due at this very moment, and its message does not say so; the other was due, as its message says.
    let mut config = config(vec![lane("a", 1)]);
    config.destinations.slots = 1;
    let mut world = World::new(config);
    world.produce("q.a", task("first"));
    world.produce("q.a", message(LATER));
    world.deliver_all();
    world.confirm_all();
    world.deliver_all();
    world.advance(4 * SECOND);
    world.confirm_all();
    world.deliver_all();
    assert_eq!((world.sending.len(), world.core.held()), (1, 2));
    world.feed(Input::Drain { deadline: world.now.mono + 30 * SECOND });
    assert!(world.publishing.is_empty());
    assert_eq!(world.queues[&Source::Queue("q.a".into())].len(), 1);
}

#[test]
fn a_pause_leaves_the_other_lanes_alone() {
    let mut config = config(vec![lane("a", 1), lane("b", 1)]);
    config.slots_shared = 1;
    let mut world = World::new(config);
    for name in ["q.a", "q.a", "q.b"] {
        world.produce(name, task(name));
    }
    world.deliver_all();
    assert_eq!((world.sending.len(), world.core.held()), (1, 3));
    world.feed(Input::Pause { lane: "a".into(), paused: true });
    assert_eq!(world.queues[&Source::Queue("q.a".into())].len(), 1, "the other one is under way");
    assert!(world.queues[&Source::Queue("q.b".into())].is_empty());
}

#[test]
fn weighted_lanes_take_turns_from_the_first_on() {
    for (weights, turns) in [([1, 1], "abab"), ([2, 1], "abaaba")] {
        let mut config = config(vec![lane("a", 1), lane("b", 1)]);
        config.schedule = Schedule::Weighted;
        config.slots_shared = 1;
        config.destinations.slots = 16;
        for (lane, weight) in config.lanes.iter_mut().zip(weights) {
            lane.weight = weight;
        }
        let mut world = World::new(config);
        world.produce("q.a", task("blocker"));
        world.deliver_all();
        for n in 0..4 {
            world.produce("q.a", message(&format!(r#"{{"id":"a{n}","url":"http://host/a"}}"#)));
            world.produce("q.b", message(&format!(r#"{{"id":"b{n}","url":"http://host/b"}}"#)));
        }
        world.deliver_all();
        let taken: String = turns
            .chars()
            .map(|_| {
                world.answer(200, &[]);
                world.sending[0].1.lane.to_string()
            })
            .collect();
        assert_eq!(taken, turns, "{weights:?}");
    }
}

#[test]
fn a_task_may_become_as_old_as_its_policy_says_and_no_older() {
    for (age_max_ms, settled) in [(2000, Settlement::Retried), (1999, Settlement::DeadLettered)] {
        let mut config = config(vec![lane("a", 1)]);
        config.lanes[0].retry.max_age = Some(Duration::from_millis(age_max_ms));
        let mut world = World::new(config);
        world.produce("q.a", task("t"));
        world.deliver_all();
        // The next attempt would come after two seconds.
        world.answer(500, &[]);
        world.confirm();
        settles(&world, &[settled]);
    }
}

#[test]
fn what_is_put_off_for_overload_waits_longer_each_time_within_bounds() {
    for (put_offs, least_s, most_s) in [(0, 2, 2), (1, 2, 4), (3, 8, 16), (5, 30, 60), (40, 30, 60)] {
        let mut waits = BTreeSet::new();
        for seed in 0..40 {
            let mut config = config(vec![lane("a", 1)]);
            (config.destinations.slots, config.seed) = (1, seed);
            let mut world = World::new(config);
            world.produce("q.a", task("first"));
            world.produce("q.a", task("second"));
            world.deliver_all();
            let waiting = |(_, ticket): &(TicketId, &Ticket)| matches!(ticket.state, State::Waiting { .. });
            let (id, _) = world.core.tickets.iter().find(waiting).unwrap();
            world.core.tickets[id].book.put_offs = put_offs;
            world.core.unqueue(id);
            world.core.put_off_for_overload(id);
            world.feed(Input::Tick);
            let delay = world.events.iter().find_map(|event| match event {
                Event::RetryScheduled { delay, .. } => Some(*delay),
                _ => None,
            });
            waits.insert(delay.unwrap());
        }
        let least = Step::floor(least_s * SECOND).unwrap().length();
        assert!(waits.iter().all(|wait| (least..=most_s * SECOND).contains(wait)), "{put_offs}: {waits:?}");
        assert_eq!(waits.len() > 1, least_s < most_s, "{put_offs}: {waits:?}");
    }
}

#[test]
fn what_would_be_put_off_beyond_its_expiry_expires_and_nothing_else_does() {
    for (ttl_ms, settled) in [(60_000, Settlement::Retried), (5000, Settlement::Expired)] {
        let mut config = config(vec![lane("a", 1)]);
        config.mediated = true;
        let mut world = World::new(config);
        world.produce("q.a", message(&format!(r#"{{"id":"t","url":"http://host/","ttl_ms":{ttl_ms}}}"#)));
        world.deliver_all();
        let (ticket, attempt) = world.preparing.pop_front().unwrap();
        world.feed(Input::Prepared { ticket, attempt, before: Ok(Before::PutOff(5 * SECOND)) });
        world.confirm_all();
        settles(&world, &[settled]);
    }
}

#[test]
fn a_move_that_fails_while_its_delivery_is_lost_waits_for_the_redelivery() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.answer(500, &[]);
    world.cut(0);
    refuse(&mut world);
    world.advance(60 * SECOND);
    assert!(world.publishing.is_empty());
    world.deliver_all();
    assert_eq!((world.publishing.len(), world.sending.len()), (1, 0));
}

#[test]
fn a_task_that_somebody_put_into_a_delay_queue_without_a_note_is_found_by_its_id() {
    let mut world = delayed();
    let stranger = message(r#"{"id":"stranger","url":"http://host/","delay_ms":600000}"#);
    let mut stranger = Message { headers: world.unsettled.values().next().unwrap().1.headers.clone(), ..stranger };
    stranger.headers.remove("quebert-id");
    world.queues.entry(delay_queue(4)).or_default().push_back(world::Kept { message: stranger, redelivered: false });
    world.deliver_all();
    let found = |id: &str| world.core.find(&TaskId::new(id).unwrap()).len();
    assert_eq!((found("stranger"), found("t"), found("nobody")), (1, 1, 0));
}
