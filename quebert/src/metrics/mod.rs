//! The metrics of this process: the dispatcher's, with what the kernel and the runtime tell. What the metrics are is said in
//! [`quebert_metrics::list`].

pub mod accept;
mod process;

pub use quebert_metrics::{CONTENT_TYPE, Format, Metrics, ProcessReading, RuntimeReading, Waiting, list};

/// The text for a scraper, as of this moment. Takes about a millisecond per thousand series: call it where blocking is
/// allowed.
pub fn encode(metrics: &Metrics, format: Format) -> String {
    if let Some(reading) = process::read() {
        metrics.process(&reading);
    }
    if let Some(reading) = runtime() {
        metrics.runtime(&reading);
    }
    metrics.text(format)
}

/// Of the runtime that this thread belongs to, if it does to one.
fn runtime() -> Option<RuntimeReading> {
    let handle = tokio::runtime::Handle::try_current().ok()?;
    let runtime = handle.metrics();
    let busy = (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker));
    Some(RuntimeReading { alive_tasks: runtime.num_alive_tasks(), busy: busy.collect() })
}

#[cfg(test)]
mod tests;
