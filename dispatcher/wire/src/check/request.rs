//! The rules of the HTTP request: URL, method, headers, body. Headers that the dispatcher itself sets are not the user's.

use super::{
    Report, shown,
    violation::ViolationKind::{Malformed, NotAllowed, Reserved},
};
use crate::{
    Binary, Destination, DestinationError, HeaderValues, Json, ascii::is_visible, header, limits::METHOD_BYTES_MAX,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header::CONTENT_TYPE};
use std::collections::BTreeMap;

/// Hop-by-hop, or about the message's framing and routing.
const HOP_BY_HOP: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Set by the dispatcher. Trace context comes in by the message's own headers.
const SET_BY_US: [&str; 7] =
    ["baggage", "content-digest", "idempotency-key", "signature", "signature-input", "traceparent", "tracestate"];
const SET_BY_US_PREFIXES: [&str; 2] = [header::PREFIX, "webhook-"];

pub(super) fn target(field: &str, url: String, report: &mut Report<'_>) -> Option<(Uri, Destination)> {
    let max = report.limits.url_bytes;
    if url.len() > max {
        report.add(NotAllowed, field, &format!("{} bytes, at most {max} are allowed", url.len()));
        return None;
    }
    // `Uri` would take other bytes as they are.
    if !is_visible(&url) {
        report.add(Malformed, field, "has a character that must be percent-encoded (or punycode in the host)");
        return None;
    }
    // `Uri` can't read all URLs of other schemes (`mailto:`, `file:///`), but they are understood.
    let other_scheme = !["http:", "https:"].iter().any(|usual| url.starts_with(usual))
        && url
            .split_once(':')
            .is_some_and(|(scheme, _)| !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https"));
    let error = if other_scheme { DestinationError::Scheme } else { DestinationError::NotAUrl };
    let parsed = Uri::try_from(url).map_err(|_| error);
    match parsed.and_then(|uri| Destination::of(&uri).map(|destination| (uri, destination))) {
        Ok(target) => Some(target),
        Err(error) => {
            let allowed = !matches!(error, DestinationError::Scheme | DestinationError::Credentials);
            report.add(if allowed { Malformed } else { NotAllowed }, field, &error.to_string());
            None
        }
    }
}

pub(super) fn method(method: Option<&str>, report: &mut Report<'_>) -> Method {
    let Some(text) = method else { return Method::POST };
    if text.len() > METHOD_BYTES_MAX {
        let message = format!("{} bytes, at most {METHOD_BYTES_MAX} are allowed", text.len());
        report.add(NotAllowed, "method", &message);
        return Method::POST;
    }
    if ["CONNECT", "TRACE"].iter().any(|m| text.eq_ignore_ascii_case(m)) {
        report.add(NotAllowed, "method", "must not be CONNECT or TRACE");
        return Method::POST;
    }
    // Methods are case-sensitive, but nobody means `post` (the Fetch standard corrects these, too).
    let known = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::GET, Method::HEAD, Method::OPTIONS];
    if let Some(known) = known.into_iter().find(|m| text.eq_ignore_ascii_case(m.as_str())) {
        return known;
    }
    Method::from_bytes(text.as_bytes()).unwrap_or_else(|_| {
        report.add(Malformed, "method", "is not an HTTP method");
        Method::POST
    })
}

pub(super) fn headers(typed: &BTreeMap<String, HeaderValues>, report: &mut Report<'_>) -> HeaderMap {
    let count: usize = typed.values().map(|v| v.as_slice().len()).sum();
    if count > report.limits.headers {
        let message = format!("{count} entries, at most {} are allowed", report.limits.headers);
        report.add(NotAllowed, "headers", &message);
        return HeaderMap::new();
    }
    let lengths = typed.iter().flat_map(|(name, values)| values.as_slice().iter().map(|v| name.len() + v.len()));
    let bytes: usize = lengths.sum();
    if bytes > report.limits.header_bytes {
        let message = format!("{bytes} bytes, at most {} are allowed", report.limits.header_bytes);
        report.add(NotAllowed, "headers", &message);
        return HeaderMap::new();
    }
    // One more for the content type. A configured limit may be larger than what the map can take.
    let mut headers = HeaderMap::with_capacity((count + 1).min(128));
    for (name, values) in typed {
        let field = || format!("headers.{}", shown(name));
        let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
            report.add(Malformed, &field(), "is not a header name");
            continue;
        };
        let reserved = is_reserved(parsed.as_str());
        if reserved && report.strict {
            report.add(Reserved, &field(), "is set by the dispatcher, or belongs to the connection");
        }
        for value in values.as_slice() {
            match HeaderValue::from_bytes(value.as_bytes()) {
                Ok(value) if !reserved => {
                    if headers.try_append(parsed.clone(), value).is_err() {
                        report.add(NotAllowed, "headers", "too many entries");
                        return headers;
                    }
                }
                Ok(_) => {}
                Err(_) => report.add(Malformed, &field(), "has a control character"),
            }
        }
    }
    headers
}

fn is_reserved(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
        || SET_BY_US.contains(&name)
        || SET_BY_US_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

pub(super) fn body(
    json: Option<Json>,
    text: Option<String>,
    binary: Option<Binary>,
    headers: &mut HeaderMap,
    report: &mut Report<'_>,
) -> Bytes {
    let (body, field, content_type) = match (json, text, binary) {
        (None, None, None) => return Bytes::new(),
        (Some(json), None, None) => (json.into_bytes(), "body", Some("application/json")),
        (None, Some(text), None) => (text.into(), "body_text", Some("text/plain; charset=utf-8")),
        (None, None, Some(Binary(bytes))) => (bytes, "body_base64", None),
        _ => {
            report.add(Malformed, "body", "only one of \"body\", \"body_text\" and \"body_base64\" is allowed");
            return Bytes::new();
        }
    };
    let max = report.limits.body_bytes;
    if body.len() > max {
        report.add(NotAllowed, field, &format!("{} bytes, at most {max} are allowed", body.len()));
    }
    if let Some(content_type) = content_type
        && let Ok(entry) = headers.try_entry(CONTENT_TYPE)
    {
        entry.or_insert(HeaderValue::from_static(content_type));
    }
    body
}
