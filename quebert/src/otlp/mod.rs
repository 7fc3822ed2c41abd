//! Spans of attempts for a collector, over OTLP/HTTP with JSON (OpenTelemetry protocol 1.x, "OTLP/HTTP"). A transport in
//! front of the real one sees what is sent and what came of it; the dispatcher waits for nothing and knows nothing of it.
//!
//! It is our own, since the format is one JSON document and the client is there already: the libraries for it would bring
//! thirteen crates.

mod export;
mod json;
mod span;
#[cfg(test)]
mod tests;

use crate::{config::OtlpConfig, intake::now};
use export::Exporter;
use quebert_broker_adapter::http::TlsError;
use quebert_dispatcher::{
    outcome::Outcome,
    ports::{
        BoxFuture,
        transport::{Request, Transport},
    },
    request::name,
    trace::{Span, SpanId, TraceId, TraceParent},
};
use quebert_wire::Timestamp;
use sha2::{Digest as _, Sha256};
use span::Record;
use std::sync::Arc;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

/// Spans that wait for their export; those beyond are dropped.
const WAITING_MAX: usize = 8192;

/// A transport that makes a span of each request.
pub struct Traced {
    inner: Arc<dyn Transport>,
    spans: Spans,
    begin_percent: u8,
}

/// Takes spans, and never waits.
#[derive(Clone)]
struct Spans(mpsc::Sender<Record>);

/// Puts a span around each request of `inner`. The task exports until the transport is gone, and what was waiting then.
/// Must be called within a tokio runtime.
///
/// # Errors
/// When the system's certificates can't be used, for a collector that speaks TLS.
pub fn traced(inner: Arc<dyn Transport>, config: &OtlpConfig) -> Result<(Arc<Traced>, JoinHandle<()>), TlsError> {
    let (spans, waiting) = mpsc::channel(WAITING_MAX);
    let exporter = Exporter::new(config)?;
    let exporting = tokio::spawn(exporter.run(waiting));
    Ok((Arc::new(Traced { inner, spans: Spans(spans), begin_percent: config.begin_percent }), exporting))
}

impl Transport for Traced {
    fn send(&self, mut request: Request) -> BoxFuture<'static, Outcome> {
        let span = match request.http.extensions_mut().remove::<Span>() {
            Some(span) if !span.parent.is_sampled() => return self.inner.send(request),
            Some(span) => Identity { trace: span.parent.trace, parent: Some(span.parent.span), id: span.id },
            None => match self.begin(&mut request) {
                Some(begun) => begun,
                None => return self.inner.send(request),
            },
        };
        let record = Record::of(&request, span, now());
        let open = Open { record: Some(record), began: Instant::now(), spans: self.spans.clone() };
        let answer = self.inner.send(request);
        Box::pin(async move {
            let outcome = answer.await;
            open.end(&outcome);
            outcome
        })
    }
}

/// A span that has begun. Dropped, it is one of a request that was cut off: by a stop, say.
struct Open {
    record: Option<Record>,
    began: Instant,
    spans: Spans,
}

impl Open {
    fn end(mut self, outcome: &Outcome) {
        if let Some(mut record) = self.record.take() {
            record.end(self.began.elapsed(), outcome);
            self.spans.take(record);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.cut(self.began.elapsed());
            self.spans.take(record);
        }
    }
}

/// Which span of which trace.
#[derive(Debug, Clone, Copy)]
struct Identity {
    trace: TraceId,
    parent: Option<SpanId>,
    id: SpanId,
}

impl Traced {
    /// Begins a trace for a task that came without one. Its id follows from the task's, so that all attempts are in one
    /// trace, whichever dispatcher makes them.
    fn begin(&self, request: &mut Request) -> Option<Identity> {
        let task = request.http.headers().get(name::WEBHOOK_ID)?;
        let digest = Sha256::digest(task.as_bytes());
        let mut trace = [0; 16];
        trace.copy_from_slice(&digest[..16]);
        // Other bytes decide, so that whether a trace is begun says nothing of its id.
        if u32::from(digest[16]) * 100 >= u32::from(self.begin_percent) * 256 || trace == [0; 16] {
            return None;
        }
        let id = SpanId(rand::random::<u64>().max(1).to_be_bytes());
        let begun = Identity { trace: TraceId(trace), parent: None, id };
        let mut header = Vec::with_capacity(55);
        TraceParent { trace: begun.trace, span: id, flags: 1 }.write(&mut header);
        let header = http::HeaderValue::from_bytes(&header).expect("digits and dashes");
        request.http.headers_mut().insert(name::TRACEPARENT, header);
        Some(begun)
    }
}

impl Spans {
    fn take(&self, record: Record) {
        // Full: the collector is away or slow, which the exporter tells. The dispatcher does not wait for it.
        drop(self.0.try_send(record));
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0).saturating_mul(1_000_000)
}
