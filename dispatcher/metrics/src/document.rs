//! What is written from the list: `docs/metrics.md` for people, and the golden file that makes a rename show in a review.

use crate::list::{Kind, METRICS, Slo, Spec};
use std::fmt::Write as _;

/// One line for each metric: name, type, unit, labels with their bounds, help, and the buckets of a histogram.
pub fn golden() -> String {
    let mut text = String::new();
    for spec in METRICS {
        let labels: Vec<_> = spec.labels.iter().map(|l| format!("{}={}", l.name, l.bound.words())).collect();
        let _ = writeln!(
            text,
            "{} {} [{}] {{{}}} {}{}",
            spec.name,
            spec.kind.name(),
            spec.unit,
            labels.join(", "),
            spec.help,
            buckets(spec)
        );
    }
    text
}

/// `docs/metrics.md`.
pub fn markdown() -> String {
    let mut text = String::from(HEAD);
    for (title, kind) in [("Counters", "counter"), ("Histograms", "histogram"), ("Gauges", "gauge")] {
        let _ = write!(text, "\n## {title}\n\n| name | unit | labels | meaning |\n| --- | --- | --- | --- |\n");
        for spec in METRICS.iter().filter(|s| s.kind.name() == kind) {
            let labels = spec.labels.iter().map(|l| format!("`{}`", l.name)).collect::<Vec<_>>().join(", ");
            let help = spec.help.replace("_other", "`_other`").replace("not_before", "`not_before`");
            let _ = writeln!(text, "| `{}` | {} | {labels} | {help}{} |", spec.name, spec.unit, buckets(spec));
        }
    }
    text.push_str("\n## Labels\n\n| metric | label | values |\n| --- | --- | --- |\n");
    for spec in METRICS {
        for label in spec.labels.iter().filter(|l| !matches!(l.name, "queue" | "destination")) {
            let values = label.bound.words().replace('|', ", ");
            let _ = writeln!(text, "| `{}` | `{}` | {values} |", spec.name, label.name);
        }
    }
    text.push_str(TAIL);
    text
}

fn buckets(spec: &Spec) -> String {
    match spec.kind {
        Kind::Histogram(buckets, slo) => {
            let buckets = buckets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let merged = if slo == Slo::Merged { ", and your thresholds" } else { "" };
            format!(" Buckets: {buckets}{merged}")
        }
        _ => String::new(),
    }
}

const HEAD: &str = "\
# Metrics

<!-- Made from dispatcher/metrics/src/list.rs by `UPDATE_DOCS=1 cargo test -p quebert-metrics --lib`. -->

`quebert run` serves these at `/metrics` of its admin address (`admin.listen`, by default 127.0.0.1:9464): in the
classic text format of Prometheus (`text/plain; version=0.0.4`), or as OpenMetrics 1.0 for who asks for it by `Accept`, as
Prometheus does. Only the latter has **exemplars**: a bucket of the wait, the duration, the attempts, the body or the
request time names a task that it counted since it was last asked (`task_id`), and the trace that came with it
(`trace_id`, from `traceparent`). Prometheus keeps them with `--enable-feature=exemplar-storage`.

* `queue` is the name of a lane in the config, never the broker's name of the queue.
* `destination` is an executor's origin (`https://example.com:443`), which is what limits apply to. The first
  `metrics.max_destinations` have a label of their own, the rest is `_other`, and `quebert_metrics_label_overflow_total`
  counts how often. Gauges of destinations have no `_other`.
* No metric carries a task's id, a URL, or the name of a host of ours.
* Label sets that are known at the start begin at 0, so that `increase()` sees the first event; those of a destination
  begin at 0 when the first request from that queue to it starts.
* `metrics.slo` names the thresholds of your service levels, such as `[\"2s\", \"2m\"]`. They become buckets of the
  histograms marked below, so that the part of tasks within one is told exactly: `bucket{le=\"2\"} / count`.
* **Conservation law**: for each queue, `quebert_deliveries_total - quebert_settlements_total =
  quebert_tasks_in_flight + quebert_tasks_buffered`, at all times. After a drained run both counters are equal.
  A lasting difference means that tasks were lost track of.
";

const TAIL: &str = "
## What to know of some

* `quebert_destination_circuit_open`: a request that runs into its time limit, or silence for longer than
  `destinations.patience` while a queue that others use as well waits for it, makes a destination distrusted. It keeps
  one slot in such a queue, and the next answer of any kind ends that; nothing is refused meanwhile.
* `quebert_queue_head_age_seconds`: the embedded broker knows it. RabbitMQ does not tell how old the head of a queue is
  without handing it out. There it is the time since the latest of: the moment when the task that got its slot last had
  entered the queue, and the moment when the queue was last seen empty. What waits behind those can't be older. 0 while
  the queue is empty.
* `quebert_retry_pending_messages`: on RabbitMQ the delay queues are shared by all work queues, and it can't say whose
  messages wait in them, so there is no series. RabbitMQ's own exporter tells their sum.
* `quebert_publish_confirms_total{purpose=\"enqueue\"}`: the broker's answers to tasks that came in through the API. Who
  publishes to the broker past the dispatcher gets the confirmation himself, and is not counted.
* There are no native histograms, and no `_created` samples: a scraper that takes those for metrics of their own would
  have twice the series.
";
