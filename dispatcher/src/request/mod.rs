//! The request that an executor gets: what the task says, and the headers that tell it about the attempt.
//!
//! Pure: sends nothing and reads no clock. `docs/executors.md` describes the headers to those who receive them.

pub mod name;
mod template;
mod text;

pub use text::webhook_id;

use crate::{
    ports::{
        mediator::{Attempt, TraceContext},
        transport::Request,
    },
    signing::Signer,
    trace::{Span, SpanId, TraceParent},
    wire::Timestamp,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use sha2::{Digest, Sha256};
use template::Template;
use text::{Dates, Digits, Values};

/// Makes executor requests from attempts.
#[derive(Debug, Clone)]
pub struct RequestBuilder {
    signer: Option<Signer>,
    user_agent: HeaderValue,
    content_digest: bool,
    /// One for each lane that has sent something.
    templates: Vec<Template>,
    second: Second,
    dates: Dates,
}

impl Default for RequestBuilder {
    fn default() -> Self {
        Self::new(None)
    }
}

impl RequestBuilder {
    /// With a signer, or without signatures.
    pub fn new(signer: Option<Signer>) -> Self {
        Self {
            signer,
            user_agent: HeaderValue::from_static(concat!("Quebert/", env!("CARGO_PKG_VERSION"))),
            content_digest: false,
            templates: Vec::new(),
            second: Second::default(),
            dates: Dates::default(),
        }
    }

    /// Whether requests carry `Content-Digest` (RFC 9530); off unless said.
    #[must_use]
    pub fn content_digest(mut self, on: bool) -> Self {
        self.content_digest = on;
        self
    }

    /// The request of this attempt, complete but for `Host` and `Content-Length`. Its time limit ends at the attempt's
    /// deadline.
    ///
    /// The user's headers keep their order; names that Quebert sets, hop-by-hop headers and those that describe the
    /// connection are left out, wherever they came from.
    pub fn build(&mut self, attempt: &Attempt, now: Timestamp) -> Request {
        self.request(attempt, attempt.task.url.clone(), attempt.task.body.clone(), now)
    }

    /// The same, for an attempt that no mediator looks at afterwards: its URL and body are moved into the request.
    pub fn build_from(&mut self, attempt: &mut Attempt, now: Timestamp) -> Request {
        let (url, body) = (std::mem::take(&mut attempt.task.url), std::mem::take(&mut attempt.task.body));
        self.request(attempt, url, body, now)
    }

    fn request(&mut self, attempt: &Attempt, url: Uri, body: Bytes, now: Timestamp) -> Request {
        let task = &attempt.task;
        let mut values = Values::new();
        let second = self.second.value(now);
        let headers = self.template(attempt).fill(attempt, &second, &mut values);
        let mut own = Own { headers, values };
        own.add_users(&task.headers);
        self.prove(&mut own, attempt, &body, &second);
        self.tell(&mut own, attempt);
        let span = trace(&mut own, &attempt.trace);
        let mut http = http::Request::new(body);
        *http.method_mut() = task.method.clone();
        *http.uri_mut() = url;
        *http.headers_mut() = own.headers;
        if let Some(span) = span {
            http.extensions_mut().insert(span);
        }
        Request { destination: task.destination.clone(), http, timeout: attempt.deadline.since(now) }
    }

    fn template(&mut self, attempt: &Attempt) -> &mut Template {
        let at = self.templates.iter().position(|template| template.is_of(&attempt.lane)).unwrap_or_else(|| {
            self.templates.push(Template::new(attempt, self.user_agent.clone()));
            self.templates.len() - 1
        });
        &mut self.templates[at]
    }

    /// That it comes from us, and whole.
    fn prove(&self, own: &mut Own, attempt: &Attempt, body: &Bytes, second: &HeaderValue) {
        if let Some(signer) = &self.signer {
            let second = second.to_str().expect("digits");
            let id = webhook_id(attempt.task.id.as_str());
            own.set(name::WEBHOOK_SIGNATURE, |out| signer.sign(&id, second, body, out));
        }
        if self.content_digest {
            let digest = STANDARD.encode(Sha256::digest(body));
            own.set(name::CONTENT_DIGEST, |out| {
                for part in ["sha-256=:", &digest, ":"] {
                    out.put_slice(part.as_bytes());
                }
            });
        }
    }

    /// What is known of some attempts only.
    fn tell(&mut self, own: &mut Own, attempt: &Attempt) {
        if attempt.redelivered {
            own.headers.insert(name::REDELIVERED, HeaderValue::from_static("true"));
        }
        for (name, at) in [(name::ETA, attempt.due_at), (name::EXPIRES_AT, attempt.expires_at)] {
            if let Some(at) = at {
                own.set(name, |out| out.put_slice(self.dates.text(at)));
            }
        }
        if let Some(status) = attempt.previous_status {
            let status = own.values.number(status.into());
            own.headers.insert(name::PREVIOUS_STATUS, status);
        }
        if let Some(reason) = &attempt.retry_reason {
            own.set(name::RETRY_REASON, |out| out.put_slice(reason.as_bytes()));
        }
    }
}

/// Passes trace context on, with a span of this attempt. None is made up: a trace begins where somebody records it.
fn trace(own: &mut Own, trace: &TraceContext) -> Option<Span> {
    let parent = trace.traceparent.as_deref().and_then(TraceParent::parse);
    let span = parent.map(|parent| Span { parent, id: SpanId(trace.span_id) });
    if let Some(Span { parent, id }) = span {
        own.set(name::TRACEPARENT, |out| TraceParent { span: id, ..parent }.write(out));
        if let Some(state) = &trace.tracestate {
            own.set(name::TRACESTATE, |out| out.put_slice(state.as_bytes()));
        }
    }
    if let Some(baggage) = &trace.baggage {
        own.set(name::BAGGAGE, |out| out.put_slice(baggage.as_bytes()));
    }
    span
}

/// The headers so far.
struct Own {
    headers: HeaderMap,
    values: Values,
}

impl Own {
    fn add_users(&mut self, users: &HeaderMap) {
        if users.is_empty() {
            return;
        }
        if users.contains_key(header::USER_AGENT) {
            self.headers.remove(header::USER_AGENT);
        }
        for (name, value) in users {
            if !is_reserved(name) {
                self.headers.append(name.clone(), value.clone());
            }
        }
    }

    /// Sets what `write` writes. A value that no header can hold is left out: the attempt matters more than its label.
    fn set(&mut self, name: HeaderName, write: impl FnOnce(&mut BytesMut)) {
        if let Some(value) = self.values.value(write) {
            self.headers.insert(name, value);
        }
    }
}

/// The seconds since the Unix epoch as text, which all requests of the same second share.
#[derive(Debug, Clone)]
struct Second {
    of: i64,
    text: HeaderValue,
}

impl Default for Second {
    fn default() -> Self {
        Self { of: 0, text: HeaderValue::from_static("0") }
    }
}

impl Second {
    fn value(&mut self, now: Timestamp) -> HeaderValue {
        let of = now.as_millis().div_euclid(1000);
        if of != self.of {
            let text = HeaderValue::from_str(Digits::default().write(of)).expect("digits can stand in a header");
            *self = Self { of, text };
        }
        self.text.clone()
    }
}

/// Names that are not the user's to set: ours, and those that belong to the connection. Decoding has filtered them
/// already; a mediator may have put some back.
fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    ["quebert-", "webhook-", "signature"].iter().any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "idempotency-key"
                | "host"
                | "content-length"
                | "transfer-encoding"
                | "connection"
                | "keep-alive"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "upgrade"
                | "expect"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::Secret;
    use http::Method;
    use quebert_wire::{Destination, RetryOverrides, Task, TaskId};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

    pub(super) fn attempt(id: &str) -> Attempt {
        let url = Uri::from_static("http://example.com/path?q=1");
        Attempt {
            lane: "high".into(),
            number: 3,
            max_attempts: Some(20),
            redelivered: false,
            previous_status: None,
            retry_reason: None,
            delivery_id: "d-1".into(),
            enqueued_at: None,
            due_at: None,
            expires_at: None,
            deadline: NOW.saturating_add(Duration::from_secs(30)),
            trace: TraceContext::default(),
            task: Task {
                id: TaskId::new(id).unwrap(),
                id_given: true,
                destination: Destination::of(&url).unwrap(),
                url,
                method: Method::POST,
                headers: HeaderMap::new(),
                body: Bytes::from_static(b"{\"a\":1}"),
                created_at: None,
                not_before: None,
                expires_at: None,
                timeout: None,
                retry: RetryOverrides::default(),
                queue: None,
                flow_key: None,
                callback: None,
                labels: std::collections::BTreeMap::new(),
            },
        }
    }

    fn sent(attempt: &Attempt) -> Vec<String> {
        lines(&RequestBuilder::default().build(attempt, NOW))
    }

    fn lines(request: &Request) -> Vec<String> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<_> = request.http.headers().iter().map(line).collect();
        lines.sort();
        lines
    }

    #[track_caller]
    fn has(attempt: &Attempt, line: &str) {
        let sent = sent(attempt);
        assert!(sent.iter().any(|l| l == line), "{line} is not among {sent:#?}");
    }

    #[track_caller]
    fn lacks(attempt: &Attempt, name: &HeaderName) {
        let request = RequestBuilder::default().build(attempt, NOW);
        assert_eq!(request.http.headers().get(name), None, "{name}");
    }

    #[test]
    fn a_plain_task_is_sent_as_it_is_with_the_headers_of_its_attempt() {
        let request = RequestBuilder::default().build(&attempt("t-1"), NOW);
        assert_eq!(request.http.method(), Method::POST);
        assert_eq!(request.http.uri(), "http://example.com/path?q=1");
        assert_eq!(request.http.body(), "{\"a\":1}");
        assert_eq!(request.destination.as_str(), "http://example.com:80");
        assert_eq!(request.timeout, Duration::from_secs(30));
        assert_eq!(
            lines(&request),
            [
                "idempotency-key: \"t-1\"",
                "quebert-attempt: 3",
                "quebert-deadline: 2023-11-14T22:13:50.123Z",
                "quebert-delivery-id: d-1",
                "quebert-max-attempts: 20",
                "quebert-queue: high",
                concat!("user-agent: Quebert/", env!("CARGO_PKG_VERSION")),
                "webhook-id: t-1",
                "webhook-timestamp: 1700000000",
            ]
        );
    }

    #[test]
    fn what_is_moved_into_the_request_is_the_same_as_what_is_copied() {
        let secret: Secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
        let mut builder = RequestBuilder::new(Signer::new([&secret])).content_digest(true);
        let mut attempt = attempt("t-1");
        let copied = builder.build(&attempt, NOW);
        let moved = builder.build_from(&mut attempt, NOW);
        assert_eq!(lines(&moved), lines(&copied));
        assert_eq!((moved.http.uri(), moved.http.body()), (copied.http.uri(), copied.http.body()));
        assert_eq!((moved.destination, moved.timeout), (copied.destination, copied.timeout));
        assert!(attempt.task.body.is_empty(), "it was moved");
    }

    #[test]
    fn what_is_known_of_the_attempt_is_told() {
        let mut a = attempt("t-1");
        a.max_attempts = None;
        a.redelivered = true;
        a.previous_status = Some(503);
        a.retry_reason = Some("5xx".into());
        a.enqueued_at = Some(Timestamp::from_millis(0));
        a.due_at = Some(Timestamp::from_millis(951_827_696_007));
        a.expires_at = Some(Timestamp::from_millis(4_102_444_799_999));
        for line in [
            "quebert-max-attempts: unlimited",
            "quebert-redelivered: true",
            "quebert-previous-status: 503",
            "quebert-retry-reason: 5xx",
            "quebert-enqueued-at: 1970-01-01T00:00:00.000Z",
            "quebert-eta: 2000-02-29T12:34:56.007Z",
            "quebert-expires-at: 2099-12-31T23:59:59.999Z",
        ] {
            has(&a, line);
        }
    }

    #[test]
    fn the_signature_covers_id_time_and_body() {
        let secret: Secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
        let request = RequestBuilder::new(Signer::new([&secret])).build(&attempt("msg_1"), NOW);
        // The known answer of signing.rs: the same id, second and body.
        assert_eq!(request.http.headers()[name::WEBHOOK_SIGNATURE], "v1,AMaOha7DUT/0J0JMycRuYOBSvbx3WtwLd2khXXbaVj4=");
    }

    #[test]
    fn ids_with_dots_are_escaped_so_that_no_two_look_alike() {
        has(&attempt("order.17"), "webhook-id: order%2E17");
        has(&attempt("order%2E17"), "webhook-id: order%252E17");
        has(&attempt("order.17"), "idempotency-key: \"order.17\"");
        has(&attempt("a\"b\\c"), r#"idempotency-key: "a\"b\\c""#);
    }

    #[test]
    fn each_attempt_is_a_span_of_its_own_in_the_producers_trace() {
        let mut a = attempt("t");
        a.trace = TraceContext {
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            tracestate: Some("vendor=1".into()),
            baggage: Some("user=7".into()),
            span_id: [1, 2, 3, 4, 0xab, 0xcd, 0xef, 0xff],
        };
        has(&a, "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-01020304abcdefff-01");
        has(&a, "tracestate: vendor=1");
        has(&a, "baggage: user=7");
    }

    #[test]
    fn a_trace_is_never_made_up() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            let mut a = attempt("t");
            a.trace.traceparent = Some(bad.into());
            a.trace.tracestate = Some("vendor=1".into());
            lacks(&a, &name::TRACEPARENT);
            lacks(&a, &name::TRACESTATE);
        }
        lacks(&attempt("t"), &name::TRACEPARENT);
    }

    #[test]
    fn reserved_names_are_ours_whatever_the_user_sets() {
        let mut a = attempt("t");
        for (name, value) in [
            ("quebert-attempt", "99"),
            ("quebert-made-up", "1"),
            ("webhook-signature", "v1,forged"),
            ("signature-input", "sig=()"),
            ("idempotency-key", "mine"),
            ("host", "evil"),
            ("content-length", "1"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("te", "trailers"),
            ("x-mine", "kept"),
            ("user-agent", "mine/1"),
        ] {
            a.task.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        a.task.headers.append("x-mine", HeaderValue::from_static("twice"));
        let sent = sent(&a);
        for gone in ["99", "made-up", "forged", "sig=()", ": mine", "evil", "content-length", "chunked", "close", "te:"]
        {
            assert!(!sent.iter().any(|l| l.contains(gone) && !l.contains("mine/1")), "{gone} is among {sent:#?}");
        }
        has(&a, "quebert-attempt: 3");
        has(&a, "x-mine: kept");
        has(&a, "x-mine: twice");
        has(&a, "user-agent: mine/1");
    }

    #[test]
    fn a_content_digest_is_there_when_asked_for() {
        lacks(&attempt("t"), &name::CONTENT_DIGEST);
        let request = RequestBuilder::default().content_digest(true).build(&attempt("t"), NOW);
        // printf '{"a":1}' | openssl dgst -sha256 -binary | base64
        assert_eq!(
            request.http.headers()[name::CONTENT_DIGEST],
            "sha-256=:AVq9f1zFei3ZS3WQ8ErYCEJzkF7jPsXOvq5iJ2qX+GI=:"
        );
    }

    #[test]
    fn a_deadline_that_has_passed_leaves_no_time() {
        let late = RequestBuilder::default().build(&attempt("t"), NOW.saturating_add(Duration::from_secs(60)));
        assert_eq!(late.timeout, Duration::ZERO);
    }
}
