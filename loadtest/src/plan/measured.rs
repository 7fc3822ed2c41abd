//! What a real run says for a plan: what its machine adds, what an attempt costs a dispatcher, and how far off the model is
//! where it can be compared.

use crate::{
    figures::Kind,
    report::Report,
    run::Config,
    simulate::{Timing, model},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a run has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// When it began, in milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// What its machine added.
    pub timing: Timing,
    /// CPU seconds of a dispatcher for an attempt; 0 if its dispatchers were somebody else's. With an embedded broker,
    /// that is part of it.
    pub cpu_per_attempt_s: f64,
    /// The most memory of a dispatcher.
    pub rss_bytes: u64,
    /// The model beside what was measured.
    pub errors: Vec<ModelError>,
}

/// One figure of the model beside the measured one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelError {
    /// Such as `wait p99`.
    pub figure: String,
    /// What was measured, in seconds.
    pub measured_s: f64,
    /// What the model says.
    pub model_s: f64,
}

impl ModelError {
    /// How far off the model is: 0.06 is 6 % too long.
    pub fn error(&self) -> f64 {
        self.model_s / self.measured_s - 1.0
    }
}

impl Measured {
    /// From a report; `None` if its dispatchers told nothing, or its plan can't be computed again.
    pub fn new(report: &Report) -> Option<Self> {
        let timing = Timing::measured(report)?;
        let outcome = model(&Config::try_from(report.profile.clone()).ok()?, &timing).ok()?;
        let error = |kind: Kind, share: f64| {
            let summary = report.latency.get(kind.name())?.summary;
            let us = if share > 0.9 { summary.p99_us } else { summary.p50_us };
            let figure = format!("{} p{:.0}", kind.name(), share * 100.0);
            Some(ModelError { figure, measured_s: us as f64 / 1e6, model_s: outcome.quantile(kind, share) })
        };
        let all = [(Kind::Wait, 0.99), (Kind::Done, 0.5), (Kind::Done, 0.99)];
        let dispatchers = || report.processes.iter().filter(|process| process.name.starts_with("dispatcher"));
        let cpu_s = dispatchers().map(|process| process.cpu_s).sum::<f64>();
        Some(Self {
            started_at_ms: report.started_at_ms,
            timing,
            cpu_per_attempt_s: cpu_s / report.verdict.attempts.max(1) as f64,
            rss_bytes: dispatchers().map(|process| process.rss_peak_bytes).max().unwrap_or(0),
            errors: all.into_iter().filter_map(|(kind, share)| error(kind, share)).collect(),
        })
    }
}
