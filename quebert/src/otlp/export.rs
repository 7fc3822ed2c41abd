//! Sends spans to a collector, many at a time. What it refuses, or does not take within the limit, is lost and told of:
//! spans are for looking, tasks are not kept for them.

use super::{json, span::Record};
use crate::config::OtlpConfig;
use http::{Method, header};
use quebert_broker_adapter::http::{
    AddressGuard, HttpConfig, HttpTransport, TcpConnector, TlsClient, TlsError, TlsSettings,
};
use quebert_dispatcher::{
    outcome::Outcome,
    ports::transport::{Request, Transport},
};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, warn};

/// Most spans of one request.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// Limit of one request.
const LIMIT: Duration = Duration::from_secs(10);
/// After that long a batch is tried once more, if the collector was away or said so.
const AGAIN: Duration = Duration::from_secs(1);
/// A collector that is away is told of that often.
const TELL_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Exporter {
    transport: HttpTransport<TcpConnector>,
    config: OtlpConfig,
    told_at: Option<Instant>,
}

impl Exporter {
    pub(super) fn new(config: &OtlpConfig) -> Result<Self, TlsError> {
        let tls = config.url.scheme_str() == Some("https");
        let tls = TlsClient::new(&TlsSettings { platform_roots: tls, h2: false, ..TlsSettings::default() })?;
        // The collector is the operator's own, wherever it is.
        let everywhere = ["0.0.0.0/0", "::/0"].map(|range| range.parse().expect("a range: it is a constant"));
        let connector = TcpConnector::new(AddressGuard::allowing(everywhere), tls);
        let transport = HttpTransport::new(connector, HttpConfig::default());
        Ok(Self { transport, config: config.clone(), told_at: None })
    }

    /// Until nobody can make spans any more, and none waits.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Record>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while let Some(first) = waiting.recv().await {
            batch.push(first);
            let until = sleep_until(Instant::now() + BATCH_WAIT);
            tokio::pin!(until);
            while batch.len() < BATCH_MAX {
                tokio::select! {
                    record = waiting.recv() => match record {
                        Some(record) => batch.push(record),
                        None => break,
                    },
                    () = until.as_mut() => break,
                }
            }
            self.export(&batch).await;
            batch.clear();
        }
    }

    async fn export(&mut self, batch: &[Record]) {
        let body = bytes::Bytes::from(json::document(&self.config.service, batch));
        for last in [false, true] {
            let outcome = self.transport.send(self.request(body.clone())).await;
            match &outcome {
                Outcome::Answered(response) if response.status.is_success() => {
                    return debug!(spans = batch.len(), "exported");
                }
                // The protocol names those that may pass.
                Outcome::Answered(response) if !matches!(response.status.as_u16(), 429 | 502..=504) => {
                    return self.tell(batch.len(), &format!("status {}", response.status.as_u16()));
                }
                Outcome::Answered(response) if last => {
                    return self.tell(batch.len(), &format!("status {}", response.status.as_u16()));
                }
                Outcome::Failed(failure) if last => return self.tell(batch.len(), &failure.detail),
                _ => sleep(AGAIN).await,
            }
        }
    }

    fn request(&self, body: bytes::Bytes) -> Request {
        let mut http = http::Request::new(body);
        *http.method_mut() = Method::POST;
        *http.uri_mut() = self.config.url.clone();
        http.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        Request { destination: self.config.destination.clone(), http, timeout: LIMIT }
    }

    fn tell(&mut self, lost: usize, why: &str) {
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told_at = Some(Instant::now());
            warn!(lost, why, "the collector takes no spans; they are lost");
        }
    }
}
