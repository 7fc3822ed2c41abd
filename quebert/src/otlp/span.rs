//! One attempt as a span: what of a request and its outcome is told, in the names of OpenTelemetry's semantic conventions
//! (HTTP client spans, messaging). Neither bodies nor headers nor values of a query are.

use super::{Identity, nanos};
use quebert_dispatcher::{outcome::Outcome, ports::transport::Request, request::name};
use quebert_wire::Timestamp;
use std::time::Duration;

/// A span that has begun, or has ended.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) identity: Identity,
    pub(super) state: Option<String>,
    pub(super) name: String,
    pub(super) start_nanos: u64,
    pub(super) end_nanos: u64,
    pub(super) texts: Vec<(&'static str, String)>,
    pub(super) numbers: Vec<(&'static str, i64)>,
    /// In words, if it failed.
    pub(super) error: Option<String>,
}

impl Record {
    /// Of a request that is about to be sent.
    pub(super) fn of(request: &Request, identity: Identity, at: Timestamp) -> Self {
        let http = &request.http;
        let header = |name| http.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let queue = header(name::QUEUE).to_owned();
        let mut texts = vec![
            ("http.request.method", http.method().as_str().to_owned()),
            ("url.full", without_secrets(http.uri())),
            ("server.address", http.uri().host().unwrap_or_default().to_owned()),
            ("messaging.system", "quebert".to_owned()),
            ("messaging.operation.name", "dispatch".to_owned()),
            ("messaging.operation.type", "process".to_owned()),
            ("messaging.message.id", header(name::WEBHOOK_ID).replace("%2E", ".").replace("%25", "%")),
        ];
        let number: i64 = header(name::ATTEMPT).parse().unwrap_or(1);
        let mut numbers = vec![("quebert.attempt", number)];
        if let Some(port) = request.destination.as_str().rsplit(':').next().and_then(|port| port.parse().ok()) {
            numbers.push(("server.port", port));
        }
        if number > 1 {
            numbers.push(("http.request.resend_count", number - 1));
        }
        numbers.push(("http.request.body.size", i64::try_from(http.body().len()).unwrap_or(i64::MAX)));
        let name = format!("dispatch {queue}");
        texts.push(("messaging.destination.name", queue));
        let state = Some(header(name::TRACESTATE).to_owned()).filter(|state| !state.is_empty());
        let start_nanos = nanos(at);
        Self { identity, state, name, start_nanos, end_nanos: start_nanos, texts, numbers, error: None }
    }

    /// It was given up after this long, without an outcome.
    pub(super) fn cut(&mut self, took: Duration) {
        self.took(took);
        self.texts.push(("error.type", "cancelled".to_owned()));
        self.error = Some("cut off before its end".to_owned());
    }

    fn took(&mut self, took: Duration) {
        self.end_nanos = self.start_nanos.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// It took this long.
    pub(super) fn end(&mut self, took: Duration, outcome: &Outcome) {
        self.took(took);
        match outcome {
            Outcome::Answered(response) => {
                let status = response.status.as_u16();
                self.numbers.push(("http.response.status_code", status.into()));
                if !response.status.is_success() {
                    self.texts.push(("error.type", status.to_string()));
                    self.error = Some(format!("status {status}"));
                }
            }
            Outcome::Failed(failure) => {
                self.texts.push(("error.type", failure.kind.label().to_owned()));
                self.error = Some(failure.detail.clone());
            }
        }
    }
}

/// A URL as it may be shown to who reads traces: no credentials, and of a query the names alone.
fn without_secrets(url: &http::Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("http");
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    let mut text = format!("{scheme}://{host}{}", url.path());
    for (n, pair) in url.query().into_iter().flat_map(|query| query.split('&')).enumerate() {
        text.push(if n == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) => text.extend([name, "=REDACTED"]),
            // What has no name may be all value.
            None => text.push_str("REDACTED"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_without_credentials_and_values() {
        let told = |url: &'static str| without_secrets(&http::Uri::from_static(url));
        assert_eq!(
            told("https://u:p@h.example:8443/a/b?token=x&n=1"),
            "https://h.example:8443/a/b?token=REDACTED&n=REDACTED"
        );
        assert_eq!(told("http://h/?secret"), "http://h/?REDACTED");
        assert_eq!(told("http://h"), "http://h/");
    }
}
