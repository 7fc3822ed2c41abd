//! The raw form: the request's body is the message's body, binary-safe, and all else stands in `quebert-*` headers.

use crate::{
    Binary, DecodeError, Envelope, EnvelopeRetry, HeaderValue, HeaderValues, Headers, Message, Timestamp, check::shown,
    header, limits::UNKNOWN_FIELDS_MAX,
};
use bytes::Bytes;
use std::ops::Bound;

/// Reads a message that has the header `quebert-url`. Values are not checked, only their types.
pub(crate) fn read(message: &Message) -> Result<Envelope, DecodeError> {
    let mut e = Envelope::default();
    let mut retry = EnvelopeRetry::default();
    // '.' follows '-', so that this is every name that begins with the prefix.
    let ours = message.headers.range::<str, _>((Bound::Included(header::PREFIX), Bound::Excluded("quebert.")));
    for (name, value) in ours {
        let wrong = |what: &str| DecodeError::Undecodable(format!("header \"{}\": {what}", shown(name)));
        let text = || as_text(value).ok_or_else(|| wrong("must be text"));
        let number = || as_number(value).ok_or_else(|| wrong("must be a whole number from 0"));
        let moment =
            |up: bool| as_moment(value, up).ok_or_else(|| wrong("must be RFC 3339 text or epoch milliseconds"));
        match name.as_str() {
            _ if *value == HeaderValue::Null && name != header::URL => {}
            header::URL => e.url = text()?,
            header::METHOD => e.method = Some(text()?),
            header::CREATED_AT => e.created_at = Some(moment(false)?),
            header::NOT_BEFORE => e.not_before = Some(moment(true)?),
            header::DELAY_MS => e.delay_ms = Some(number()?),
            header::EXPIRES_AT => e.expires_at = Some(moment(false)?),
            header::TTL_MS => e.ttl_ms = Some(number()?),
            header::TIMEOUT_MS => e.timeout_ms = Some(number()?),
            header::MAX_ATTEMPTS => {
                let n = u32::try_from(number()?).map_err(|_| wrong("is too large"))?;
                retry.max_attempts = Some(n);
            }
            header::MAX_AGE_MS => retry.max_age_ms = Some(number()?),
            header::BACKOFF_MIN_MS => retry.backoff_min_ms = Some(number()?),
            header::BACKOFF_MAX_MS => retry.backoff_max_ms = Some(number()?),
            header::SCHEDULE_MS => {
                retry.schedule_ms = Some(as_schedule(value).ok_or_else(|| wrong("must be a list of whole numbers"))?);
            }
            header::QUEUE => e.queue = Some(text()?),
            header::FLOW_KEY => e.flow_key = Some(text()?),
            header::CALLBACK => e.callback = Some(text()?),
            _ => {
                if let Some(forward) = name.strip_prefix(header::FORWARD_PREFIX) {
                    let values = as_values(value).ok_or_else(|| wrong("must be text or a list of texts"))?;
                    e.headers.insert(forward.to_owned(), values);
                } else if let Some(label) = name.strip_prefix(header::LABEL_PREFIX) {
                    e.labels.insert(label.to_owned(), text()?);
                } else if !header::BOOKKEEPING.contains(&name.as_str()) && e.unknown_fields.len() < UNKNOWN_FIELDS_MAX {
                    e.unknown_fields.push(shown(name));
                }
            }
        }
    }
    if retry != EnvelopeRetry::default() {
        e.retry = Some(retry);
    }
    if let Some(content_type) = message.content_type.as_ref().filter(|c| !c.is_empty())
        && !e.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"))
    {
        e.headers.insert("content-type".to_owned(), HeaderValues::One(content_type.clone()));
    }
    e.body_base64 = Some(Binary(message.body.clone()));
    Ok(e)
}

/// The longest short string of AMQP 0-9-1, which the content type property is.
const SHORT_STRING_BYTES_MAX: usize = 255;

/// Writes the raw form.
pub(crate) fn write(e: &Envelope) -> Message {
    let mut headers = Headers::new();
    let mut put = |name: &str, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name.to_owned(), value);
        }
    };
    let text = |t: &Option<String>| t.clone().map(HeaderValue::Text);
    let moment = |t: Option<Timestamp>| t.map(|t| HeaderValue::Int(t.as_millis()));
    put(header::URL, Some(HeaderValue::Text(e.url.clone())));
    put(header::METHOD, text(&e.method));
    put(header::CREATED_AT, moment(e.created_at));
    put(header::NOT_BEFORE, moment(e.not_before));
    put(header::DELAY_MS, e.delay_ms.map(number));
    put(header::EXPIRES_AT, moment(e.expires_at));
    put(header::TTL_MS, e.ttl_ms.map(number));
    put(header::TIMEOUT_MS, e.timeout_ms.map(number));
    put(header::QUEUE, text(&e.queue));
    put(header::FLOW_KEY, text(&e.flow_key));
    put(header::CALLBACK, text(&e.callback));
    if let Some(r) = &e.retry {
        put(header::MAX_ATTEMPTS, r.max_attempts.map(|n| number(n.into())));
        put(header::MAX_AGE_MS, r.max_age_ms.map(number));
        put(header::BACKOFF_MIN_MS, r.backoff_min_ms.map(number));
        put(header::BACKOFF_MAX_MS, r.backoff_max_ms.map(number));
        let schedule = r.schedule_ms.as_ref();
        put(header::SCHEDULE_MS, schedule.map(|list| HeaderValue::List(list.iter().copied().map(number).collect())));
    }
    for (name, value) in &e.labels {
        put(&format!("{}{name}", header::LABEL_PREFIX), Some(HeaderValue::Text(value.clone())));
    }
    let (body, default_type) = match (&e.body, &e.body_text, &e.body_base64) {
        (Some(json), _, _) => (json.as_bytes().clone(), Some("application/json")),
        (_, Some(text), _) => (Bytes::from(text.clone()), Some("text/plain; charset=utf-8")),
        (_, _, Some(Binary(bytes))) => (bytes.clone(), None),
        (None, None, None) => (Bytes::new(), None),
    };
    let mut content_type = default_type.map(str::to_owned);
    for (name, values) in &e.headers {
        if name.eq_ignore_ascii_case("content-type") {
            content_type = None;
            if let [one] = values.as_slice()
                && (1..=SHORT_STRING_BYTES_MAX).contains(&one.len())
            {
                content_type = Some(one.clone());
                continue;
            }
        }
        let value = match values {
            HeaderValues::One(value) => HeaderValue::Text(value.clone()),
            HeaderValues::Many(list) => HeaderValue::List(list.iter().cloned().map(HeaderValue::Text).collect()),
        };
        put(&format!("{}{name}", header::FORWARD_PREFIX), Some(value));
    }
    Message { content_type, headers, body, ..Message::default() }
}

/// AMQP has no unsigned 64-bit integers; what doesn't fit is written as text.
fn number(n: u64) -> HeaderValue {
    i64::try_from(n).map_or_else(|_| HeaderValue::Text(n.to_string()), HeaderValue::Int)
}

fn as_text(value: &HeaderValue) -> Option<String> {
    match value {
        HeaderValue::Text(text) => Some(text.clone()),
        HeaderValue::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        _ => None,
    }
}

fn as_values(value: &HeaderValue) -> Option<HeaderValues> {
    match value {
        HeaderValue::List(list) => list.iter().map(as_text).collect::<Option<_>>().map(HeaderValues::Many),
        HeaderValue::Int(n) => Some(HeaderValues::One(n.to_string())),
        other => as_text(other).map(HeaderValues::One),
    }
}

fn as_number(value: &HeaderValue) -> Option<u64> {
    match value {
        HeaderValue::Int(n) => u64::try_from(*n).ok(),
        // Up to 2^53 a float is an exact whole number; some clients send all numbers as floats.
        HeaderValue::Float(n) if n.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(n) => Some(*n as u64),
        other => digits(&as_text(other)?),
    }
}

fn digits(text: &str) -> Option<u64> {
    let text = text.trim();
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn as_moment(value: &HeaderValue, round_up: bool) -> Option<Timestamp> {
    match value {
        HeaderValue::Timestamp(t) => Some(*t),
        HeaderValue::Text(text) if digits(text).is_none() => {
            if round_up { Timestamp::parse_rounding_up(text) } else { text.parse() }.ok()
        }
        other => i64::try_from(as_number(other)?).ok().map(Timestamp::from_millis),
    }
}

fn as_schedule(value: &HeaderValue) -> Option<Vec<u64>> {
    match value {
        HeaderValue::List(list) => list.iter().map(as_number).collect(),
        HeaderValue::Int(_) => Some(vec![as_number(value)?]),
        other => as_text(other)?.split(',').map(digits).collect(),
    }
}
