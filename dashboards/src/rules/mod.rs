//! Prometheus rules: what they are, and how they are written down. Which there are is said by [`recording`] and [`alerts`];
//! nothing is evaluated here.

pub mod alerts;
pub mod recording;

use crate::settings::Settings;
use std::fmt::Write as _;

/// Rules that Prometheus evaluates in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name; one group of that name a file.
    pub name: &'static str,
    /// How often; `None` is as often as Prometheus does by default.
    pub interval: Option<&'static str>,
    /// In their order.
    pub rules: Vec<Rule>,
}

/// A recording rule or an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What comes of it.
    pub kind: RuleKind,
    /// The expression.
    pub expr: String,
    /// Labels that are added.
    pub labels: Vec<(&'static str, String)>,
}

/// What comes of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleKind {
    /// A series of this name.
    Record(String),
    /// An alert.
    Alert(Alert),
}

/// What is an alert's besides its expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its name.
    pub name: &'static str,
    /// For how long the expression must hold.
    pub hold: &'static str,
    /// One line; a template of Prometheus'.
    pub summary: String,
    /// What it means, in a sentence or two; a template of Prometheus'.
    pub description: String,
    /// Where to read on.
    pub runbook: String,
    /// Where to look.
    pub dashboard: String,
}

impl Rule {
    /// Its name, or its series'.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Record(name) => name,
            RuleKind::Alert(alert) => alert.name,
        }
    }

    /// What is an alert's.
    pub fn alert(&self) -> Option<&Alert> {
        match &self.kind {
            RuleKind::Alert(alert) => Some(alert),
            RuleKind::Record(_) => None,
        }
    }
}

/// All recording rules and alerts.
pub fn groups(settings: &Settings) -> Vec<Group> {
    let mut groups = recording::groups(settings);
    groups.push(alerts::group(settings));
    groups
}

/// Groups as a rule file.
pub fn file(groups: &[Group]) -> String {
    let mut text = format!("{HEAD}groups:\n");
    for group in groups {
        write_group(&mut text, group, "  ");
    }
    text
}

/// Groups as the manifest that Prometheus' operator takes.
pub fn manifest(groups: &[Group]) -> String {
    let mut text = format!(
        "{HEAD}apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: quebert\n  labels:\n    \
         app.kubernetes.io/name: quebert\nspec:\n  groups:\n"
    );
    for group in groups {
        write_group(&mut text, group, "    ");
    }
    text
}

fn write_group(text: &mut String, group: &Group, pad: &str) {
    let _ = writeln!(text, "{pad}- name: {}", group.name);
    if let Some(interval) = group.interval {
        let _ = writeln!(text, "{pad}  interval: {interval}");
    }
    let _ = writeln!(text, "{pad}  rules:");
    for rule in &group.rules {
        write_rule(text, rule, &format!("{pad}    "));
    }
}

fn write_rule(text: &mut String, rule: &Rule, pad: &str) {
    let word = if rule.alert().is_some() { "alert" } else { "record" };
    let _ = writeln!(text, "{pad}- {word}: {}", rule.name());
    let _ = writeln!(text, "{pad}  expr: |-");
    for line in rule.expr.lines() {
        let _ = writeln!(text, "{pad}    {line}");
    }
    if let Some(alert) = rule.alert().filter(|alert| alert.hold != "0s") {
        let _ = writeln!(text, "{pad}  for: {}", alert.hold);
    }
    if !rule.labels.is_empty() {
        let _ = writeln!(text, "{pad}  labels:");
        for (label, value) in &rule.labels {
            let _ = writeln!(text, "{pad}    {label}: {}", quoted(value));
        }
    }
    if let Some(alert) = rule.alert() {
        let _ = writeln!(text, "{pad}  annotations:");
        for (name, value) in alert.annotations() {
            let _ = writeln!(text, "{pad}    {name}: {}", quoted(value));
        }
    }
}

impl Alert {
    /// Its annotations, as Prometheus sends them on.
    pub fn annotations(&self) -> [(&'static str, &str); 4] {
        [
            ("summary", &self.summary),
            ("description", &self.description),
            ("runbook_url", &self.runbook),
            ("dashboard_url", &self.dashboard),
        ]
    }
}

/// A string of JSON is one of YAML, too.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

const HEAD: &str =
    "# Made by quebert's dashboards/src/rules; `quebert dashboards export` makes them for your own settings.\n";
