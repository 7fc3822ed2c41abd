//! Single cases of what people ask for: a lane paused and let go on, a task sent now, dropped, or looked for.

use super::{
    cases::{SECOND, delay_queue, one_lane, settles, task},
    world::{World, int, message},
    *,
};
use crate::ports::broker::Delivery;

pub(super) const LATER: &str = r#"{"id":"t","url":"http://host/later","delay_ms":4000}"#;

fn queue() -> Source {
    Source::Queue("q.a".into())
}

fn pause(world: &mut World, paused: bool) {
    world.feed(Input::Pause { lane: "a".into(), paused });
}

fn steer(world: &mut World, id: &str, how: Steer) -> Steered {
    world.feed(Input::Steer { task: TaskId::new(id).unwrap(), how });
    world.steered.pop().expect("answered in the same turn")
}

fn find(world: &World, id: &str) -> Vec<HeldTask> {
    world.core.find(&TaskId::new(id).unwrap())
}

/// What was told of the lane: pauses and resumes, in order.
fn told(world: &World) -> Vec<bool> {
    let told = world.events.iter().filter_map(|event| match event {
        Event::LanePaused { paused, .. } => Some(*paused),
        _ => None,
    });
    told.collect()
}

/// A world whose delayed task `t` is in hand, as the head of its delay queue.
pub(super) fn delayed() -> World {
    let mut world = one_lane();
    world.produce("q.a", message(LATER));
    world.deliver_all();
    world.confirm_all();
    world.deliver_all();
    world
}

#[test]
fn a_paused_lane_ends_what_is_under_way_and_gives_back_what_waits() {
    let mut world = one_lane();
    (0..5).for_each(|n| world.produce("q.a", task(&format!("t{n}"))));
    world.deliver_all();
    pause(&mut world, true);
    assert_eq!((world.sending.len(), world.queues[&queue()].len()), (3, 2));
    world.answer(200, &[]);
    world.answer(500, &[]);
    world.answer(200, &[]);
    world.confirm_all();
    assert_eq!((world.sending.len(), world.core.held()), (0, 0));
    assert_eq!(world.delay_steps().len(), 1, "the retry is in the grid");
    assert!(world.open[&queue()].2, "paused at the broker");
}

#[test]
fn a_lane_that_goes_on_is_opened_when_its_former_deliveries_are_settled() {
    let mut world = one_lane();
    // Without an id nobody could tell a redelivery from another task.
    world.produce("q.a", message(r#"{"url":"http://host/"}"#));
    world.deliver_all();
    let first = world.open[&queue()].0;
    pause(&mut world, true);
    world.produce("q.a", task("next"));
    pause(&mut world, false);
    assert_eq!(world.open[&queue()].0, first, "a request is under way");
    world.deliver_all();
    assert_eq!(world.sending.len(), 1);
    world.answer(200, &[]);
    assert_ne!(world.open[&queue()].0, first);
    world.deliver_all();
    world.answer(200, &[]);
    settles(&world, &[Settlement::Succeeded, Settlement::Succeeded]);
    assert_eq!(told(&world), [true, false]);
}

#[test]
fn a_lane_goes_on_at_last_though_something_of_it_cannot_be_settled() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.answer(500, &[]);
    let (id, ..) = world.publishing.pop_front().unwrap();
    pause(&mut world, true);
    world.produce("q.a", task("next"));
    pause(&mut world, false);
    world.advance(80 * SECOND);
    world.deliver_all();
    assert!(world.sending.is_empty(), "not yet");
    world.advance(20 * SECOND);
    world.deliver_all();
    assert_eq!(world.sending.len(), 1, "the next one");
    // The stuck one has come again, and was joined to its publish.
    world.feed(Input::Published { id, result: Ok(()) });
    assert_eq!(world.answer(200, &[]), 1);
    settles(&world, &[Settlement::Requeued, Settlement::Retried, Settlement::Succeeded]);
}

#[test]
fn how_long_a_lane_waits_to_go_on_counts_from_the_last_word() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    let first = world.open[&queue()].0;
    for paused in [true, false] {
        pause(&mut world, paused);
    }
    world.advance(80 * SECOND);
    for paused in [true, false] {
        pause(&mut world, paused);
    }
    world.advance(80 * SECOND);
    assert_eq!(world.open[&queue()].0, first);
    world.advance(20 * SECOND);
    assert_ne!(world.open[&queue()].0, first);
}

#[test]
fn what_comes_from_the_former_opening_of_a_lane_that_goes_on_is_ignored() {
    let now = Now { mono: SECOND, wall: EPOCH };
    let mut core = Core::new(config(vec![lane("a", 1)]), Codecs::default(), now);
    core.handle(now, Input::Broker(BrokerEvent::Opened { source: queue(), opening: Opening(1) }));
    for paused in [true, false] {
        core.handle(now, Input::Pause { lane: "a".into(), paused });
    }
    // It was on its way; the broker has it back, and delivers it again.
    let delivery = |opening, redelivered| {
        let tag = Tag { opening: Opening(opening), seq: 1 };
        BrokerEvent::Delivered(Delivery { tag, redelivered, message: message(r#"{"url":"http://host/"}"#) })
    };
    core.handle(now, Input::Broker(delivery(1, false)));
    core.handle(now, Input::Broker(BrokerEvent::Opened { source: queue(), opening: Opening(2) }));
    core.handle(now, Input::Broker(delivery(2, true)));
    let sent = std::iter::from_fn(|| core.poll()).filter(|action| matches!(action, Action::Send { .. })).count();
    assert_eq!((sent, core.deliveries()), (1, 1));
}

#[test]
fn an_opening_that_replaces_another_ends_it() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    // As if the broker had opened the source anew without a word about the former opening.
    let (_, lost) = world.lose(&queue(), 0);
    assert_eq!(lost.len(), 1);
    world.open_source(queue(), 8);
    world.deliver_all();
    assert_eq!(world.sending.len(), 1, "joined to the request under way");
    world.answer(200, &[]);
    settles(&world, &[Settlement::Requeued, Settlement::Succeeded]);
}

#[test]
fn a_pause_outlasts_a_cut_and_a_reload() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    pause(&mut world, true);
    world.cut(0);
    world.feed(Input::Reconfigure(Box::new(world.core.config.clone())));
    world.deliver_all();
    world.advance(100 * SECOND);
    assert!(world.deliverable().is_empty() && !world.wanted.contains_key(&queue()));
    assert!(world.sending.is_empty());
    pause(&mut world, false);
    world.deliver_all();
    assert_eq!(world.sending.len(), 1);
}

#[test]
fn pauses_are_told_of_exactly_when_they_change() {
    let mut world = one_lane();
    for paused in [false, true, true, false, false, true] {
        pause(&mut world, paused);
    }
    world.feed(Input::Pause { lane: "unknown".into(), paused: true });
    assert_eq!(told(&world), [true, false, true]);
}

#[test]
fn a_lane_that_starts_paused_is_not_opened_before_it_goes_on() {
    let paused = BTreeSet::from(["a".into()]);
    let config = config(vec![lane("a", 1), lane("b", 1)]);
    let mut core = Core::with_paused(config, Codecs::default(), Now { mono: SECOND, wall: EPOCH }, &paused);
    let wanted = |core: &mut Core| {
        let opened = std::iter::from_fn(|| core.poll()).filter_map(|action| match action {
            Action::Open { source, .. } => Some(source),
            _ => None,
        });
        opened.collect::<Vec<_>>()
    };
    assert_eq!(wanted(&mut core), [Source::Queue("q.b".into())]);
    core.handle(Now { mono: SECOND, wall: EPOCH }, Input::Pause { lane: "a".into(), paused: false });
    assert_eq!(wanted(&mut core), [Source::Queue("q.a".into())]);
}

#[test]
fn what_a_mediator_lets_go_in_a_paused_lane_goes_back() {
    let mut config = config(vec![lane("a", 1)]);
    config.mediated = true;
    let mut world = World::new(config);
    world.produce("q.a", task("t"));
    world.deliver_all();
    pause(&mut world, true);
    let (ticket, attempt) = world.preparing.pop_front().unwrap();
    world.feed(Input::Prepared { ticket, attempt, before: Ok(Before::Send) });
    assert!(world.sending.is_empty());
    assert_eq!(world.queues[&queue()].len(), 1);
}

#[test]
fn what_a_mediator_has_put_off_is_not_asked_about_sooner_for_a_pause() {
    let mut config = config(vec![lane("a", 1)]);
    config.mediated = true;
    let mut world = World::new(config);
    world.produce("q.a", task("t"));
    world.deliver_all();
    let (ticket, attempt) = world.preparing.pop_front().unwrap();
    world.feed(Input::Prepared { ticket, attempt, before: Ok(Before::PutOff(SECOND / 2)) });
    pause(&mut world, true);
    world.confirm_all();
    pause(&mut world, false);
    world.deliver_all();
    assert!(world.preparing.is_empty(), "its moment has not come");
    world.advance(SECOND / 2);
    world.confirm_all();
    world.deliver_all();
    assert_eq!(world.preparing.len(), 1);
}

#[test]
fn what_was_put_off_is_told_to_have_waited_all_the_time_and_once() {
    let mut config = config(vec![lane("a", 1)]);
    config.mediated = true;
    (config.lanes[0].retry.backoff_min, config.lanes[0].retry.backoff_max) = (SECOND / 10, SECOND / 10);
    let mut world = World::new(config);
    world.produce(
        "q.a",
        message(&format!(r#"{{"id":"t","url":"http://host/","created_at":{}}}"#, EPOCH.as_millis() - 1000)),
    );
    world.deliver_all();
    let (ticket, attempt) = world.preparing.pop_front().unwrap();
    world.feed(Input::Prepared { ticket, attempt, before: Ok(Before::PutOff(SECOND / 2)) });
    assert_eq!(waits(&world), [], "no attempt was made");
    world.advance(2 * SECOND);
    for status in [500, 200] {
        let (ticket, attempt) = world.preparing.pop_front().unwrap();
        world.feed(Input::Prepared { ticket, attempt, before: Ok(Before::Send) });
        world.answer(status, &[]);
        let (ticket, verdict) = world.reviewing.pop_front().unwrap();
        world.feed(Input::Reviewed { ticket, verdict });
        world.advance(SECOND);
    }
    assert_eq!(waits(&world), [3 * SECOND]);
}

fn waits(world: &World) -> Vec<Duration> {
    let of = |event: &Event| if let Event::Waited { wait, .. } = event { Some(*wait) } else { None };
    world.events.iter().filter_map(of).collect()
}

#[test]
fn a_short_backoff_of_a_paused_lane_goes_into_the_grid_with_its_attempts() {
    let mut config = config(vec![lane("a", 1)]);
    (config.lanes[0].retry.backoff_min, config.lanes[0].retry.backoff_max) = (SECOND / 10, SECOND / 10);
    let mut world = World::new(config);
    world.produce("q.a", task("held"));
    world.produce("q.a", task("sent"));
    world.deliver_all();
    world.answer(500, &[]);
    pause(&mut world, true);
    world.answer(500, &[]);
    world.confirm_all();
    assert_eq!(world.core.held(), 0);
    assert!(world.everything().all(|message| int(message, "quebert-attempts") == Some(1)));
}

#[test]
fn heads_that_are_due_move_to_the_queue_of_a_paused_lane() {
    let mut world = delayed();
    pause(&mut world, true);
    world.advance(4 * SECOND);
    world.confirm_all();
    assert_eq!(world.queues[&queue()].len(), 1);
    world.deliver_all();
    assert!(world.sending.is_empty());
}

#[test]
fn a_drain_ends_a_pause_that_waits_to_go_on() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    pause(&mut world, true);
    pause(&mut world, false);
    world.feed(Input::Drain { deadline: world.now.mono + 30 * SECOND });
    world.answer(200, &[]);
    assert!(world.stopped && !world.wanted.contains_key(&queue()));
}

#[test]
fn a_delayed_task_is_sent_now_and_its_moment_does_not_come_back_with_a_retry() {
    let mut world = one_lane();
    let at = EPOCH.saturating_add(3600 * SECOND).as_millis();
    world.produce("q.a", message(&format!(r#"{{"id":"t","url":"http://host/","not_before":{at}}}"#)));
    world.deliver_all();
    world.confirm_all();
    world.deliver_all();
    // An hour is too long to hold a head for; it is taken again shortly before.
    assert_eq!(steer(&mut world, "t", Steer::RunNow), Steered::NotHeld);
    world.advance(3560 * SECOND);
    world.deliver_all();
    assert_eq!(find(&world, "t")[0].due_at, Some(Timestamp::from_millis(at)));
    assert_eq!(steer(&mut world, "t", Steer::RunNow), Steered::Done);
    world.confirm();
    world.deliver_all();
    assert_eq!(world.answer(500, &[]), 1);
    world.confirm_all();
    world.deliver_all();
    world.advance(SECOND);
    assert!(world.publishing.is_empty() && world.sending.is_empty(), "its backoff counts");
    world.advance(SECOND);
    world.confirm_all();
    world.deliver_all();
    assert_eq!(world.answer(200, &[]), 2);
    assert_eq!(world.everything().count(), 0);
}

#[test]
fn a_task_held_for_its_moment_is_sent_now() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","delay_ms":900}"#));
    world.deliver_all();
    assert_eq!(find(&world, "t")[0].state, HeldState::Delayed);
    assert_eq!(steer(&mut world, "t", Steer::RunNow), Steered::Done);
    assert_eq!(steer(&mut world, "t", Steer::RunNow), Steered::UnderWay);
    assert_eq!(world.answer(200, &[]), 1);
    assert_eq!(steer(&mut world, "t", Steer::RunNow), Steered::NotHeld);
}

#[test]
fn a_cancelled_task_is_acked_and_never_sent() {
    let mut config = config(vec![lane("a", 1)]);
    config.slots_shared = 1;
    let mut world = World::new(config);
    world.produce("q.a", task("first"));
    world.produce("q.a", task("t"));
    world.produce("q.a", message(r#"{"id":"soon","url":"http://host/","delay_ms":900}"#));
    world.deliver_all();
    assert_eq!(steer(&mut world, "first", Steer::Cancel), Steered::UnderWay);
    assert_eq!(steer(&mut world, "t", Steer::Cancel), Steered::Done);
    assert_eq!(steer(&mut world, "soon", Steer::Cancel), Steered::Done);
    world.answer(200, &[]);
    world.advance(2 * SECOND);
    settles(&world, &[Settlement::Filtered, Settlement::Filtered, Settlement::Succeeded]);
    assert_eq!(world.everything().count(), 0);
}

#[test]
fn a_cancelled_head_is_acked_and_one_on_its_way_is_left_alone() {
    let mut world = delayed();
    assert_eq!(steer(&mut world, "t", Steer::Cancel), Steered::Done);
    assert_eq!((world.everything().count(), world.core.delays.in_hand()), (0, 0));
    let is_told = |event: &&Event| matches!(event, Event::DelayedCancelled { task, .. } if task.as_str() == "t");
    assert_eq!(world.events.iter().filter(is_told).count(), 1, "it is no delivery, so nothing else tells of it");
    // Its ack is lost: it is known when it comes again.
    let (opening, lost) = world.lose(&delay_queue(4), 1);
    assert_eq!(lost.len(), 1);
    world.feed(Input::Broker(BrokerEvent::Closed { opening }));
    world.open_source(delay_queue(4), 4);
    world.deliver_all();
    world.advance(5 * SECOND);
    assert_eq!((world.publishing.len(), world.everything().count()), (0, 0));

    let mut world = delayed();
    world.advance(4 * SECOND);
    assert_eq!(steer(&mut world, "t", Steer::Cancel), Steered::UnderWay);
    world.confirm();
    world.deliver_all();
    assert_eq!(world.sending.len(), 1);
}

#[test]
fn every_copy_that_is_held_is_steered() {
    let mut world = delayed();
    world.produce("q.a", task("t"));
    world.deliver_all();
    let states: Vec<_> = find(&world, "t").into_iter().map(|held| (held.state, held.url.unwrap())).collect();
    let (sent, later) = ("http://host/t".to_owned(), "http://host/later".to_owned());
    assert_eq!(states, [(HeldState::InFlight, sent), (HeldState::Delayed, later)]);
    assert_eq!(steer(&mut world, "t", Steer::Cancel), Steered::Done, "the one that could be");
    assert_eq!(find(&world, "t").len(), 1);
    assert_eq!(steer(&mut world, "t", Steer::Cancel), Steered::UnderWay);
}

#[test]
fn what_is_found_says_where_it_is() {
    let mut world = delayed();
    let held = HeldTask {
        lane: Some("a".into()),
        state: HeldState::Delayed,
        attempts: 0,
        due_at: Some(EPOCH.saturating_add(4 * SECOND)),
        enqueued_at: Some(EPOCH),
        url: Some("http://host/later".to_owned()),
    };
    assert_eq!(find(&world, "t"), std::slice::from_ref(&held));
    world.advance(4 * SECOND);
    assert_eq!(find(&world, "t"), [HeldTask { state: HeldState::Settling, ..held.clone() }]);
    world.confirm();
    world.deliver_all();
    assert_eq!(find(&world, "t"), [HeldTask { state: HeldState::InFlight, attempts: 1, ..held }]);
    assert_eq!(find(&world, "other"), []);
}

#[test]
fn each_move_says_which_delivery_it_replaces() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.answer(500, &[]);
    let in_hand: Vec<Tag> = world.unsettled.keys().copied().collect();
    assert_eq!(world.replaced.last(), Some(&in_hand.first().copied()));
    // The delivery is lost while its publish rests: the next try replaces the redelivery.
    let (id, ..) = world.publishing.pop_front().unwrap();
    world.feed(Input::Published { id, result: Err(PublishError::Refused("full".into())) });
    world.cut(0);
    world.deliver_all();
    let in_hand: Vec<Tag> = world.unsettled.keys().copied().collect();
    assert_eq!((world.replaced.len(), world.replaced.last()), (2, Some(&in_hand.first().copied())));
    world.confirm();
    world.deliver_all();
    world.advance(2 * SECOND);
    let in_hand: Vec<Tag> = world.unsettled.keys().copied().collect();
    assert_eq!((world.replaced.len(), world.replaced.last()), (3, Some(&in_hand.first().copied())));
}
