//! Fewer of everything that a case has a list or a number of: tasks, faults, hosts, lanes. Changes nothing of what stays,
//! but for the numbers by which hosts and lanes are named.

use super::Search;
use crate::{
    case::{Case, Exec, work::Reply},
    host::Host,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Tasks above which none are folded: each fold tries all pairs.
const FOLDED_MAX: usize = 12;

/// How soon a task comes again that stands for several: the shortest that a policy may have.
const AGAIN_MS: u64 = 100;

/// Drops tasks.
pub(super) fn tasks<F: FnMut(&Case) -> bool>(search: &mut Search<F>) {
    drop_from(search, |case| &mut case.tasks);
}

/// Lets one task fail and come again where there were two: what needs many attempts may need few tasks. Not tried with so
/// many tasks that it would take long.
pub(super) fn fold<F: FnMut(&Case) -> bool>(search: &mut Search<F>) {
    let mut into = 0;
    while (2..=FOLDED_MAX).contains(&search.best.tasks.len()) && into < search.best.tasks.len() {
        let others = (0..search.best.tasks.len()).rev().filter(|other| *other != into).collect::<Vec<_>>();
        if !others.into_iter().any(|other| search.offer_with(|case| fold_one(case, into, other))) {
            into += 1;
        }
    }
}

/// The work of a task becomes further attempts of another one in its lane. There it takes longer than coming again does, so
/// that something waits for the slot all the time.
fn fold_one(case: &mut Case, into: usize, other: usize) -> Option<()> {
    let (task, gone) = (&case.tasks[into], &case.tasks[other]);
    if task.lane != gone.lane || task.poison.is_some() || gone.poison.is_some() {
        return None;
    }
    let of = task.lane;
    let lane = &mut case.world.dispatcher.lanes[of];
    (lane.backoff_min_ms, lane.backoff_max_ms) = (AGAIN_MS, AGAIN_MS);
    for task in case.tasks.iter_mut().filter(|task| task.lane == of) {
        if task.exec.is_empty() {
            task.exec.push(Exec { after_ms: 0, reply: Reply::Status(200) });
        }
        task.exec.iter_mut().for_each(|exec| exec.after_ms = exec.after_ms.max(3 * AGAIN_MS));
    }
    let further = std::mem::take(&mut case.tasks[other].exec);
    let exec = &mut case.tasks[into].exec;
    exec.last_mut()?.reply = Reply::Status(503);
    exec.extend(further);
    case.tasks.remove(other);
    // Executors of a world that has healed don't fail.
    case.heal_at_ms = case.heal_at_ms.max(10_000);
    Some(())
}

/// Drops faults.
pub(super) fn faults<F: FnMut(&Case) -> bool>(search: &mut Search<F>) {
    drop_from(search, |case| &mut case.faults);
}

/// All at once, then by halves, quarters, and so on, at last one by one. The last ones first: what comes after the failure
/// is rarely its cause.
fn drop_from<T, F: FnMut(&Case) -> bool>(search: &mut Search<F>, list: impl Fn(&mut Case) -> &mut Vec<T>) {
    let mut chunk = list(&mut search.best).len();
    while chunk > 0 {
        let mut end = list(&mut search.best).len();
        while end > 0 {
            let start = end.saturating_sub(chunk);
            search.offer_with(|case| {
                list(case).drain(start..end);
                Some(())
            });
            end = start;
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
}

/// Drops hosts, and the faults of theirs; the others close up. An executor's tasks go to the first one.
pub(super) fn hosts<F: FnMut(&Case) -> bool>(search: &mut Search<F>) {
    search.offer_with(one_node);
    for role in [Host::Dispatcher, Host::Executor, Host::Producer] {
        let mut n = *count_of(role(1), &mut search.best);
        while n > 0 {
            search.offer_with(|case| without_host(case, role, n));
            n -= 1;
        }
    }
}

/// How many hosts of a role there are.
fn count_of(host: Host, case: &mut Case) -> &mut u8 {
    match host {
        Host::Broker(_) => &mut case.world.broker.nodes,
        Host::Dispatcher(_) => &mut case.world.dispatchers,
        Host::Executor(_) => &mut case.world.executors,
        Host::Producer(_) => &mut case.world.producers,
    }
}

fn number_of(host: Host) -> u8 {
    match host {
        Host::Broker(n) | Host::Dispatcher(n) | Host::Executor(n) | Host::Producer(n) => n,
    }
}

/// The broker's other nodes go, and with them whatever is about its leader.
fn one_node(case: &mut Case) -> Option<()> {
    if case.world.broker.nodes == 1 {
        return None;
    }
    case.world.broker.nodes = 1;
    rename_hosts(case, |host| if matches!(host, Host::Broker(n) if n > 1) { None } else { Some(host) });
    case.faults.retain(|fault| !matches!(fault.kind, crate::case::FaultKind::LeaderChange));
    Some(())
}

fn without_host(case: &mut Case, role: fn(u8) -> Host, gone: u8) -> Option<()> {
    let count = count_of(role(1), case);
    if *count < 2 || gone > *count {
        return None;
    }
    *count -= 1;
    let same = |host: Host| std::mem::discriminant(&host) == std::mem::discriminant(&role(1));
    rename_hosts(case, |host| match number_of(host) {
        n if !same(host) || n < gone => Some(host),
        n if n == gone => None,
        n => Some(role(n - 1)),
    });
    let closed_up = |n: &mut u8| *n = if *n == gone { 1 } else { *n - u8::from(*n > gone) };
    for task in &mut case.tasks {
        match role(1) {
            Host::Executor(_) => closed_up(&mut task.executor),
            Host::Producer(_) => closed_up(&mut task.producer),
            Host::Broker(_) | Host::Dispatcher(_) => {}
        }
    }
    Some(())
}

/// Drops lanes, and the faults of theirs; the others close up. A lane's tasks go to the first one.
pub(super) fn lanes<F: FnMut(&Case) -> bool>(search: &mut Search<F>) {
    for gone in (0..search.best.world.dispatcher.lanes.len()).rev() {
        search.offer_with(|case| {
            let lanes = &mut case.world.dispatcher.lanes;
            if lanes.len() < 2 {
                return None;
            }
            lanes.remove(gone);
            for task in &mut case.tasks {
                task.lane = if task.lane == gone { 0 } else { task.lane - usize::from(task.lane > gone) };
            }
            rewrite(&mut case.faults, |fault| {
                let lane = fault.get_mut("lane");
                let Some(n) = lane.as_ref().and_then(|lane| lane.as_u64()) else { return true };
                let gone = gone as u64;
                if let Some(lane) = lane {
                    *lane = (n - u64::from(n > gone)).into();
                }
                n != gone
            });
            Some(())
        });
    }
}

/// Gives hosts other names wherever faults name them. A fault of a host without a name goes.
fn rename_hosts(case: &mut Case, rename: impl Fn(Host) -> Option<Host>) {
    rewrite(&mut case.faults, |fault| {
        let Value::Object(fields) = fault else { return true };
        fields.values_mut().all(|value| match value.as_str().and_then(|text| text.parse().ok()) {
            None => true,
            Some(host) => rename(host).map(|host| *value = host.to_string().into()).is_some(),
        })
    });
}

/// Changes the items of a list as JSON, so that it needs not know every kind of them; drops those of which `keep` says so.
fn rewrite<T: Serialize + DeserializeOwned>(list: &mut Vec<T>, keep: impl Fn(&mut Value) -> bool) {
    list.retain_mut(|item| {
        let Ok(mut value) = serde_json::to_value(&*item) else { return true };
        let kept = keep(&mut value);
        if let Ok(changed) = serde_json::from_value(value) {
            *item = changed;
        }
        kept
    });
}
