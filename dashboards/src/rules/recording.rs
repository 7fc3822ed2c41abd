//! The recording rules: what dashboards and alerts ask for again and again, and the error ratios of the objectives over the
//! windows that burn rates need. No alert stands here.

use super::{Group, Rule, RuleKind};
use crate::settings::{Settings, number};
use std::fmt::Display;

/// The windows of the objectives' error ratios.
pub const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];

/// Matchers of everything that a rule selects.
pub(crate) struct Scope {
    job: String,
    queue: String,
}

impl Scope {
    pub(crate) fn new(settings: &Settings) -> Self {
        let queues = settings.queues.iter().map(|name| escaped(name)).collect::<Vec<_>>().join("|");
        let queue = if queues.is_empty() { String::new() } else { format!(",queue=~\"{queues}\"") };
        Self { job: format!("job=~\"{}\"", settings.job.replace('\\', "\\\\").replace('"', "\\\"")), queue }
    }

    /// A selector of a metric that has a queue.
    pub(crate) fn queue(&self, metric: &str, more: &str) -> String {
        let comma = if more.is_empty() { "" } else { "," };
        format!("{metric}{{{}{}{comma}{more}}}", self.job, self.queue)
    }

    /// A selector of one that has none.
    pub(crate) fn any(&self, metric: &str, more: &str) -> String {
        let comma = if more.is_empty() { "" } else { "," };
        format!("{metric}{{{}{comma}{more}}}", self.job)
    }
}

/// The groups of recording rules.
pub fn groups(settings: &Settings) -> Vec<Group> {
    let slo = |windows: &[&str]| windows.iter().flat_map(|window| objectives(settings, window)).collect();
    vec![
        Group { name: "quebert-recording", interval: Some("30s"), rules: figures(settings) },
        Group { name: "quebert-objectives", interval: Some("30s"), rules: slo(&WINDOWS[..3]) },
        Group { name: "quebert-objectives-long", interval: Some("2m"), rules: slo(&WINDOWS[3..]) },
    ]
}

fn figures(settings: &Settings) -> Vec<Rule> {
    let s = Scope::new(settings);
    let ends =
        s.queue("queue_result:quebert_settlements:rate5m", r#"result=~"succeeded|dead_lettered|expired|filtered""#);
    let rate = |by: &str, selector: String| format!("sum by ({by}) (rate({selector}[5m]))");
    vec![
        record("queue:quebert_deliveries:rate5m", rate("job, queue", s.queue("quebert_deliveries_total", ""))),
        record(
            "queue_result:quebert_settlements:rate5m",
            rate("job, queue, result", s.queue("quebert_settlements_total", "")),
        ),
        record(
            "destination_outcome:quebert_dispatch_attempts:rate5m",
            rate("job, destination, outcome", s.queue("quebert_dispatch_attempts_total", "")),
        ),
        record(
            "destination:quebert_dispatch_errors:ratio_rate5m",
            format!(
                "sum by (job, destination) ({})\n/\n(sum by (job, destination) ({}) > 0)",
                s.any("destination_outcome:quebert_dispatch_attempts:rate5m", r#"outcome!="2xx""#),
                s.any("destination_outcome:quebert_dispatch_attempts:rate5m", ""),
            ),
        ),
        record(
            "queue:quebert_ready:max",
            // Who has no session says what he saw last.
            format!(
                "max by (job, queue) (\n{}\nunless on (job, instance)\n{} == 0\n)",
                s.queue("quebert_queue_ready_messages", ""),
                s.any("quebert_broker_connected", ""),
            ),
        ),
        record(
            "queue:quebert_drain:seconds",
            format!("{}\n/\n(sum by (job, queue) ({ends}) > 0)", s.queue("queue:quebert_ready:max", "")),
        ),
        record(
            "queue:quebert_concurrency:utilization",
            format!(
                "sum by (job, queue) ({})\n/\nsum by (job, queue) ({})",
                s.queue("quebert_tasks_in_flight", ""),
                s.queue("quebert_queue_concurrency_limit", ""),
            ),
        ),
        record(
            "queue:quebert_task_wait_seconds:p99_5m",
            format!(
                "histogram_quantile(0.99, {})",
                rate("job, queue, le", s.queue("quebert_task_wait_seconds_bucket", ""))
            ),
        ),
    ]
}

/// Denominators are `> 0`, so that an idle queue has no ratio instead of one that is no number.
fn objectives(settings: &Settings, window: &str) -> [Rule; 2] {
    let s = Scope::new(settings);
    let sum = |selector: String| format!("sum by (job, queue) (rate({selector}[{window}]))");
    let ended = |results: &str| sum(s.queue("quebert_settlements_total", &format!("result=~\"{results}\"")));
    let wait = |suffix: &str, more: &str| sum(s.queue(&format!("quebert_task_wait_seconds_{suffix}"), more));
    [
        record(
            format!("queue:quebert_slo_delivery_errors:ratio_rate{window}"),
            format!("{}\n/\n({} > 0)", ended("dead_lettered|expired"), ended("succeeded|dead_lettered|expired")),
        ),
        record(
            format!("queue:quebert_slo_wait_errors:ratio_rate{window}"),
            format!("1 -\n{}\n/\n({} > 0)", wait("bucket", &le(settings.objectives.wait_seconds)), wait("count", "")),
        ),
    ]
}

/// Prometheus 2 keeps `le="5"` as it was scraped, Prometheus 3 makes `le="5.0"` of it.
pub(crate) fn le(bound: f64) -> String {
    let text = number(bound);
    if text.contains('.') { format!("le=\"{text}\"") } else { format!("le=~\"{text}([.]0)?\"") }
}

fn record(name: impl Display, expr: String) -> Rule {
    Rule { kind: RuleKind::Record(name.to_string()), expr, labels: Vec::new() }
}

/// A name in a regular expression: a class of one needs no escapes in PromQL, YAML or JSON.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | '{' | '}' | '|' | '$' => {
                out.push('[');
                out.push(c);
                out.push(']');
            }
            c => out.push(c),
        }
    }
    out
}
