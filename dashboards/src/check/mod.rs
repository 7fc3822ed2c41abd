//! What must hold of dashboards and rules, whoever made them: by themselves ([`by_itself`]), and at a Prometheus
//! ([`questions`], then [`judge`]). Who asks the questions, and how, is the caller's business.

mod grafana;
mod live;
mod names;
mod queries;
mod units;

pub use live::{Answers, Question, View, judge, questions};

use crate::Bundle;
use std::fmt;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How bad.
    pub weight: Weight,
    /// Which rule it breaks.
    pub rule: &'static str,
    /// Where: a dashboard and a panel, or a rule.
    pub place: String,
    /// What is wrong, in words.
    pub what: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It is wrong, and stays so.
    Wrong,
    /// Nothing to see, and nothing that would be wrong with the query: nothing of the kind has happened.
    Quiet,
    /// An exception, with its reason.
    Excused,
}

impl Finding {
    pub(crate) fn wrong(rule: &'static str, place: &str, what: impl Into<String>) -> Self {
        Self { weight: Weight::Wrong, rule, place: place.to_owned(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.place, self.what, self.rule)
    }
}

/// Everything that shows without a Prometheus.
pub fn by_itself(bundle: &Bundle) -> Vec<Finding> {
    let mut findings = grafana::check(&bundle.boards);
    findings.extend(queries::check(&bundle.boards));
    findings.extend(names::check(bundle));
    findings.sort();
    findings.dedup();
    findings
}

/// What is wrong with the names in one expression, such as one in a runbook.
pub fn names_in(bundle: &Bundle, place: &str, expression: &str) -> Vec<Finding> {
    names::in_expression(&names::recorded(bundle), place, expression, &mut std::collections::BTreeSet::new())
}
