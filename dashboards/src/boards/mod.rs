//! Which dashboards there are, and the words that their queries are made of. How a dashboard is written down is not said
//! here.

mod capacity;
mod destination;
mod overview;
mod queue;
pub(crate) mod rabbitmq;
mod retries;
mod runtime;

use crate::{
    board::{Board, Variable},
    settings::Settings,
};
use std::fmt::Display;

/// All dashboards.
pub fn all(settings: &Settings) -> Vec<Board> {
    vec![
        overview::board(settings),
        queue::board(settings),
        destination::board(settings),
        retries::board(settings),
        capacity::board(settings),
        runtime::board(settings),
        rabbitmq::board(settings),
    ]
}

/// Matchers of everything.
pub(crate) const S: &str = r#"job=~"$job",instance=~"$instance""#;
/// Of what has a queue.
const SQ: &str = r#"job=~"$job",instance=~"$instance",queue=~"$queue""#;
/// Of what has a destination.
const SD: &str = r#"job=~"$job",instance=~"$instance",destination=~"$destination""#;
/// Of what the recording rules made for each queue: they have no instance.
const RQ: &str = r#"job=~"$job",queue=~"$queue""#;
/// The only window that goes with every zoom.
const R: &str = "[$__rate_interval]";

/// `sum by (by) (rate(metric{of}[..]))`.
fn rate(by: &str, metric: &str, of: &str) -> String {
    sum(by, &format!("rate({metric}{{{of}}}{R})"))
}

fn sum(by: &str, of: &str) -> String {
    if by.is_empty() { format!("sum({of})") } else { format!("sum by ({by}) ({of})") }
}

/// A quantile of a histogram.
fn quantile(q: impl Display, by: &str, metric: &str, of: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("{by}, le") };
    format!("histogram_quantile({q}, {})", rate(&by, &format!("{metric}_bucket"), of))
}

/// Of what every process tells: our dispatchers' alone, since "All" jobs are all that Prometheus scrapes.
fn of_dispatchers(of: &str) -> String {
    format!("({of} and on (job, instance) quebert_build_info{{{S}}})")
}

/// What a heat map shows.
fn buckets(metric: &str, of: &str) -> String {
    sum("le", &format!("increase({metric}_bucket{{{of}}}{R})"))
}

/// Matchers and one more.
fn and(of: &str, more: &str) -> String {
    format!("{of},{more}")
}

fn variable(name: &'static str, label: &'static str, query: &str) -> Variable {
    Variable { name, label, query: query.to_owned(), regex: String::new() }
}

/// The variables that every board has.
fn common(settings: &Settings) -> Vec<Variable> {
    let of = settings.job.replace('\\', "\\\\").replace('"', "\\\"");
    vec![
        variable("job", "Job", &format!("label_values(quebert_build_info{{job=~\"{of}\"}}, job)")),
        variable("instance", "Instance", "label_values(quebert_build_info{job=~\"$job\"}, instance)"),
    ]
}

fn queues(settings: &Settings) -> Variable {
    let mut queue = variable(
        "queue",
        "Queue",
        "label_values(quebert_queue_concurrency_limit{job=~\"$job\",instance=~\"$instance\"}, queue)",
    );
    if !settings.queues.is_empty() {
        queue.regex = format!("/^({})$/", settings.queues.join("|").replace('.', "[.]"));
    }
    queue
}

fn destinations() -> Variable {
    variable(
        "destination",
        "Destination",
        "label_values(quebert_dispatch_duration_seconds_count{job=~\"$job\",instance=~\"$instance\"}, destination)",
    )
}
