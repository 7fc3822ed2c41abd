//! Every case of a swarm is one that can be run, whatever its seed, and the swarm reaches what it is meant to.

use super::*;
use crate::case::{FaultKind, work::Reply};
use std::collections::BTreeSet;

#[test]
fn every_seeds_case_is_sound() {
    for seed in 0..500 {
        for size in [Size::default(), Size { embedded_per_mille: 100, ..Size::default() }] {
            let case = case(seed, size);
            assert_eq!(case.check(), Ok(()), "seed {seed}");
        }
    }
}

#[test]
fn a_seed_has_one_case_and_seeds_differ() {
    assert_eq!(case(7, Size::default()), case(7, Size::default()));
    assert_ne!(case(7, Size::default()), case(8, Size::default()));
}

#[test]
fn the_size_for_measuring_is_exact() {
    for seed in 0..50 {
        let case = case(seed, Size::bench());
        assert_eq!((case.world.dispatchers, case.world.executors, case.world.broker.nodes), (3, 5, 1));
        assert_eq!((case.tasks.len(), case.heal_at_ms), (500, 600_000));
        assert_eq!(case.check(), Ok(()), "seed {seed}");
    }
}

#[test]
fn sizes_are_bounds() {
    let size = Size { dispatchers: 2, executors: 1, tasks: 10, seconds: 20, exact: false, embedded_per_mille: 0 };
    for seed in 0..200 {
        let case = case(seed, size);
        assert!(case.world.dispatchers <= 2 && case.world.executors == 1, "seed {seed}");
        assert!((1..=10).contains(&case.tasks.len()), "seed {seed}: {}", case.tasks.len());
        assert!((5_000..=20_000).contains(&case.heal_at_ms), "seed {seed}");
    }
}

/// Names of the kinds of things that a case has.
fn kinds(case: &Case) -> BTreeSet<String> {
    let name = |value: &dyn std::fmt::Debug| {
        let text = format!("{value:?}");
        text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
    };
    let faults = case.faults.iter().map(|fault| format!("fault {}", name(&fault.kind)));
    let replies = case.tasks.iter().flat_map(|task| &task.exec).map(|exec| format!("reply {}", name(&exec.reply)));
    let hooks = case.tasks.iter().filter_map(|task| task.hook.map(|hook| format!("hook {}", name(&hook))));
    let poison = case.tasks.iter().filter_map(|task| task.poison.map(|poison| format!("poison {}", name(&poison))));
    faults.chain(replies).chain(hooks).chain(poison).collect()
}

#[test]
fn a_few_hundred_seeds_have_everything_and_no_seed_does() {
    let size = Size { embedded_per_mille: 100, ..Size::default() };
    let cases: Vec<Case> = (0..400).map(|seed| case(seed, size)).collect();
    let all: BTreeSet<String> = cases.iter().flat_map(kinds).collect();
    // 25 kinds of faults, 11 of replies, 6 of hooks, 3 of poison.
    assert_eq!(all.len(), FAULT_KINDS + 11 + 6 + 3, "{all:#?}");
    let most = cases.iter().map(|case| kinds(case).len()).max().unwrap_or(0);
    assert!(most < all.len(), "one seed has all {most}");
    let with = |has: fn(&Case) -> bool| cases.iter().filter(|case| has(case)).count();
    assert!(with(|case| case.world.broker.nodes == 3) > 40);
    assert!(with(|case| case.world.dispatcher.weighted) > 40);
    assert!(with(|case| case.tasks.iter().any(|task| task.delay_ms.is_some())) > 100);
    assert!(with(|case| case.tasks.iter().any(|task| task.ttl_ms.is_some())) > 100);
    assert!(with(|case| case.faults.is_empty()) < 10);
}

const FAULT_KINDS: usize = 25;

#[test]
fn what_a_seed_switches_off_is_off() {
    let quiet = (0..100).map(|seed| case(seed, Size::default())).filter(|case| {
        !case.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Cut { .. }))
            && !case.tasks.iter().flat_map(|task| &task.exec).any(|exec| exec.reply == Reply::Hang)
    });
    assert!((10..90).contains(&quiet.count()));
}
