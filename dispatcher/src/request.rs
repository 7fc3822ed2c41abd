//! The request that an executor gets: what the task says, and the headers that tell it about the attempt.
//!
//! Pure: sends nothing and reads no clock. `docs/executors.md` describes the headers to those who receive them.

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
use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};

/// The names of the headers that Quebert sets, beside the standard ones.
pub mod name {
    use http::HeaderName;

    /// The task's id, the same over retries; Standard Webhooks.
    pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
    /// Seconds since the Unix epoch, of this attempt; Standard Webhooks.
    pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
    /// The signatures, one per key; Standard Webhooks.
    pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
    /// The task's id as a structured string (RFC 9651).
    pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    /// The lane.
    pub const QUEUE: HeaderName = HeaderName::from_static("quebert-queue");
    /// Counted from 1.
    pub const ATTEMPT: HeaderName = HeaderName::from_static("quebert-attempt");
    /// A number, or `unlimited`.
    pub const MAX_ATTEMPTS: HeaderName = HeaderName::from_static("quebert-max-attempts");
    /// Unique for each attempt.
    pub const DELIVERY_ID: HeaderName = HeaderName::from_static("quebert-delivery-id");
    /// `true`, or not there.
    pub const REDELIVERED: HeaderName = HeaderName::from_static("quebert-redelivered");
    /// RFC 3339.
    pub const ENQUEUED_AT: HeaderName = HeaderName::from_static("quebert-enqueued-at");
    /// RFC 3339: when the attempt was due.
    pub const ETA: HeaderName = HeaderName::from_static("quebert-eta");
    /// RFC 3339: when the task expires.
    pub const EXPIRES_AT: HeaderName = HeaderName::from_static("quebert-expires-at");
    /// RFC 3339: when this attempt is given up.
    pub const DEADLINE: HeaderName = HeaderName::from_static("quebert-deadline");
    /// Status of the attempt before.
    pub const PREVIOUS_STATUS: HeaderName = HeaderName::from_static("quebert-previous-status");
    /// Why the task is tried again.
    pub const RETRY_REASON: HeaderName = HeaderName::from_static("quebert-retry-reason");
    /// W3C trace context.
    pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    /// W3C trace context.
    pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
    /// W3C baggage.
    pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
    /// RFC 9530.
    pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
}

/// Makes executor requests from attempts.
#[derive(Debug, Clone)]
pub struct RequestBuilder {
    signer: Option<Signer>,
    user_agent: HeaderValue,
    content_digest: bool,
}

impl Default for RequestBuilder {
    fn default() -> Self {
        Self::new(None)
    }
}

impl RequestBuilder {
    /// With a signer, or without signatures.
    pub fn new(signer: Option<Signer>) -> Self {
        let user_agent = HeaderValue::from_static(concat!("Quebert/", env!("CARGO_PKG_VERSION")));
        Self { signer, user_agent, content_digest: false }
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
    /// The user's headers come first, in their order; names that Quebert sets, hop-by-hop headers and those that
    /// describe the connection are left out, wherever they came from.
    pub fn build(&self, attempt: &Attempt, now: Timestamp) -> Request {
        let task = &attempt.task;
        let mut headers = HeaderMap::with_capacity(task.headers.len() + OWN_HEADERS);
        for (name, value) in &task.headers {
            if !is_reserved(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let mut own = Own { headers, text: BytesMut::with_capacity(OWN_BYTES) };
        self.identity(&mut own, attempt, now);
        position(&mut own, attempt);
        let span = trace(&mut own, &attempt.trace);
        if !own.headers.contains_key(header::USER_AGENT) {
            own.headers.insert(header::USER_AGENT, self.user_agent.clone());
        }
        let mut http = http::Request::new(task.body.clone());
        *http.method_mut() = task.method.clone();
        *http.uri_mut() = task.url.clone();
        *http.headers_mut() = own.headers;
        if let Some(span) = span {
            http.extensions_mut().insert(span);
        }
        Request { destination: task.destination.clone(), http, timeout: attempt.deadline.since(now) }
    }

    /// Which task this is, and the proof that it comes from us.
    fn identity(&self, own: &mut Own, attempt: &Attempt, now: Timestamp) {
        let id = attempt.task.id.as_str();
        let webhook_id = webhook_id(id);
        let seconds = now.as_millis().div_euclid(1000);
        let mut digits = Digits::default();
        let seconds = digits.write(seconds);
        own.set(name::WEBHOOK_ID, |out| out.put_slice(webhook_id.as_bytes()));
        own.set(name::WEBHOOK_TIMESTAMP, |out| out.put_slice(seconds.as_bytes()));
        if let Some(signer) = &self.signer {
            own.set(name::WEBHOOK_SIGNATURE, |out| signer.sign(&webhook_id, seconds, &attempt.task.body, out));
        }
        own.set(name::IDEMPOTENCY_KEY, |out| put_quoted(out, id));
        if self.content_digest {
            let digest = STANDARD.encode(Sha256::digest(&attempt.task.body));
            own.set(name::CONTENT_DIGEST, |out| {
                for part in ["sha-256=:", &digest, ":"] {
                    out.put_slice(part.as_bytes());
                }
            });
        }
    }
}

/// A task's id as it stands in `webhook-id`: the signed text is `id.timestamp.body`, so the id may hold no `.`, which
/// becomes `%2E`. So that no two ids look alike, `%` becomes `%25`. Any other character stays.
pub fn webhook_id(id: &str) -> std::borrow::Cow<'_, str> {
    if id.bytes().any(|b| matches!(b, b'.' | b'%')) {
        id.replace('%', "%25").replace('.', "%2E").into()
    } else {
        id.into()
    }
}

/// Where the task stands among its attempts.
fn position(own: &mut Own, attempt: &Attempt) {
    own.set(name::QUEUE, |out| out.put_slice(attempt.lane.as_bytes()));
    own.number(name::ATTEMPT, attempt.number.into());
    match attempt.max_attempts {
        Some(n) => own.number(name::MAX_ATTEMPTS, n.into()),
        None => own.fixed(name::MAX_ATTEMPTS, "unlimited"),
    }
    own.set(name::DELIVERY_ID, |out| out.put_slice(attempt.delivery_id.as_bytes()));
    if attempt.redelivered {
        own.fixed(name::REDELIVERED, "true");
    }
    for (name, at) in [
        (name::ENQUEUED_AT, attempt.enqueued_at),
        (name::ETA, attempt.due_at),
        (name::EXPIRES_AT, attempt.expires_at),
        (name::DEADLINE, Some(attempt.deadline)),
    ] {
        if let Some(at) = at {
            own.set(name, |out| put_rfc3339(out, at));
        }
    }
    if let Some(status) = attempt.previous_status {
        own.number(name::PREVIOUS_STATUS, status.into());
    }
    if let Some(reason) = &attempt.retry_reason {
        own.set(name::RETRY_REASON, |out| out.put_slice(reason.as_bytes()));
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

/// The headers so far, and one buffer that all our values share, so that they take two allocations and not twenty.
struct Own {
    headers: HeaderMap,
    text: BytesMut,
}

impl Own {
    /// Sets what `write` writes. A value that no header can hold is left out: the attempt matters more than its label.
    fn set(&mut self, name: HeaderName, write: impl FnOnce(&mut BytesMut)) {
        write(&mut self.text);
        if let Ok(value) = HeaderValue::from_maybe_shared(self.text.split().freeze()) {
            self.headers.insert(name, value);
        }
    }

    fn number(&mut self, name: HeaderName, n: i64) {
        self.set(name, |out| out.put_slice(Digits::default().write(n).as_bytes()));
    }

    fn fixed(&mut self, name: HeaderName, text: &'static str) {
        self.headers.insert(name, HeaderValue::from_static(text));
    }
}

/// Room for the digits of one number.
#[derive(Default)]
struct Digits([u8; 20]);

impl Digits {
    fn write(&mut self, n: i64) -> &str {
        let (mut rest, mut at) = (n.unsigned_abs(), self.0.len());
        loop {
            at -= 1;
            self.0[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if n < 0 {
            at -= 1;
            self.0[at] = b'-';
        }
        std::str::from_utf8(&self.0[at..]).expect("ASCII digits")
    }
}

/// A structured string (RFC 9651, section 3.3.3). Ids are visible ASCII, which it can hold.
fn put_quoted(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|b| matches!(b, b'"' | b'\\')) {
        out.put_slice(&rest[..at]);
        out.put_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
    out.put_u8(b'"');
}

/// `2026-11-23T22:30:00.123Z`. Moments outside of the years 0 to 9999 are held at the nearest of these.
fn put_rfc3339(out: &mut BytesMut, at: Timestamp) {
    /// 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z.
    const YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;
    let ms = at.as_millis().clamp(*YEARS.start(), *YEARS.end());
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let mut text = *b"yyyy-mm-ddThh:mm:ss.mmmZ";
    for (value, place) in [
        (year, 0..4),
        (month, 5..7),
        (day, 8..10),
        (of_day / 3_600_000, 11..13),
        (of_day / 60_000 % 60, 14..16),
        (of_day / 1000 % 60, 17..19),
        (of_day % 1000, 20..23),
    ] {
        let mut rest = value;
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
    }
    out.put_slice(&text);
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Names that are not the user's to set: ours, and those that belong to the connection. Decoding has filtered them
/// already; a mediator may have put some back.
fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    ["quebert-", "webhook-", "signature"].iter().any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "host"
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

/// Headers that we set ourselves, at most: identity 5, position 11, trace 3, user agent.
const OWN_HEADERS: usize = 20;

/// Bytes of their values in the common case: ids 3 x 40, times 4 x 24, trace 55, a signature 47, numbers.
const OWN_BYTES: usize = 384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::Secret;
    use bytes::Bytes;
    use http::{Method, Uri};
    use quebert_wire::{Destination, RetryOverrides, Task, TaskId};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

    fn attempt(id: &str) -> Attempt {
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

    #[test]
    fn no_moment_and_no_number_breaks_the_format() {
        for (ms, expect) in [
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (-2_203_891_200_000, "1900-03-01T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let mut out = BytesMut::new();
            put_rfc3339(&mut out, Timestamp::from_millis(ms));
            assert_eq!(out, expect.as_bytes(), "{ms}");
        }
        for n in [0, 7, -7, 10, i64::MIN, i64::MAX] {
            assert_eq!(Digits::default().write(n), n.to_string());
        }
    }
}
