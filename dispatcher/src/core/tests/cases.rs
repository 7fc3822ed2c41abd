//! Single cases: one promise each, told as a story of few steps.

use super::{
    world::{World, answered, int, message, text},
    *,
};
use crate::{event::ExpiryStage, grid::Step, verdict::BuryReason};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A world with one lane, `q.a`.
pub(super) fn one_lane() -> World {
    World::new(config(vec![lane("a", 1)]))
}

pub(super) fn task(id: &str) -> Message {
    message(&format!(r#"{{"id":"{id}","url":"http://host/{id}"}}"#))
}

pub(super) fn delay_queue(seconds: u64) -> Source {
    Source::Delay(Step::from_millis(seconds * 1000).unwrap())
}

#[track_caller]
pub(super) fn settles(world: &World, expect: &[Settlement]) {
    assert_eq!(world.settled(), expect);
    assert_eq!(world.core.deliveries(), expect.len() as u64 + world.core.held());
}

#[test]
fn a_2xx_completes_and_acks() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    assert_eq!(world.answer(204, &[]), 1);
    settles(&world, &[Settlement::Succeeded]);
    assert_eq!((world.acked.len(), world.everything().count()), (1, 0));
}

#[test]
fn a_failure_is_acked_only_when_its_next_copy_is_confirmed() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    world.answer(500, &[]);
    assert!(world.acked.is_empty());
    world.confirm();
    settles(&world, &[Settlement::Retried]);
    let kept = &world.queues[&delay_queue(2)][0].message;
    assert_eq!(int(kept, "quebert-attempts"), Some(1));
    assert_eq!(int(kept, "quebert-previous-status"), Some(500));
    assert_eq!(text(kept, "quebert-retry-reason"), Some("5xx"));
    assert_eq!(kept.body, task("t").body);
}

#[test]
fn attempts_are_numbered_and_spaced_by_the_policy_and_then_buried() {
    let mut world = one_lane();
    world.produce("q.a", task("t"));
    world.deliver_all();
    let mut starts = Vec::new();
    while let Some((_, attempt, _)) = world.sending.front() {
        starts.push((attempt.number, world.now.mono));
        assert!(starts.len() <= 5, "{starts:?}");
        world.answer(503, &[]);
        world.confirm_all();
        for _ in 0..40 {
            world.deliver_all();
            world.confirm_all();
            if !world.sending.is_empty() {
                break;
            }
            world.advance(SECOND / 4);
        }
    }
    let numbers: Vec<u32> = starts.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    let gaps: Vec<u64> = starts.windows(2).map(|pair| (pair[1].1 - pair[0].1).as_secs()).collect();
    assert_eq!(gaps, [2, 4, 8, 8]);
    assert_eq!(world.dead.len(), 1);
    assert_eq!(text(&world.dead[0], "quebert-dead-reason"), Some(BuryReason::MaxAttempts.label()));
    assert_eq!(text(&world.dead[0], "quebert-history").unwrap().lines().count(), 5);
    assert_eq!(world.core.held(), 0);
}

#[test]
fn a_delay_that_is_no_length_of_the_grid_takes_two_hops_and_is_never_early() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","delay_ms":30000}"#));
    let produced = world.now.mono;
    world.deliver_all();
    world.confirm_all();
    assert_eq!(world.delay_steps(), [Step::from_millis(28_000).unwrap()]);
    for _ in 0..400 {
        world.deliver_all();
        world.confirm_all();
        if !world.sending.is_empty() {
            break;
        }
        world.advance(Duration::from_millis(100));
    }
    let waited = world.now.mono - produced;
    assert!(waited >= 30 * SECOND && waited < 31 * SECOND, "{waited:?}");
    let moves = world.events.iter().filter(|event| matches!(event, Event::Published { .. })).count();
    assert_eq!(moves, 3, "into 28 s, on into 2 s, back to the queue, and nothing for the rest");
}

#[test]
fn what_only_passes_through_leaves_no_destination_behind() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"later","url":"http://later/","delay_ms":30000}"#));
    world.produce("q.a", message(r#"{"id":"late","url":"http://late/","expires_at":1767225599999}"#));
    world.deliver_all();
    world.confirm_all();
    assert!(world.core.destinations.ids().is_empty());
    assert_eq!(world.core.held(), 0);
}

#[test]
fn an_expired_task_is_never_sent() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"url":"http://host/","expires_at":1767225599999}"#));
    world.deliver_all();
    assert!(world.sending.is_empty());
    settles(&world, &[Settlement::Expired]);
}

#[test]
fn a_task_that_expires_while_it_waits_for_its_host_is_never_sent() {
    let mut world = one_lane();
    for id in ["t1", "t2", "t3"] {
        world.produce("q.a", task(id));
    }
    world.produce("q.a", message(r#"{"id":"late","url":"http://host/","ttl_ms":5000}"#));
    world.deliver_all();
    assert_eq!(world.sending.len(), 3, "the host has three slots");
    world.advance(5 * SECOND);
    settles(&world, &[Settlement::Expired]);
    let stages = world.events.iter().filter_map(|event| match event {
        Event::Expired { stage, .. } => Some(*stage),
        _ => None,
    });
    assert_eq!(stages.collect::<Vec<_>>(), [ExpiryStage::BeforeDispatch]);
}

#[test]
fn a_request_never_outlives_its_task() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","ttl_ms":5000}"#));
    world.deliver_all();
    assert_eq!(world.sending[0].2, 5 * SECOND);
    world.advance(5 * SECOND);
    world.answer(500, &[]);
    settles(&world, &[Settlement::Expired]);
}

#[test]
fn no_retry_is_scheduled_at_or_after_the_expiry() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","ttl_ms":2000}"#));
    world.deliver_all();
    world.answer(500, &[]);
    settles(&world, &[Settlement::Expired]);
    assert!(world.publishing.is_empty());
}

#[test]
fn what_cannot_be_read_is_buried_as_it_came() {
    let mut world = one_lane();
    let junk = Message { correlation_id: Some("c".into()), ..message("{\"url\":") };
    world.produce("q.a", junk.clone());
    world.deliver_all();
    world.confirm();
    settles(&world, &[Settlement::DeadLettered]);
    assert_eq!((&world.dead[0].body, &world.dead[0].correlation_id), (&junk.body, &junk.correlation_id));
    assert_eq!(text(&world.dead[0], "quebert-dead-reason"), Some("undecodable"));
    assert!(text(&world.dead[0], "quebert-dead-detail").is_some());
}

#[test]
fn the_highest_priority_goes_first() {
    let mut config = config(vec![lane("low", 1), lane("high", 3), lane("mid", 2)]);
    config.slots_shared = 1;
    config.destinations.slots = 10;
    let mut world = World::new(config);
    for (queue, id) in [("q.low", "l1"), ("q.low", "l2"), ("q.mid", "m"), ("q.high", "h")] {
        world.produce(queue, task(id));
    }
    world.deliver_all();
    let mut order = Vec::new();
    while let Some((_, attempt, _)) = world.sending.front() {
        order.push(attempt.task.id.to_string());
        world.answer(200, &[]);
    }
    // One slot: whichever came first has it; then by priority.
    let rank = |id: &String| ["h", "m", "l1", "l2"].iter().position(|other| other == id).unwrap();
    assert!(order[1..].windows(2).all(|pair| rank(&pair[0]) < rank(&pair[1])), "{order:?}");
}

#[test]
fn a_lane_s_own_slots_are_its_own() {
    let mut high = lane("high", 2);
    let mut low = lane("low", 1);
    (high.slots_own, low.slots_own) = (2, 2);
    let mut config = config(vec![high, low]);
    config.slots_shared = 0;
    config.destinations.slots = 10;
    let mut world = World::new(config);
    for n in 0..5 {
        world.produce("q.high", task(&format!("h{n}")));
        world.produce("q.low", task(&format!("l{n}")));
    }
    world.deliver_all();
    let sent = |lane: &str| world.sending.iter().filter(|(_, attempt, _)| &*attempt.lane == lane).count();
    assert_eq!((sent("high"), sent("low")), (2, 2));
}

#[track_caller]
fn grants(schedule: Schedule, weights: [u32; 2], rounds: usize) -> String {
    let (mut high, mut low) = (lane("h", 2), lane("l", 1));
    (high.weight, low.weight) = (weights[0], weights[1]);
    (high.window, low.window) = (100, 100);
    let mut config = config(vec![high, low]);
    (config.slots_shared, config.schedule) = (1, schedule);
    config.destinations.slots = 10;
    config.destinations.window_share = 100;
    let mut world = World::new(config);
    for n in 0..rounds {
        world.produce("q.h", task(&format!("h{n}")));
        world.produce("q.l", task(&format!("l{n}")));
    }
    world.deliver_all();
    let mut order = String::new();
    for _ in 0..rounds {
        order.push_str(&world.sending[0].1.lane);
        world.answer(200, &[]);
    }
    order
}

#[test]
fn weights_share_the_slots_in_proportion() {
    let order = grants(Schedule::Weighted, [3, 1], 40);
    // The first slot went to whatever was there first.
    assert_eq!(order[1..].matches('l').count(), 10, "{order}");
    assert!(!order[1..].contains("hhhhhh") && !order[1..].contains("ll"), "{order}");
}

#[test]
fn a_bound_keeps_low_priorities_from_starving() {
    let order = grants(Schedule::Strict { pass_over_max: Some(4) }, [1, 1], 40);
    assert!(!order.contains("hhhhhh"), "{order}");
    assert!(order[1..].matches('l').count() >= 7, "{order}");
    let strict = grants(Schedule::Strict { pass_over_max: None }, [1, 1], 40);
    assert_eq!(strict[1..].matches('l').count(), 0, "{strict}");
}

#[test]
fn a_dead_host_takes_no_more_than_its_share() {
    let mut config = config(vec![lane("a", 1)]);
    config.slots_shared = 8;
    let mut world = World::new(config);
    for n in 0..20 {
        world.produce("q.a", message(&format!(r#"{{"id":"d{n}","url":"http://dead/"}}"#)));
    }
    for n in 0..5 {
        world.produce("q.a", message(&format!(r#"{{"id":"g{n}","url":"http://good/"}}"#)));
    }
    world.deliver_all();
    assert_eq!(world.sending.len(), 3, "the dead host's slots");
    // The window is full of its tasks. Those beyond its share wait for a second, then make room.
    let mut good = 0;
    for _ in 0..40 {
        world.advance(SECOND / 10);
        world.confirm_all();
        world.deliver_all();
        if let Some(at) = world.sending.iter().position(|(_, attempt, _)| attempt.task.url.host() == Some("good")) {
            let (ticket, attempt, _) = world.sending.remove(at).unwrap();
            world.feed(Input::Answered { ticket, attempt, outcome: answered(200, &[]) });
            good += 1;
        }
    }
    assert_eq!(good, 5);
    let put_off = world.queues.iter().filter(|(source, _)| matches!(source, Source::Delay(_)));
    for kept in put_off.flat_map(|(_, queue)| queue) {
        assert_eq!(int(&kept.message, "quebert-attempts"), None, "being put off uses up no attempt");
    }
}

#[test]
fn what_is_put_off_for_overload_leaves_the_window_however_short_the_delay() {
    let mut config = config(vec![lane("a", 1)]);
    config.destinations.put_off_min = SECOND;
    let mut world = World::new(config);
    for n in 0..8 {
        world.produce("q.a", task(&format!("t{n}")));
    }
    world.deliver_all();
    world.advance(SECOND);
    assert_eq!(world.publishing.len(), 4, "half of the window is the host's share");
    assert!(world.publishing.iter().all(|(_, target, _)| matches!(target, Target::Delay(_))));
}

#[test]
fn one_fast_host_that_fills_the_window_is_never_put_off() {
    let mut world = one_lane();
    for n in 0..200 {
        world.produce("q.a", task(&format!("t{n}")));
    }
    world.deliver_all();
    while !world.sending.is_empty() {
        world.advance(Duration::from_millis(50));
        world.answer(200, &[]);
        world.deliver_all();
    }
    assert_eq!(world.settled(), vec![Settlement::Succeeded; 200]);
}

#[test]
fn a_far_head_is_given_back_and_its_queue_opened_again_in_time() {
    let mut world = one_lane();
    world.produce("q.a", message(r#"{"id":"t","url":"http://host/","delay_ms":14336000}"#));
    world.deliver_all();
    world.confirm_all();
    let source = delay_queue(14_336);
    world.deliver_all();
    assert!(!world.open.contains_key(&source), "closed: it would be held for four hours");
    assert_eq!(world.queues[&source].len(), 1);
    let mut longest_held = Duration::ZERO;
    let mut held_since = None;
    while world.sending.is_empty() && world.now.mono < 20_000 * SECOND {
        world.advance(SECOND);
        world.deliver_all();
        world.confirm_all();
        let held = world.unsettled.values().any(|(from, _)| *from == source);
        held_since = held.then(|| held_since.unwrap_or(world.now.mono));
        longest_held = longest_held.max(held_since.map_or(Duration::ZERO, |since| world.now.mono - since));
    }
    let waited = world.now.mono.as_secs() - 5;
    assert!((14_336..=14_338).contains(&waited), "{waited}");
    assert!(longest_held < 300 * SECOND, "{longest_held:?}");
}

#[test]
fn retry_after_is_obeyed_up_to_the_cap() {
    for (asked, least, most) in [("7", 7, 9), ("3600", 60, 75)] {
        let mut world = one_lane();
        world.produce("q.a", task("t"));
        world.deliver_all();
        world.answer(429, &[("retry-after", asked)]);
        let (_, _, message) = world.publishing.front().unwrap();
        let delay = int(message, "quebert-due-at").unwrap() - world.now.wall.as_millis();
        assert!((least * 1000..=most * 1000).contains(&delay), "{asked}: {delay}");
    }
}
