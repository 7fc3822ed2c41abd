//! What the board makes of events. Time is an argument here; nothing waits.

use super::*;
use quebert_dispatcher::ports::broker::{Opening, Tag};
use quebert_wire::TaskId;
use std::time::Duration;

fn lane(name: &str) -> Arc<str> {
    name.into()
}

fn ended(lane: &Arc<str>, host: &str, class: &'static str, status: Option<u16>, ms: u64) -> Event {
    Event::AttemptEnded {
        lane: lane.clone(),
        task: TaskId::new("t").unwrap(),
        number: 1,
        destination: host.parse().unwrap(),
        class,
        status,
        detail: None,
        duration: Duration::from_millis(ms),
        trace: None,
    }
}

fn settled(lane: &Arc<str>, result: Settlement) -> Event {
    Event::Settled { lane: lane.clone(), result, task: None, attempts: 1, age: None, trace: None }
}

fn delivered(lane: &Arc<str>) -> Event {
    Event::Delivered { lane: lane.clone(), tag: Tag { opening: Opening(1), seq: 1 }, redelivered: false }
}

fn state() -> State {
    State { lanes: vec![Lane::new(lane("high")), Lane::new(lane("low"))], ..State::default() }
}

impl State {
    fn work(&mut self, event: &Event, second: u64) {
        self.note_work(event, second, || Timestamp::from_millis(5));
    }
}

#[test]
fn the_lists_order_is_the_counters_order() {
    for (at, settlement) in Settlement::ALL.into_iter().enumerate() {
        assert_eq!(settlement as usize, at);
    }
}

#[test]
fn a_lane_counts_from_the_start_and_over_the_last_minute() {
    let (mut state, high) = (state(), lane("high"));
    for second in 0..120 {
        state.note_state(&delivered(&high));
        state.work(&ended(&high, "http://h", "2xx", Some(200), 20), second);
        state.work(&settled(&high, Settlement::Succeeded), second);
        state.work(&ended(&high, "http://h", "5xx", Some(503), 20), second);
    }
    let figures = state.lane_mut(&high).figures(120);
    assert_eq!((figures.delivered, figures.settled["succeeded"], figures.settled["retried"]), (120, 120, 0));
    assert_eq!(figures.settled.len(), 7, "those at 0 are told, too");
    let recent = figures.recent;
    assert_eq!((recent.attempts_per_s, recent.succeeded_per_s, recent.failed_per_s), (2.0, 1.0, 1.0));
    assert_eq!(recent.succeeded_by_s, [1; 60]);
    assert!((recent.attempt_p99_ms.unwrap() - 20.0).abs() < 1.3);
    assert_eq!(state.lane_mut(&lane("low")).figures(120).delivered, 0);
    assert_eq!(state.lanes.len(), 2, "an equal name is the same lane");
}

#[test]
fn a_young_board_does_not_dilute_its_rates() {
    let (mut state, high) = (state(), lane("high"));
    (0..10).for_each(|second| state.work(&ended(&high, "http://h", "2xx", Some(200), 1), second));
    assert_eq!(state.lane_mut(&high).figures(10).recent.attempts_per_s, 1.0);
}

#[test]
fn what_is_delivered_and_not_settled_is_in_flight_or_buffered() {
    let (mut state, high) = (state(), lane("high"));
    (0..5).for_each(|_| state.note_state(&delivered(&high)));
    state.note_state(&Event::Held { lane: high.clone(), in_flight: 3, buffered: 2 });
    state.work(&settled(&high, Settlement::Retried), 0);
    state.work(&settled(&high, Settlement::Requeued), 0);
    let figures = state.lane_mut(&high).figures(0);
    assert_eq!((figures.in_flight, figures.buffered), (3, 0), "the sum holds before the dispatcher tells the parts");
    state.work(&settled(&high, Settlement::Expired), 0);
    assert_eq!(state.lane_mut(&high).held(), (2, 0));
}

#[test]
fn lanes_open_close_and_pause_as_the_dispatcher_says() {
    let (mut state, high) = (state(), lane("high"));
    state.note_state(&Event::LaneOpen { lane: high.clone(), open: true });
    state.note_state(&Event::LanePaused { lane: high.clone(), paused: true });
    state.note_state(&Event::BrokerBlocked(true));
    assert!(state.lane_mut(&high).open && state.blocked);
    state.note_state(&Event::BrokerDisconnected { reason: "io", detail: String::new() });
    let figures = state.lane_mut(&high).figures(0);
    assert_eq!((figures.open, figures.paused, state.blocked), (false, true, false));
}

#[test]
fn destinations_tell_their_outcomes_and_their_last_failure() {
    let (board, high) = (Board::default(), lane("high"));
    for (class, status) in [("2xx", Some(200)), ("5xx", Some(503)), ("2xx", Some(204)), ("timeout", None)] {
        board.observe(&ended(&high, "http://h", class, status, 5));
    }
    let origin: Destination = "http://h".parse().unwrap();
    board.observe(&Event::DestinationInFlight { destination: origin, in_flight: 2, limit: 32 });
    let told = board.destinations();
    let [view] = &told.destinations[..] else { panic!("{told:?}") };
    assert_eq!((&*view.origin, view.in_flight, view.limit), ("http://h:80", 2, 32));
    let outcomes = [("2xx", 2), ("5xx", 1), ("timeout", 1)].map(|(class, n)| (class.to_owned(), n));
    assert_eq!(view.outcomes, BTreeMap::from(outcomes));
    assert_eq!(view.last_failure.as_deref(), Some("timeout"));
    assert!(view.last_failure_at.is_some() && !told.more);
}

#[test]
fn the_busiest_destinations_come_first_and_there_are_at_most_200() {
    let (board, high) = (Board::default(), lane("high"));
    for n in 0..250 {
        board.observe(&ended(&high, &format!("http://host-{n:03}"), "2xx", Some(200), 5));
    }
    let busy: Destination = "http://host-240".parse().unwrap();
    board.observe(&Event::DestinationInFlight { destination: busy, in_flight: 1, limit: 32 });
    let told = board.destinations();
    assert_eq!((told.destinations.len(), told.more), (200, true));
    assert_eq!(told.destinations[0].origin, "http://host-240:80");
    assert_eq!(told.destinations[1].origin, "http://host-000:80");
}

/// Prints what an event costs the dispatcher.
#[test]
fn an_event_costs_little() {
    let lanes = [lane("high"), lane("medium"), lane("low")];
    let board = Board::new(lanes.clone());
    // As of one task, by 40 destinations in turn.
    let of_a_task = |n: usize| {
        let (lane, host) = (&lanes[n % 3], format!("http://host-{}", n % 40));
        let destination: Destination = host.parse().unwrap();
        let in_flight =
            |in_flight| Event::DestinationInFlight { destination: destination.clone(), in_flight, limit: 9 };
        let held = |in_flight| Event::Held { lane: lane.clone(), in_flight, buffered: 0 };
        let class = if n.is_multiple_of(10) { "5xx" } else { "2xx" };
        let ended = ended(lane, &host, class, Some(200), n as u64 % 100);
        [delivered(lane), in_flight(1), held(1), ended, in_flight(0), settled(lane, Settlement::Succeeded), held(0)]
    };
    let events: Vec<_> = (0..120).flat_map(of_a_task).collect();
    let rounds = 200;
    let began = Instant::now();
    (0..rounds).for_each(|_| events.iter().for_each(|event| board.observe(event)));
    let ns = began.elapsed().as_nanos() as f64 / (rounds * events.len()) as f64;
    println!("{ns:.0} ns an event, {:.0} ns a task", ns * 7.0);
    assert_eq!(board.in_flight(), 0);
    assert_eq!(lanes.iter().map(|lane| board.lane(lane).delivered).sum::<u64>(), 120 * rounds as u64);
}
