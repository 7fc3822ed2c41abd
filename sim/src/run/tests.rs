//! The director, with a world that only takes notes.

use super::{direct::CaseDirector, dispatch::Common, *};
use crate::{
    case::{BrokerSpec, DispatcherSpec, Fault, FaultKind, TaskSpec, WorldSpec},
    net::{Controls, Director, Down, Link, Weather},
};
use std::collections::BTreeMap;

const BROKER: Host = Host::Broker(1);
const ONE: Host = Host::Dispatcher(1);

/// A world that takes down what is done to it.
#[derive(Default)]
struct Stagehand {
    links: BTreeMap<(Host, Host), Link>,
    done: Vec<(Duration, String)>,
    now: Duration,
}

impl Stagehand {
    fn did(&mut self, what: String) {
        self.done.push((self.now, what));
    }

    fn at(&self, ms: u64) -> Vec<&str> {
        let at = Duration::from_millis(ms);
        self.done.iter().filter(|(when, _)| *when == at).map(|(_, what)| what.as_str()).collect()
    }
}

impl Controls for Stagehand {
    fn link(&mut self, one: Host, other: Host, link: Link) {
        self.links.insert((one, other), link);
    }

    fn reset(&mut self, one: Host, other: Host) {
        self.did(format!("reset {one} {other}"));
    }

    fn down(&mut self, host: Host, how: Down) {
        self.did(format!("down {host} {how:?}"));
    }

    fn up(&mut self, host: Host) {
        self.did(format!("up {host}"));
    }

    fn freeze(&mut self, host: Host, frozen: bool) {
        self.did(format!("freeze {host} {frozen}"));
    }
}

fn case(faults: Vec<Fault>) -> Case {
    Case {
        version: crate::case::VERSION,
        name: String::new(),
        seed: 1,
        world: WorldSpec {
            dispatchers: 2,
            executors: 1,
            producers: 1,
            broker: BrokerSpec::default(),
            dispatcher: DispatcherSpec::default(),
            weather: Weather::default(),
        },
        tasks: vec![TaskSpec::new(1, 0)],
        faults,
        heal_at_ms: 10_000,
        settle_ms: 5_000,
        least_ms: 0,
    }
}

fn fault(at_ms: u64, for_ms: u64, kind: FaultKind) -> Fault {
    Fault { at_ms, for_ms, kind }
}

/// Directs a case to its end, calling `watch` after each act.
fn direct(faults: Vec<Fault>, mut watch: impl FnMut(Duration, &mut Stagehand, &Common)) -> (Stagehand, Duration) {
    let case = Arc::new(case(faults));
    let history = History::default();
    let queues: Vec<Arc<str>> = case.world.dispatcher.lanes.iter().map(|lane| lane.name.as_str().into()).collect();
    let cluster = Cluster::new(&case.world.broker, &queues, Draw::new(1), history.clone());
    let common = Common {
        case: case.clone(),
        setup: Setup::default(),
        crew: Crew::default(),
        hooks: mediator::HookBook::default(),
    };
    let executors = Executors::new(case);
    let mut director = CaseDirector::new(common.clone(), cluster, executors, Clocks::default(), history, false);
    let mut world = Stagehand::default();
    loop {
        let next = director.act(world.now, &mut world);
        watch(world.now, &mut world, &common);
        match next {
            Some(next) => {
                assert!(next > world.now, "time goes on");
                world.now = next;
            }
            None => {
                let end = world.now;
                return (world, end);
            }
        }
    }
}

#[test]
fn overlapping_faults_of_a_link_add_up_and_come_off_one_by_one() {
    let slow = |ms| FaultKind::Slow { one: ONE, other: BROKER, ms };
    let cut = FaultKind::Cut { one: ONE, other: BROKER, one_way: true };
    let faults = vec![fault(1000, 4000, slow(5)), fault(2000, 1000, slow(7)), fault(2000, 2000, cut)];
    let mut seen = BTreeMap::new();
    direct(faults, |now, world, _| {
        let link = world.links.get(&(BROKER, ONE)).copied().unwrap_or_default();
        seen.insert(now.as_millis(), (link.slower_ms, link.cut_to, link.cut_from));
    });
    let at = |ms: u128| *seen.range(..=ms).next_back().unwrap().1;
    assert_eq!(at(500), (0, false, false));
    assert_eq!(at(1500), (5, false, false));
    assert_eq!(at(2500), (12, false, true), "from the dispatcher to the broker, which stands first");
    assert_eq!(at(3500), (5, false, true));
    assert_eq!(at(4500), (5, false, false));
    assert_eq!(at(5500), (0, false, false));
}

#[test]
fn a_host_is_down_as_long_as_any_fault_keeps_it_so() {
    let down = || FaultKind::Down { host: ONE, how: Down::Kill };
    let (world, _) = direct(vec![fault(1000, 2000, down()), fault(2000, 3000, down())], |_, _, _| {});
    assert_eq!(world.at(1000), ["down dispatcher-1 Kill"]);
    assert_eq!(world.at(3000), Vec::<&str>::new());
    assert_eq!(world.at(5000), ["up dispatcher-1"]);
    assert_eq!(world.done.len(), 2);
}

#[test]
fn a_fault_that_would_go_on_ends_when_the_world_heals() {
    let (world, end) = direct(vec![fault(9000, 60_000, FaultKind::Freeze { host: ONE })], |_, _, _| {});
    assert_eq!(world.at(9000), ["freeze dispatcher-1 true"]);
    assert_eq!(world.at(10_000), ["freeze dispatcher-1 false"]);
    assert_eq!(end, Duration::from_secs(15), "and with nothing settled the world ends with its time");
}

#[test]
fn a_dispatcher_that_died_at_its_step_is_down_for_the_rest_of_the_fault() {
    use crate::case::fault::Step;
    let kill = FaultKind::KillAt { host: ONE, step: Step::Sent };
    let mut died_at = None;
    let (world, _) = direct(vec![fault(1000, 3000, kill)], |now, _, common| {
        if now >= Duration::from_millis(1500) && died_at.is_none() {
            died_at = Some(now);
            common.crew.with(ONE, |member| member.probe.step_for_tests(Step::Sent));
        }
    });
    let downs = world.done.iter().filter(|(_, what)| what.starts_with("down")).collect::<Vec<_>>();
    assert_eq!(downs.len(), 1);
    assert!(downs[0].0 <= died_at.unwrap() + Duration::from_millis(20), "{downs:?}");
    assert_eq!(world.at(4000), ["up dispatcher-1"]);
}

#[test]
fn a_step_that_never_comes_kills_nobody() {
    use crate::case::fault::Step;
    let kill = FaultKind::KillAt { host: ONE, step: Step::Sent };
    let (world, _) = direct(vec![fault(1000, 3000, kill)], |_, _, _| {});
    assert!(world.done.is_empty(), "{:?}", world.done);
}

#[test]
fn a_dispatcher_whose_drain_outlasts_its_fault_is_started_again() {
    let drain = FaultKind::Drain { host: ONE, grace_ms: 100 };
    let (world, _) = direct(vec![fault(1000, 500, drain)], |now, _, common| {
        if now == Duration::from_millis(10_000) {
            common.crew.with(ONE, |member| member.ended = true);
        }
    });
    assert_eq!(world.at(11_000), ["down dispatcher-1 Kill", "up dispatcher-1"], "{:?}", world.done);
}

#[test]
fn what_only_happens_ends_as_it_begins() {
    let case = Arc::new(case(vec![fault(1000, 0, FaultKind::Reset { one: ONE, other: BROKER })]));
    let history = History::default();
    let cluster = Cluster::new(&case.world.broker, &[], Draw::new(1), history.clone());
    let common = Common {
        case: case.clone(),
        setup: Setup::default(),
        crew: Crew::default(),
        hooks: mediator::HookBook::default(),
    };
    let mut director =
        CaseDirector::new(common, cluster, Executors::new(case), Clocks::default(), history.clone(), false);
    let mut world = Stagehand::default();
    while let Some(next) = director.act(world.now, &mut world) {
        world.now = next;
    }
    let told = history.take().into_iter().filter_map(|entry| match entry.what {
        What::Fault { begins, .. } => Some((entry.at.as_millis(), begins)),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(1000, true), (1000, false)]);
}

#[test]
fn a_clock_keeps_what_it_drifted() {
    let clocks = Clocks::default();
    let drift = FaultKind::ClockDrift { host: ONE, ppm: 100_000 };
    let jump = FaultKind::ClockJump { host: ONE, ms: -500 };
    let case = Arc::new(case(vec![fault(0, 2000, drift), fault(1000, 0, jump)]));
    let history = History::default();
    let cluster = Cluster::new(&case.world.broker, &[], Draw::new(1), history.clone());
    let common = Common {
        case: case.clone(),
        setup: Setup::default(),
        crew: Crew::default(),
        hooks: mediator::HookBook::default(),
    };
    let mut director = CaseDirector::new(common, cluster, Executors::new(case), clocks.clone(), history, false);
    let mut world = Stagehand::default();
    let ahead = |clocks: &Clocks, ms| clocks.get(ONE).ahead_ms(Duration::from_millis(ms));
    while let Some(next) = director.act(world.now, &mut world) {
        match world.now.as_millis() {
            0 => assert_eq!(ahead(&clocks, 500), 50),
            1000 => assert_eq!((ahead(&clocks, 1000), ahead(&clocks, 1500)), (-400, -350)),
            2000 => assert_eq!((ahead(&clocks, 2000), ahead(&clocks, 9000)), (-300, -300)),
            _ => {}
        }
        world.now = next;
    }
}
