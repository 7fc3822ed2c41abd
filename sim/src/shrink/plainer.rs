//! Plainer settings, tasks and faults: defaults, smaller numbers, nothing where nothing will do. It looks at them as JSON, so
//! that it needs not know what a field means.

use super::Search;
use crate::{
    case::{BrokerSpec, Case, DispatcherSpec, LaneSpec, WorldSpec},
    net::Weather,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The way to a value within a value, as a JSON pointer (RFC 6901).
type Path = String;

/// Settings go back to their defaults: whole parts first, then one by one.
pub(super) fn world<F: FnMut(&Case) -> bool>(search: &mut Search<F>) {
    let plain = serde_json::to_value(plain_world(&search.best.world)).unwrap_or_default();
    let mut todo: Vec<Path> = vec![Path::new()];
    while let Some(path) = todo.pop() {
        let Some(default) = plain.pointer(&path) else { continue };
        let differs = |case: &Case| {
            let is = serde_json::to_value(&case.world).unwrap_or_default();
            is.pointer(&path).is_some_and(|is| is != default)
        };
        if !differs(&search.best) || search.offer_with(|case| set(&mut case.world, &path, default.clone())) {
            continue;
        }
        todo.extend(children(default).into_iter().map(|child| format!("{path}/{child}")));
    }
}

/// Tighter limits: what needs many tasks to fill many slots, or to pass a lane over often enough, may need few. Where that
/// lets nothing go, [`world`] sets them back to their defaults.
pub(super) fn narrow<F: FnMut(&Case) -> bool>(search: &mut Search<F>) {
    if search.best.tasks.len() <= 1 {
        return;
    }
    for (own, shared) in [(1, 0), (0, 1)] {
        search.offer_with(|case| {
            let spec = &mut case.world.dispatcher;
            spec.slots_shared = shared;
            for lane in &mut spec.lanes {
                (lane.slots_own, lane.slots_max) = (own, 1);
            }
            Some(())
        });
    }
    search.offer_with(|case| {
        case.world.dispatcher.pass_over_max = Some(1);
        Some(())
    });
    for window in [2, 1] {
        search.offer_with(|case| {
            case.world.dispatcher.lanes.iter_mut().for_each(|lane| lane.window = window);
            Some(())
        });
    }
}

/// A world of as many hosts and lanes, with nothing else of its own.
fn plain_world(of: &WorldSpec) -> WorldSpec {
    let lanes = of.dispatcher.lanes.iter();
    let lanes = lanes.map(|lane| LaneSpec::named(&lane.name, lane.priority)).collect();
    WorldSpec {
        broker: BrokerSpec { engine: of.broker.engine, nodes: of.broker.nodes, ..BrokerSpec::default() },
        dispatcher: DispatcherSpec { lanes, ..DispatcherSpec::default() },
        weather: Weather::default(),
        ..of.clone()
    }
}

/// Tasks and faults lose what they can do without, and their numbers come down.
pub(super) fn work<F: FnMut(&Case) -> bool>(search: &mut Search<F>) {
    each(search, |case| &mut case.tasks, &["no", "lane", "producer", "executor"]);
    each(search, |case| &mut case.faults, &["lane"]);
}

fn each<T, F>(search: &mut Search<F>, list: impl Fn(&mut Case) -> &mut Vec<T>, but: &[&str])
where
    T: Serialize + DeserializeOwned,
    F: FnMut(&Case) -> bool,
{
    for at in 0..list(&mut search.best).len() {
        let value = |search: &mut Search<F>| serde_json::to_value(&list(&mut search.best)[at]).unwrap_or_default();
        let mut todo: Vec<Path> = vec![Path::new()];
        while let Some(path) = todo.pop() {
            let Some(now) = value(search).pointer(&path).cloned() else { continue };
            for child in children(&now).into_iter().rev().filter(|child| !but.contains(&child.as_str())) {
                let child = format!("{path}/{child}");
                // What is after it in an array moves up: the same place is looked at again.
                while search.offer_with(|case| remove(&mut list(case)[at], &child)) {}
                todo.push(child);
            }
            if let Some(number) = now.as_i64() {
                smaller_number(search, number, |case, n| set(&mut list(case)[at], &path, n.into()));
            }
        }
    }
}

/// The whole story moves to the beginning, and ends when nothing is left of it.
pub(super) fn earlier<F: FnMut(&Case) -> bool>(search: &mut Search<F>) {
    let starts = |case: &Case| {
        let tasks = case.tasks.iter().map(|task| task.at_ms);
        tasks.chain(case.faults.iter().map(|fault| fault.at_ms)).min().unwrap_or(0)
    };
    let first = i64::try_from(starts(&search.best)).unwrap_or(i64::MAX);
    smaller_number(search, first, |case, n| {
        let by = starts(case).checked_sub(u64::try_from(n).ok()?)?;
        case.tasks.iter_mut().for_each(|task| task.at_ms -= by);
        case.faults.iter_mut().for_each(|fault| fault.at_ms -= by);
        case.heal_at_ms = case.heal_at_ms.saturating_sub(by);
        Some(())
    });
    let heal = i64::try_from(search.best.heal_at_ms).unwrap_or(i64::MAX);
    smaller_number(search, heal, |case, n| {
        case.heal_at_ms = u64::try_from(n).ok()?;
        Some(())
    });
}

/// A number comes down: to 0, or by halves, then to a rounder one.
fn smaller_number<F>(search: &mut Search<F>, from: i64, set: impl Fn(&mut Case, i64) -> Option<()>)
where
    F: FnMut(&Case) -> bool,
{
    if from == 0 || search.offer_with(|case| set(case, 0)) {
        return;
    }
    let mut now = from;
    for part in [2, 4] {
        // By a half as often as that goes, then by a quarter.
        while now.abs() >= part && search.offer_with(|case| set(case, now - now / part)) {
            now -= now / part;
        }
    }
    let mut unit = 1_i64;
    while unit.saturating_mul(10) <= now.abs() {
        unit *= 10;
    }
    for unit in [unit, unit / 10, unit / 100] {
        if unit > 1 && now % unit != 0 && search.offer_with(|case| set(case, now - now % unit)) {
            return;
        }
    }
}

/// The names under which a value has parts.
fn children(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(items) => (0..items.len()).map(|at| at.to_string()).collect(),
        _ => Vec::new(),
    }
}

/// Sets a part of something, if it can be that.
fn set<T: Serialize + DeserializeOwned>(of: &mut T, path: &str, to: Value) -> Option<()> {
    let mut value = serde_json::to_value(&*of).ok()?;
    *value.pointer_mut(path)? = to;
    *of = serde_json::from_value(value).ok()?;
    Some(())
}

/// Takes a part out of something, if it can be without.
fn remove<T: Serialize + DeserializeOwned>(of: &mut T, path: &str) -> Option<()> {
    let mut value = serde_json::to_value(&*of).ok()?;
    let (parent, child) = path.rsplit_once('/')?;
    match value.pointer_mut(parent)? {
        Value::Object(fields) => drop(fields.remove(child)?),
        Value::Array(items) => {
            let at = child.parse().ok().filter(|at| *at < items.len())?;
            items.remove(at);
        }
        _ => return None,
    }
    *of = serde_json::from_value(value).ok()?;
    Some(())
}
