//! Rules and alerts over the blocks of simulated runs, as a Prometheus would have evaluated them at the time: recording
//! rules in the order in which they need each other, then alerts with their `for`. What is right is not known here.

use crate::prometheus::{Prometheus, Series};
use quebert_dashboards::{
    promql::selectors,
    rules::{Group, Rule},
};
use quebert_sim::clock::EPOCH_MS;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    process::Command,
};

/// Between two evaluations, in seconds: that of the recording rules' groups.
const STEP: u64 = 30;

/// From and to, in minutes since the run began.
pub(crate) type Span = (f64, f64);

/// When alerts fired: by job, then by the alert's name and whose it is (as in `1h high`).
pub(crate) type Fired = BTreeMap<String, BTreeMap<(&'static str, String), Vec<Span>>>;

/// Evaluates everything from the beginning of the runs to this minute.
pub(crate) fn evaluate(folder: &Path, groups: &[Group], minutes: u64) -> Fired {
    let from = u64::try_from(EPOCH_MS).unwrap() / 1000;
    let to = from + minutes * 60;
    let rules = groups.iter().flat_map(|group| &group.rules);
    let (alerts, mut waiting): (Vec<_>, Vec<_>) = rules.partition(|rule| rule.alert().is_some());
    while !waiting.is_empty() {
        let unknown: BTreeSet<_> = waiting.iter().map(|rule| rule.name()).collect();
        let (later, ready): (Vec<&Rule>, Vec<_>) =
            waiting.iter().partition(|rule| needs(rule).iter().any(|name| unknown.contains(name.as_str())));
        assert!(!ready.is_empty(), "these recording rules need each other: {unknown:?}");
        let prometheus = Prometheus::start(folder);
        let mut text = String::new();
        for rule in ready {
            for series in prometheus.range(&rule.expr, from, to, STEP) {
                record(&mut text, rule, &series);
            }
        }
        drop(prometheus);
        blocks(folder, "recorded", &(text + "# EOF\n"));
        waiting = later;
    }
    let prometheus = Prometheus::start(folder);
    let mut fired = Fired::new();
    for rule in alerts {
        let alert = rule.alert().expect("it is one");
        for (labels, points) in prometheus.range(&rule.expr, from, to, STEP) {
            let spans = held(&points, from, seconds(alert.hold));
            if spans.is_empty() {
                continue;
            }
            let job = labels.iter().find(|(label, _)| label == "job").map_or("", |(_, job)| job);
            let long = rule.labels.iter().filter(|(label, _)| *label == "long").map(|(_, value)| value.as_str());
            let own = labels
                .iter()
                .filter(|(label, _)| label != "job" && label != "__name__")
                .map(|(_, value)| value.as_str());
            let whose = long.chain(own).collect::<Vec<_>>().join(" ");
            fired.entry(job.to_owned()).or_default().insert((alert.name, whose), spans);
        }
    }
    fired
}

/// The metrics that a rule selects.
pub(crate) fn needs(rule: &Rule) -> BTreeSet<String> {
    selectors(&rule.expr).unwrap().into_iter().map(|selector| selector.metric).collect()
}

/// Makes blocks of OpenMetrics text.
pub(crate) fn blocks(folder: &Path, name: &str, text: &str) {
    let file = folder.join(format!("{name}.om"));
    std::fs::write(&file, text).unwrap();
    let out = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .args([&file, &folder.join("blocks")])
        .output()
        .expect("this test needs promtool: install Prometheus (Debian: apt-get install prometheus)");
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    std::fs::remove_file(file).unwrap();
}

fn record(text: &mut String, rule: &Rule, (labels, points): &Series) {
    let labels = labels.iter().filter(|(label, _)| label != "__name__");
    let labels = labels.map(|(label, value)| format!("{label}={value:?}")).collect::<Vec<_>>().join(",");
    for (at, value) in points {
        let _ = writeln!(text, "{}{{{labels}}} {value} {at}", rule.name());
    }
}

/// The spans in which something held for so long already.
fn held(points: &[(f64, String)], from: u64, hold: f64) -> Vec<Span> {
    let step = STEP as f64;
    let mut spans = Vec::<Span>::new();
    for (at, _) in points {
        match spans.last_mut() {
            Some((_, last)) if at - *last <= step => *last = *at,
            _ => spans.push((*at, *at)),
        }
    }
    let minutes = |at: f64| (at - from as f64) / 60.0;
    spans
        .into_iter()
        .filter(|(since, last)| last - since >= hold)
        .map(|(since, last)| (minutes(since + hold), minutes(last + step)))
        .collect()
}

/// Of a duration in one unit, as rules write it.
fn seconds(text: &str) -> f64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => panic!("what is {text}?"),
    };
    number.parse::<f64>().unwrap() * unit
}

#[cfg(test)]
mod tests {
    use super::held;

    fn at(minutes: &[f64]) -> Vec<(f64, String)> {
        minutes.iter().map(|minute| (minute * 60.0, "1".to_owned())).collect()
    }

    #[test]
    fn what_pauses_begins_to_hold_anew() {
        let minutes = [1.0, 1.5, 2.0, 2.5, 4.0, 4.5, 5.0];
        assert_eq!(held(&at(&minutes), 0, 0.0), [(1.0, 3.0), (4.0, 5.5)]);
        assert_eq!(held(&at(&minutes), 0, 90.0), [(2.5, 3.0)]);
        assert_eq!(held(&at(&minutes), 0, 120.0), []);
    }
}
