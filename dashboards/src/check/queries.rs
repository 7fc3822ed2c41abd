//! The rules of Grafana's dashboard-linter that concern queries: every selector goes by the variables, rates go with the
//! zoom, counters are only looked at through rates. Whether there is any data is not known here.

use super::{
    Finding, Weight,
    grafana::{list, panels, place, text},
};
use crate::promql::{self, Selector};
use serde_json::Value;

pub(super) fn check(boards: &[Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for board in boards {
        let variables = list(&board["templating"]["list"]).iter().map(|v| text(v, "name")).collect::<Vec<_>>();
        for (place, expr) in expressions(board) {
            unknown_variables(&place, &expr, &variables, &mut findings);
            match promql::selectors(&expr) {
                Ok(selectors) if selectors.is_empty() => {
                    findings.push(Finding::wrong("target-promql-rule", &place, "it selects nothing"));
                }
                Ok(selectors) => selectors.iter().for_each(|s| judge(&place, s, &mut findings)),
                Err(why) => findings.push(Finding::wrong("target-promql-rule", &place, format!("{why}: {expr}"))),
            }
        }
        for variable in list(&board["templating"]["list"]).iter().filter(|v| v["type"] == "query") {
            let place = format!("{} / variable {}", text(board, "title"), text(variable, "name"));
            unknown_variables(&place, text(&variable["query"], "query"), &variables, &mut findings);
        }
    }
    findings
}

/// The queries of panels and annotations, with where they stand.
pub(super) fn expressions(board: &Value) -> Vec<(String, String)> {
    let panels = panels(board).into_iter().flat_map(|panel| {
        list(&panel["targets"]).iter().map(move |target| (place(board, panel), text(target, "expr").to_owned()))
    });
    let annotations = list(&board["annotations"]["list"]).iter().filter(|a| a["builtIn"] != 1);
    let annotations = annotations
        .map(|a| (format!("{} / annotation {}", text(board, "title"), text(a, "name")), text(a, "expr").to_owned()));
    panels.chain(annotations).collect()
}

fn judge(place: &str, selector: &Selector, findings: &mut Vec<Finding>) {
    let mut must = |holds: bool, rule: &'static str, what: String| {
        if !holds {
            findings.push(Finding::wrong(rule, place, what));
        }
    };
    let shown = &selector.text;
    if selector.metric.starts_with("rabbitmq_") {
        let own = selector.has("job", "=~", "$rabbitmq");
        must(own, "target-job-rule", format!("{shown} lacks job=~\"$rabbitmq\""));
        findings.push(excused("target-instance-rule", place, "RabbitMQ's nodes are other instances than ours"));
    } else {
        must(selector.has("job", "=~", "$job"), "target-job-rule", format!("{shown} lacks job=~\"$job\""));
        if selector.metric.contains(':') {
            findings.push(excused("target-instance-rule", place, "recorded sums have no instance"));
        } else {
            let own = selector.has("instance", "=~", "$instance");
            must(own, "target-instance-rule", format!("{shown} lacks instance=~\"$instance\""));
        }
    }
    let mut must = |holds: bool, rule: &'static str, what: String| {
        if !holds {
            findings.push(Finding::wrong(rule, place, what));
        }
    };
    let called = |names: &[&str]| selector.within.iter().any(|f| names.contains(&f.as_str()));
    let windows = ["rate", "irate", "increase"];
    if let Some(window) = &selector.window {
        let zooms = window == "$__rate_interval" || !called(&windows);
        must(zooms, "target-rate-interval-rule", format!("the window of {shown} is {window}, not $__rate_interval"));
    } else {
        must(!called(&windows), "target-promql-rule", format!("{shown} has no window"));
    }
    if selector.metric.ends_with("_total") && !called(&windows) {
        let lasting = ["quebert_deliveries_total", "quebert_settlements_total"].contains(&selector.metric.as_str());
        if lasting && place.ends_with("/ Unaccounted for") {
            findings.push(excused("target-counter-agg-rule", place, "a rate would hide what is missing for good"));
        } else {
            findings.push(Finding::wrong("target-counter-agg-rule", place, format!("{shown} grows; ask for its rate")));
        }
    }
}

fn excused(rule: &'static str, place: &str, reason: &str) -> Finding {
    Finding { weight: Weight::Excused, rule, place: place.to_owned(), what: reason.to_owned() }
}

fn unknown_variables(place: &str, query: &str, known: &[&str], findings: &mut Vec<Finding>) {
    for name in variables_in(query) {
        if !name.starts_with("__") && !known.contains(&name.as_str()) {
            findings.push(Finding::wrong("unknown-variable", place, format!("there is no variable `{name}`")));
        }
    }
}

/// The names behind `$` and `${`. `$1` is a group of a regular expression.
fn variables_in(query: &str) -> Vec<String> {
    let names = query.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
    });
    names.filter(|name| !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).collect()
}
