//! That names mean something: metrics are in the list, with these labels; rules use what other rules record; and whatever is
//! exported is used, or said to be unused. Values that only a config knows, such as queues, are not looked at.

use super::{
    Finding,
    grafana::{label_values, list, text},
    queries::expressions,
};
use crate::promql::Matcher;
use crate::{Bundle, boards::rabbitmq, promql};
use quebert_metrics::list::{Bound, Kind, METRICS, Spec};
use std::collections::BTreeSet;

/// Metrics that no dashboard and no rule uses, and why not.
pub(super) const UNUSED: &[(&str, &str)] =
    &[("process_virtual_memory_bytes", "says nothing of what is used, and flattens the line that does")];

pub(super) fn check(bundle: &Bundle) -> Vec<Finding> {
    let mut findings = Vec::new();
    let recorded = recorded(bundle);
    let mut used = BTreeSet::new();
    for (place, expr) in all_expressions(bundle) {
        findings.extend(in_expression(&recorded, &place, &expr, &mut used));
    }
    for spec in METRICS {
        let excuse = UNUSED.iter().any(|(name, _)| *name == spec.name);
        if excuse == used.contains(spec.name) {
            let what = if excuse { "is used, but said to be unused" } else { "is exported and never used" };
            findings.push(Finding::wrong("used-metrics", spec.name, what));
        }
    }
    findings
}

/// What is wrong with the names in an expression; adds those of our metrics to `used`.
pub(super) fn in_expression(
    recorded: &BTreeSet<&str>,
    place: &str,
    expr: &str,
    used: &mut BTreeSet<&'static str>,
) -> Vec<Finding> {
    let wrong = |rule, what: String| Finding::wrong(rule, place, what);
    let selectors = match promql::selectors(expr) {
        Ok(selectors) => selectors,
        Err(why) => return vec![wrong("promql", format!("{why}: {expr}"))],
    };
    let mut findings = Vec::new();
    for selector in selectors {
        let name = selector.metric.as_str();
        if let Some(spec) = spec_of(name) {
            used.insert(spec.name);
            findings.extend(selector.matchers.iter().filter_map(|matcher| {
                let what = strange(spec, matcher)?;
                Some(wrong("known-labels", format!("{name} has no {what}")))
            }));
        } else if name.is_empty() {
            findings.push(wrong("known-metrics", "a selector names no metric".to_owned()));
        } else if name != "up" && !rabbitmq::METRICS.contains(&name) && !recorded.contains(name) {
            findings.push(wrong("known-metrics", format!("there is no metric `{name}`")));
        }
    }
    findings
}

/// All queries, of panels, annotations, variables and rules.
pub(super) fn all_expressions(bundle: &Bundle) -> Vec<(String, String)> {
    let boards = bundle.boards.iter().flat_map(|board| {
        let variables = list(&board["templating"]["list"]).iter().filter_map(move |variable| {
            let (selector, _) = label_values(text(&variable["query"], "query"))?;
            Some((format!("{} / variable {}", text(board, "title"), text(variable, "name")), selector))
        });
        expressions(board).into_iter().chain(variables)
    });
    let rules = bundle.groups.iter().flat_map(|group| &group.rules);
    let rules = rules.map(|rule| (format!("rule {}", rule.name()), rule.expr.clone()));
    boards.chain(rules).collect()
}

/// The names that recording rules make.
pub(super) fn recorded(bundle: &Bundle) -> BTreeSet<&str> {
    let rules = bundle.groups.iter().flat_map(|group| &group.rules);
    rules.filter(|rule| rule.alert().is_none()).map(crate::rules::Rule::name).collect()
}

/// The metric that a series of this name belongs to.
pub(super) fn spec_of(series: &str) -> Option<&'static Spec> {
    METRICS.iter().find(|spec| match spec.kind {
        Kind::Histogram(..) => series.strip_prefix(spec.name).is_some_and(|end| SUFFIXES.contains(&end)),
        _ => series == spec.name,
    })
}

/// What a metric does not have of what a matcher asks for.
fn strange(spec: &Spec, matcher: &Matcher) -> Option<String> {
    // The scrape brings the first two, histograms the third.
    let label = matcher.label.as_str();
    if ["job", "instance"].contains(&label) || (label == "le" && matches!(spec.kind, Kind::Histogram(..))) {
        return None;
    }
    let Some(known) = spec.labels.iter().find(|known| known.name == label) else {
        return Some(format!("label `{label}`"));
    };
    let Bound::Of(values) = known.bound else { return None };
    let values = values();
    // Alternatives of plain words; whatever else is in a regular expression, only data can tell.
    let plain = !matcher.value.contains(['.', '*', '+', '?', '(', ')', '[', ']', '{', '}', '^', '$', '\\']);
    let mut asked = matcher.value.split('|').filter(|_| plain);
    asked.find(|asked| !values.contains(asked)).map(|asked| format!("`{label}` that is `{asked}`"))
}

const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];
