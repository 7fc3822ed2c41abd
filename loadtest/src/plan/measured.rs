//! What a real run says for a plan: what its machine adds, what an attempt costs a dispatcher, and how far off the model is
//! where it can be compared.

use crate::{
    figures::Kind,
    quantity::Span,
    report::Report,
    run::Config,
    simulate::{Timing, model},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

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
    /// Why nothing should be concluded from the run; empty if nothing speaks against it.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// Whether its broker was embedded, which has one dispatcher alone.
    #[serde(default)]
    pub embedded: bool,
}

/// How far off the model may be where it is compared: what `tests/prediction.rs` holds it to.
const ERROR_MAX: f64 = 0.25;
/// In seconds: what is less than this is timers and scheduling, however large a share it is.
const ERROR_LEAST_S: f64 = 0.005;

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

    /// Whether that is too far.
    fn is_off(&self) -> bool {
        (self.model_s - self.measured_s).abs() > ERROR_LEAST_S && self.error().abs() > ERROR_MAX
    }
}

impl Measured {
    /// From a report; `None` if its dispatchers told nothing, or its plan can't be computed again.
    pub fn new(report: &Report) -> Option<Self> {
        let timing = Timing::measured(report)?;
        let outcome = model(&Config::try_from(report.profile.clone()).ok()?, &timing).ok()?;
        let error = |kind: Kind, share: f64| {
            let summary = Some(report.latency.get(kind.name())?.summary).filter(|summary| summary.p50_us > 0)?;
            let us = if share > 0.9 { summary.p99_us } else { summary.p50_us };
            let figure = format!("{} p{:.0}", kind.name(), share * 100.0);
            Some(ModelError { figure, measured_s: us as f64 / 1e6, model_s: outcome.quantile(kind, share) })
        };
        let all = [(Kind::Wait, 0.99), (Kind::Done, 0.5), (Kind::Done, 0.99)];
        let dispatchers = || report.processes.iter().filter(|process| process.name.starts_with("dispatcher"));
        let cpu_s = dispatchers().map(|process| process.cpu_s).sum::<f64>();
        let errors = all.into_iter().filter_map(|(kind, share)| error(kind, share)).collect::<Vec<_>>();
        Some(Self {
            started_at_ms: report.started_at_ms,
            timing,
            cpu_per_attempt_s: cpu_s / report.verdict.attempts.max(1) as f64,
            rss_bytes: dispatchers().map(|process| process.rss_peak_bytes).max().unwrap_or(0),
            doubts: doubts(report, &errors),
            embedded: report.environment.broker == "embedded",
            errors,
        })
    }
}

/// What speaks against a run: it broke something, said nothing itself, or is not what the model computes.
fn doubts(report: &Report, errors: &[ModelError]) -> Vec<String> {
    let invalid = report.validity.reasons.iter().map(|reason| format!("the run is invalid: {reason}"));
    let broken = (!report.verdict.ok).then(|| "the run broke a promise".to_owned());
    let faults = report.profile.faults.len();
    let disturbed = (faults > 0).then(|| format!("the run had {faults} faults, and the model knows nothing of them"));
    let off = errors.iter().filter(|error| error.is_off()).map(|error| {
        let span = |s: f64| Span(Duration::from_secs_f64(s)).to_string();
        let (measured, model) = (span(error.measured_s), span(error.model_s));
        format!("{} was {measured} in the run, and {model} by the model: expect no better of the plan", error.figure)
    });
    invalid.chain(broken).chain(disturbed).chain(off).collect()
}

/// Tasks a second in a run's busiest phase: what a plan must be made for. Of a run without phases, its average.
pub fn busiest(report: &Report) -> f64 {
    let phases = report.phases.iter().map(|phase| phase.offered_per_s).filter(|rate| rate.is_finite());
    phases.fold(0.0, f64::max).max(report.throughput.offered_per_s)
}
