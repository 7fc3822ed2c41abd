//! What the tests of the HTTP transport share.

use bytes::Bytes;
use http::{Method, Uri};
use quebert_broker_adapter::http::{AddressGuard, HttpConfig, HttpTransport, TcpConnector, TlsClient, TlsSettings};
use quebert_dispatcher::{
    outcome::{Failure, FailureKind, Outcome, Response},
    ports::transport::{Request, Transport},
};
use quebert_wire::Destination;
use std::time::Duration;

/// Far longer than anything here takes, also on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Long enough for loopback to answer, short enough to wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

pub(crate) fn no_tls() -> TlsClient {
    TlsClient::new(&TlsSettings { platform_roots: false, ..TlsSettings::default() }).unwrap()
}

pub(crate) fn transport() -> HttpTransport<TcpConnector> {
    with(HttpConfig::default())
}

pub(crate) fn with(config: HttpConfig) -> HttpTransport<TcpConnector> {
    HttpTransport::new(TcpConnector::new(AddressGuard::off(), no_tls()), config)
}

pub(crate) fn get(url: &str) -> Request {
    request(Method::GET, url, Bytes::new())
}

pub(crate) fn post(url: &str, body: impl Into<Bytes>) -> Request {
    request(Method::POST, url, body.into())
}

pub(crate) fn request(method: Method, url: &str, body: Bytes) -> Request {
    let uri: Uri = url.parse().unwrap();
    let destination = Destination::of(&uri).unwrap();
    let http = http::Request::builder().method(method).uri(uri).body(body).unwrap();
    Request { destination, http, timeout: LONG }
}

pub(crate) async fn answer(transport: &impl Transport, request: Request) -> Response {
    match transport.send(request).await {
        Outcome::Answered(response) => response,
        Outcome::Failed(failure) => panic!("no answer: {failure:?}"),
    }
}

pub(crate) async fn failure(transport: &impl Transport, request: Request) -> Failure {
    match transport.send(request).await {
        Outcome::Failed(failure) => failure,
        Outcome::Answered(response) => panic!("an answer: {response:?}"),
    }
}

#[track_caller]
pub(crate) fn is(failure: &Failure, kind: FailureKind, reached: bool) {
    assert_eq!((failure.kind, failure.reached), (kind, reached), "{failure:?}");
    assert!(!failure.detail.is_empty());
}
