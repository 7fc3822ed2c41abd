//! `find-max` as a function: the state machine's probes become runs, and what it came to gets its reason. It draws and
//! prints nothing.

use super::{
    bench::{Bench, BenchError, ProbeLength, Probed},
    machine::{Ended, Limits, Probe, Reason, Search, Verdict},
};
use crate::{
    quantity::Span,
    report::{Bottleneck, Environment, SWEEP_SCHEMA_VERSION, Sweep, SweepPoint, exit},
    run::{Live, Profile},
    target::QueueSpec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What to find.
#[derive(Debug, Clone, PartialEq)]
pub struct FindSpec {
    /// Everything but arrivals and thresholds.
    pub profile: Profile,
    /// The objectives: thresholds such as `wait.p99<200ms`.
    pub slo: Vec<String>,
    /// Where to look.
    pub limits: Limits,
    /// How long to look.
    pub length: ProbeLength,
    /// How tasks come: `poisson` or `constant`.
    pub shape: String,
}

/// The version of [`FindMax`]. Version 4 says by which certificate executors were known. Until 3 it was the report's.
pub(crate) const SCHEMA_VERSION: u32 = 4;

/// What a search came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindMax {
    /// 4 as this is written.
    pub schema_version: u32,
    /// The tester's version.
    pub version: String,
    /// When the first probe began, in milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// What it ran on.
    pub environment: Environment,
    /// What all probes share.
    pub profile: Profile,
    /// The objectives.
    pub slo: Vec<String>,
    /// The rate, and why no more.
    #[serde(flatten)]
    pub ended: Ended,
    /// What the lowest rate at which something was full was held back by, the strongest first.
    pub bottlenecks: Vec<Bottleneck>,
    /// All probes, in order.
    pub probes: Vec<ProbeView>,
    /// For people: the result.
    pub summary: String,
    /// What the program ends with: 0 found, 1 not even the least rate was kept, 2 a promise was broken in some probe, 3 the
    /// tester itself was the limit.
    pub exit_code: u8,
}

/// A probe, as it is reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeView {
    /// How long it lasted, in seconds.
    pub plan_s: f64,
    /// Whether it was the longer one that confirms.
    pub confirms: bool,
    /// What came of it.
    pub verdict: Verdict,
    /// For people: why.
    pub why: String,
    /// The figures.
    #[serde(flatten)]
    pub point: SweepPoint,
}

/// Searches. `live` is told of each second, `told` of each probe.
///
/// # Errors
/// When the system can't be run.
pub async fn find_max(
    spec: FindSpec,
    mut live: impl FnMut(&Live),
    mut told: impl FnMut(&ProbeView),
) -> Result<FindMax, BenchError> {
    let mut profile = spec.profile.clone();
    profile.thresholds.clone_from(&spec.slo);
    let mut bench = Bench::new(profile)?;
    let mut search = Search::new(spec.limits);
    let mut probes = Vec::new();
    let mut first = None;
    let mut knee = Knee::default();
    while let Some(probe) = search.next() {
        let length = spec.length.at(probe.rate, bench.work_s()) * probe.times;
        let plan = arrivals(&spec.shape, probe.rate, length);
        let probed = bench.probe(plan, true, &mut live).await?;
        let (verdict, why) = judge(&probed);
        let view = view(&bench, probe, &probed, verdict, why);
        told(&view);
        if verdict != Verdict::Kept {
            knee.missed(probe.rate, &view.why, bench.bottlenecks(&probed.report));
        }
        search.told(verdict);
        first.get_or_insert((probed.report.started_at_ms, probed.report.environment));
        probes.push(view);
    }
    bench.close().await;
    let ended = search.ended().expect("it has no next probe");
    let (started_at_ms, environment) = first.expect("a search has a first probe");
    let broken = probes.iter().any(|probe| probe.point.bottleneck == BROKEN);
    Ok(FindMax {
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_ms,
        environment,
        profile: spec.profile.without_secrets(),
        summary: summary(&ended, &spec.slo, &knee, probes.len()),
        slo: spec.slo,
        ended,
        bottlenecks: knee.full.map(|(_, bottlenecks)| bottlenecks).unwrap_or_default(),
        exit_code: exit_code(&ended, broken),
        probes,
    })
}

/// What stands in the place of a bottleneck if a promise was broken.
pub(super) const BROKEN: &str = "broken promise";

/// What is known of the lowest rate that failed.
#[derive(Debug, Default)]
struct Knee {
    /// It, and why it failed.
    lowest: Option<(f64, String)>,
    /// The lowest at which something was full, and what: close to the limit waits may be too long without that.
    full: Option<(f64, Vec<Bottleneck>)>,
}

impl Knee {
    fn missed(&mut self, rate: f64, why: &str, bottlenecks: Vec<Bottleneck>) {
        if self.lowest.as_ref().is_none_or(|(lowest, _)| rate <= *lowest) {
            self.lowest = Some((rate, why.to_owned()));
        }
        if !bottlenecks.is_empty() && self.full.as_ref().is_none_or(|(lowest, _)| rate <= *lowest) {
            self.full = Some((rate, bottlenecks));
        }
    }

    fn held(&self) -> String {
        let first = self.full.as_ref().and_then(|(rate, all)| Some((rate, all.first()?)));
        match first {
            Some((rate, Bottleneck { name, evidence, .. })) => {
                format!("held back by {name} (at {rate:.1}/s {evidence})")
            }
            None => "nothing was full".to_owned(),
        }
    }
}

/// A plan at one rate.
pub(super) fn arrivals(shape: &str, rate: f64, length: Duration) -> String {
    format!("{shape} {rate:.3}/s {}ms", length.as_millis())
}

fn judge(probed: &Probed) -> (Verdict, String) {
    let report = &probed.report;
    if !report.verdict.ok {
        let broken = report.verdict.findings.iter().filter(|finding| !finding.ok);
        let told = broken.map(|finding| format!("{} {}", finding.name, finding.found)).collect::<Vec<_>>();
        return (Verdict::Missed, format!("a promise was broken: {}", told.join(", ")));
    }
    if let Some(grew) = &probed.grew {
        return (Verdict::Missed, grew.clone());
    }
    // A tester that is late says nothing of the system, for good or ill.
    if let Some(reason) = report.validity.reasons.first() {
        return (Verdict::Unclear, reason.clone());
    }
    let told = |ok: bool| {
        let all = report.thresholds.iter().filter(move |threshold| threshold.ok == ok);
        let found = |found: Option<f64>| found.map_or("nothing".to_owned(), |found| format!("{found:.4}"));
        all.map(|threshold| format!("{} ({})", threshold.text, found(threshold.found))).collect::<Vec<_>>().join(", ")
    };
    if report.thresholds.iter().all(|threshold| threshold.ok) {
        (Verdict::Kept, told(true))
    } else {
        (Verdict::Missed, told(false))
    }
}

fn view(bench: &Bench, probe: Probe, probed: &Probed, verdict: Verdict, why: String) -> ProbeView {
    let mut point = point(bench, String::new(), &probed.report);
    point.offered_per_s = probe.rate;
    point.ok = verdict == Verdict::Kept;
    ProbeView { plan_s: probed.report.plan_s, confirms: probe.times > 1, verdict, why, point }
}

/// The figures of a run.
pub(super) fn point(bench: &Bench, series: String, report: &crate::report::Report) -> SweepPoint {
    let wait = report.latency.get("wait").map(|wait| wait.summary).unwrap_or_default();
    let steady = report.steady.and_then(|steady| steady.wait_p99);
    let attempts = report.latency.get("attempt").map_or(0.0, |attempt| attempt.summary.mean_us / 1e6);
    let slots = bench.slots();
    let bottleneck = bench.bottlenecks(report).into_iter().next().map(|bottleneck| bottleneck.name);
    SweepPoint {
        series,
        offered_per_s: report.throughput.offered_per_s,
        achieved_per_s: report.throughput.done_per_s,
        p50_us: wait.p50_us,
        p99_us: wait.p99_us,
        p99_low_us: steady.map(|p99| p99.low_us as u64),
        p99_high_us: steady.map(|p99| p99.high_us as u64),
        // Little's law: requests a second, times how long each holds a slot.
        utilisation: slots.map(|slots| (report.throughput.attempts_per_s * attempts / slots).min(1.0)),
        ok: report.verdict.ok && report.thresholds.iter().all(|threshold| threshold.ok),
        valid: report.validity.valid,
        bottleneck: if report.verdict.ok { bottleneck.unwrap_or_default() } else { BROKEN.to_owned() },
        dispatchers: (bench.config().target.dispatchers > 0).then_some(bench.config().target.dispatchers),
        slots: common(bench, |queue| queue.slots),
        window: common(bench, |queue| queue.window),
        saturated: false,
    }
}

/// What all queues have, if it is the same.
fn common(bench: &Bench, of: fn(&QueueSpec) -> u32) -> Option<u32> {
    let queues = &bench.config().target.queues;
    let first = queues.first().map(of)?;
    queues.iter().all(|queue| of(queue) == first).then_some(first)
}

fn summary(ended: &Ended, slo: &[String], knee: &Knee, probes: usize) -> String {
    let slo = slo.join(" and ");
    let why = knee.lowest.as_ref().map(|(rate, why)| format!("at {rate:.1}/s {why}")).unwrap_or_default();
    let held = knee.held();
    match (ended.rate_per_s, ended.failed_per_s) {
        (None, _) => format!("no rate keeps {slo}, in {probes} probes; {why}; {held}"),
        (Some(rate), None) => {
            format!("{rate:.1}/s and perhaps more with {slo}, in {probes} probes; it was not to look further")
        }
        (Some(rate), Some(failed)) => {
            let tester = if ended.reason == Reason::Tester { "the tester was the limit: " } else { "" };
            format!("{rate:.1}/s [{rate:.1}..{failed:.1}] with {slo}, in {probes} probes; {tester}{why}; {held}")
        }
    }
}

fn exit_code(ended: &Ended, broken: bool) -> u8 {
    match (broken, ended.reason) {
        (true, _) => exit::VERIFICATION,
        (false, Reason::Least) => exit::THRESHOLD,
        (false, Reason::Tester) => exit::INVALID,
        (false, Reason::Objective | Reason::Most) => exit::OK,
    }
}

impl FindMax {
    /// Its probes as the points of a sweep, to be drawn.
    pub fn as_sweep(&self) -> Sweep {
        Sweep {
            schema_version: SWEEP_SCHEMA_VERSION,
            version: self.version.clone(),
            started_at_ms: self.started_at_ms,
            environment: self.environment.clone(),
            profile: self.profile.clone(),
            demands: self.slo.clone(),
            points: self.probes.iter().map(|probe| probe.point.clone()).collect(),
            notes: vec![self.summary.clone()],
            scaling: Vec::new(),
        }
    }
}

/// A probe in a line, for whoever watches.
impl std::fmt::Display for ProbeView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let point = &self.point;
        let word = match self.verdict {
            Verdict::Kept if self.confirms => "confirmed",
            Verdict::Kept => "kept",
            Verdict::Missed => "missed",
            Verdict::Unclear => "unclear",
        };
        let (p50, p99) = (Span(Duration::from_micros(point.p50_us)), Span(Duration::from_micros(point.p99_us)));
        write!(
            f,
            "{:>9.1}/s {:>6.1} s  {word:<9}  done {:>8.1}/s  wait p50 {p50:>7} p99 {p99:>7}  {}",
            point.offered_per_s, self.plan_s, point.achieved_per_s, self.why
        )?;
        if !point.bottleneck.is_empty() {
            write!(f, "  [{}]", point.bottleneck)?;
        }
        Ok(())
    }
}
