//! Spans as the JSON of OTLP: `ExportTraceServiceRequest` of `opentelemetry/proto/collector/trace/v1`. Ids are hexadecimal
//! and 64-bit numbers are strings, as the protocol's JSON mapping wants them.

use super::span::Record;
use serde_json::{Value, json};

/// `SPAN_KIND_CLIENT`
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`
const ERROR: u8 = 2;

pub(super) fn document(service: &str, spans: &[Record]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let document = json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", service), text("service.version", version)] },
        "scopeSpans": [{
            "scope": { "name": "quebert", "version": version },
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }] });
    serde_json::to_vec(&document).expect("these are plain data")
}

fn span(record: &Record) -> Value {
    let texts = record.texts.iter().map(|(key, value)| text(key, value));
    // A number of protobuf's int64 is a string in JSON.
    let numbers = record.numbers.iter().map(|(key, n)| json!({ "key": key, "value": { "intValue": n.to_string() } }));
    let mut span = json!({
        "traceId": record.identity.trace.to_string(),
        "spanId": record.identity.id.to_string(),
        "name": record.name,
        "kind": CLIENT,
        "startTimeUnixNano": record.start_nanos.to_string(),
        "endTimeUnixNano": record.end_nanos.to_string(),
        "attributes": texts.chain(numbers).collect::<Vec<_>>(),
        "status": {},
    });
    if let Some(parent) = record.identity.parent {
        span["parentSpanId"] = parent.to_string().into();
    }
    if let Some(state) = &record.state {
        span["traceState"] = state.as_str().into();
    }
    if let Some(error) = &record.error {
        span["status"] = json!({ "code": ERROR, "message": error });
    }
    span
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}
