//! The metrics of this process: the dispatcher's, with what the kernel and the runtime tell. What the metrics are is said in
//! [`quebert_metrics::list`].

mod process;

pub use quebert_metrics::{CONTENT_TYPE, Metrics, ProcessReading, RuntimeReading, Waiting, list};

/// The text format, with [`CONTENT_TYPE`], as of this moment. Takes some milliseconds per thousand series: call it where
/// blocking is allowed.
pub fn encode(metrics: &Metrics) -> Vec<u8> {
    if let Some(reading) = process::read() {
        metrics.process(&reading);
    }
    if let Some(reading) = runtime() {
        metrics.runtime(&reading);
    }
    metrics.encode()
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
