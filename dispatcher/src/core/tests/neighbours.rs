//! Destinations that share a lane.

use super::{
    super::Input,
    config, lane,
    world::{World, answered, message},
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// One lane with 16 slots, a window of 32, and room for 16 requests to each destination.
fn wide_lane() -> World {
    let mut config = config(vec![lane("a", 1)]);
    config.slots_shared = 16;
    config.lanes[0].window = 32;
    config.destinations.slots = 16;
    World::new(config)
}

fn produce(world: &mut World, host: &str, tasks: usize) {
    for n in 0..tasks {
        world.produce("q.a", message(&format!(r#"{{"id":"{host}-{n}","url":"http://{host}/"}}"#)));
    }
    world.deliver_all();
}

fn sending_to(world: &World, host: &str) -> usize {
    world.sending.iter().filter(|(_, attempt, _)| attempt.task.url.host() == Some(host)).count()
}

/// Answers every request to that host, and delivers what then fits.
fn answer_all(world: &mut World, host: &str) {
    while let Some(at) = world.sending.iter().position(|(_, attempt, _)| attempt.task.url.host() == Some(host)) {
        let (ticket, attempt, _) = world.sending.remove(at).unwrap();
        world.feed(Input::Answered { ticket, attempt, outcome: answered(200, &[]) });
        if sending_to(world, host) == 0 {
            break;
        }
    }
    world.deliver_all();
}

#[test]
fn a_destination_alone_has_every_slot() {
    let mut world = wide_lane();
    produce(&mut world, "one", 30);
    assert_eq!(sending_to(&world, "one"), 16);
}

#[test]
fn among_others_an_unheard_destination_gets_one_slot() {
    let mut world = wide_lane();
    produce(&mut world, "one", 1);
    produce(&mut world, "dead", 10);
    assert_eq!((sending_to(&world, "one"), sending_to(&world, "dead")), (1, 1));
}

#[test]
fn among_others_a_destination_gets_more_slots_as_it_answers_up_to_its_share() {
    let mut world = wide_lane();
    produce(&mut world, "other", 1);
    produce(&mut world, "good", 30);
    let mut most = sending_to(&world, "good");
    assert_eq!(most, 1);
    for _ in 0..30 {
        let Some(at) = world.sending.iter().position(|(_, a, _)| a.task.url.host() == Some("good")) else { break };
        let (ticket, attempt, _) = world.sending.remove(at).unwrap();
        world.advance(SECOND / 100);
        world.feed(Input::Answered { ticket, attempt, outcome: answered(200, &[]) });
        let now = sending_to(&world, "good");
        assert!(now <= most + 1, "one more with each answer");
        most = most.max(now);
    }
    assert_eq!(most, 8, "half of the slots");
}

#[test]
fn nobody_waits_for_the_silent_while_others_come() {
    let mut world = wide_lane();
    produce(&mut world, "one", 1);
    answer_all(&mut world, "one");
    produce(&mut world, "dead", 20);
    produce(&mut world, "one", 1);
    // A quarter of the patience, since it was never heard.
    world.advance(SECOND / 2);
    world.confirm_all();
    assert_eq!(world.core.held(), 1 + 1, "what is under way");
    produce(&mut world, "dead", 5);
    world.confirm_all();
    assert_eq!(world.core.held(), 1 + 1, "what comes later is put off at once");
    answer_all(&mut world, "one");
    assert_eq!(sending_to(&world, "dead"), 1);
}

#[test]
fn nobody_is_put_off_where_no_slot_is_free() {
    let mut config = config(vec![lane("a", 1)]);
    config.slots_shared = 2;
    config.lanes[0].window = 8;
    let mut world = World::new(config);
    produce(&mut world, "slow", 20);
    assert_eq!(sending_to(&world, "slow"), 2);
    world.advance(20 * SECOND);
    world.deliver_all();
    assert_eq!((world.core.held(), world.settled().len()), (8, 0), "room in the window would help nobody");
    assert!(world.delay_steps().is_empty());
}

/// A task for `one` under way, and 28 for `good`, which has answered once: two of them under way, the others wait.
fn crowded() -> World {
    let mut world = wide_lane();
    produce(&mut world, "one", 1);
    produce(&mut world, "good", 1);
    answer_all(&mut world, "good");
    produce(&mut world, "good", 28);
    assert_eq!((sending_to(&world, "good"), world.core.held()), (2, 29));
    // Half of the window of 32 is its share.
    world.advance(SECOND);
    world
}

#[test]
fn what_is_beyond_its_destination_s_share_makes_room_after_a_while_and_no_more_than_that() {
    let mut world = crowded();
    assert_eq!(world.publishing.len(), 12);
    world.confirm_all();
    assert_eq!(world.core.held(), 1 + 16);
}

#[test]
fn while_a_destination_is_crowded_what_is_beyond_its_share_is_put_off_at_once() {
    let mut world = crowded();
    world.confirm_all();
    produce(&mut world, "good", 1);
    assert_eq!(world.publishing.len(), 1, "beyond the share");
    world.confirm_all();
    answer_all(&mut world, "good");
    assert!(world.core.held() < 1 + 16);
    produce(&mut world, "good", 1);
    assert!(world.publishing.is_empty(), "within the share");
}

#[test]
fn room_is_a_slot_that_the_lane_could_have() {
    // Own slots, most of them, and shared ones; with how many under way there is none left.
    for (own, most, shared, full) in [(1, 2, 1, 2), (1, 5, 0, 1), (0, 1, 4, 1), (2, 5, 1, 3)] {
        let mut config = config(vec![lane("a", 1)]);
        config.slots_shared = shared;
        (config.lanes[0].slots_own, config.lanes[0].slots_max) = (own, most);
        config.destinations.slots = 16;
        let mut world = World::new(config);
        for under_way in 0..=full {
            assert_eq!(
                world.core.lanes.has_room(0),
                under_way < full,
                "{under_way} of {own} own, {shared} shared, {most}"
            );
            produce(&mut world, "one", 1);
        }
        assert_eq!(sending_to(&world, "one"), full as usize);
    }
}
