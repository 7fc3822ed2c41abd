//! The API as the commands use it: where it is, who asks, requests and their answers. It repeats a request only if
//! nothing of it was sent; when to ask again is the commands' to say.

use super::Failure;
use crate::{
    api::types::Problem,
    config::{Config, Secret},
};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use quebert_broker_adapter::http::{AddressGuard, Connect as _, Target, TcpConnector, TlsClient, TlsSettings};
use quebert_wire::Destination;
use serde::de::DeserializeOwned;
use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// Limit for connecting, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Limit of one request. RabbitMQ gives out dead letters one by one, so a listing of many takes its time.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The variable that holds the API's address.
pub(super) const API_VARIABLE: &str = "QUEBERT_API";
/// The variable that holds the token.
const TOKEN_VARIABLE: &str = "QUEBERT_TOKEN";

/// Where the API is, and who asks.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ApiArgs {
    /// Address of the API [env: QUEBERT_API] [default: the config's api.listen]
    #[arg(long, global = true, value_name = "URL", help_heading = "API")]
    api: Option<String>,
    /// File that holds the API token; without, it is taken from the variable QUEBERT_TOKEN
    #[arg(long, global = true, value_name = "FILE", help_heading = "API")]
    token_file: Option<String>,
}

impl ApiArgs {
    /// Whether an address was given by a flag.
    pub(super) fn is_given(&self) -> bool {
        self.api.is_some()
    }

    /// The API that is meant. The config is loaded only if nothing else says where it is.
    pub(super) fn client(&self, config: impl FnOnce() -> Result<Config, Failure>) -> Result<Client, Failure> {
        let variable = || std::env::var(API_VARIABLE).ok().filter(|value| !value.is_empty());
        let address = match self.api.clone().or_else(variable) {
            Some(address) => address,
            None => {
                let listen = config()?.api.listen.ok_or_else(|| {
                    Failure::Usage("the config serves no API (api.listen is empty); say --api URL or --broker".into())
                })?;
                format!("http://{}", reachable(listen))
            }
        };
        let token = match &self.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| Failure::Usage(format!("read the token file {path}: {e}")))?;
                Some(text.trim().to_owned())
            }
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        Client::new(&address, token.filter(|token| !token.is_empty()).map(Secret::new)).map_err(Failure::Usage)
    }
}

/// Where to find what listens on every address.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nothing was sent.
    #[error("{0}")]
    Connect(String),
    /// Sent, and without an answer: it may have been done or not.
    #[error("{0}")]
    Lost(String),
    /// The API says no.
    #[error("{}", told(problem))]
    Problem {
        /// What it says.
        problem: Box<Problem>,
        /// When to come again.
        retry_after: Option<Duration>,
    },
    /// Somebody before the API answers that it is away: whether the request has reached it is not known.
    #[error("status {status}, and not by Quebert's API")]
    Between {
        /// Of the answer.
        status: StatusCode,
        /// When to come again.
        retry_after: Option<Duration>,
    },
    /// Somebody else answers there.
    #[error("the answer is not one of Quebert's API: {0}")]
    Strange(String),
}

impl ClientError {
    /// Whether the same request may do better later, and when.
    pub(super) fn try_again(&self) -> Option<Duration> {
        match self {
            Self::Connect(_) | Self::Lost(_) => Some(Duration::from_millis(500)),
            Self::Problem { problem, retry_after } if is_passing(problem) => {
                Some(retry_after.unwrap_or(Duration::from_secs(1)))
            }
            Self::Between { retry_after, .. } => Some(retry_after.unwrap_or(Duration::from_secs(1))),
            _ => None,
        }
    }
}

/// Whether a problem goes by itself: the broker is away or full, or the first request with a key is under way.
pub(super) fn is_passing(problem: &Problem) -> bool {
    matches!(problem.status, 429 | 503) || problem.code == "idempotency_under_way"
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Connect(_) | ClientError::Lost(_) | ClientError::Between { .. } => {
                Self::ApiAway(Box::new(error))
            }
            ClientError::Problem { problem, .. } => Self::Refused { status: problem.status, text: told(&problem) },
            ClientError::Strange(_) => Self::other("API", error),
        }
    }
}

/// `code: detail`, and what is wrong with which field.
pub(super) fn told(problem: &Problem) -> String {
    let mut text = format!("{}: {}", problem.code, problem.detail);
    for error in problem.errors.iter().filter(|error| !problem.detail.contains(&error.detail)) {
        let _ = write!(text, "\n  {}: {}", error.field, error.detail);
    }
    super::table::plain_lines(&text)
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: Method,
    path: String,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Call {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: Bytes::new(), headers: Vec::new() }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// With a body.
    pub(super) fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    pub(super) fn json(self, value: &impl serde::Serialize) -> Self {
        self.body("application/json", serde_json::to_vec(value).expect("these are plain data"))
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With what is given of a query.
    pub(super) fn query<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, Option<String>)>) -> Self {
        for (name, value) in pairs {
            let Some(value) = value else { continue };
            let sign = if self.path.contains('?') { '&' } else { '?' };
            let _ = write!(self.path, "{sign}{name}={}", escaped(&value));
        }
        self
    }
}

/// A text as a part of a path or a query.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// A client of one API.
#[derive(Debug)]
pub(super) struct Client {
    target: Target,
    /// As given, for people; it holds no secret.
    address: String,
    host: HeaderValue,
    /// What stands before `/v1`.
    prefix: String,
    authorization: Option<HeaderValue>,
    connector: TcpConnector,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// For an address such as `http://host:9460` or `https://host/quebert`.
    pub(super) fn new(address: &str, token: Option<Secret>) -> Result<Self, String> {
        let whole = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let wrong = |why: &str| format!("the API's address {why}; it is one like http://127.0.0.1:9460");
        let url: http::Uri = whole.parse().map_err(|_| wrong("is no URL"))?;
        let authority = url.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("must not hold credentials"));
        }
        if url.query().is_some() {
            return Err(wrong("must not have a query"));
        }
        let destination = Destination::of(&url).map_err(|_| wrong("must begin with http:// or https://"))?;
        let target = Target::of(&destination).ok_or_else(|| wrong("names no host"))?;
        let authorization = match token {
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                    .map_err(|_| "the API token has characters that no token has".to_owned())?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        // Certificates are read from disk, which takes longer than all else here. SSL_CERT_FILE names others.
        let settings = TlsSettings { platform_roots: target.tls, h2: false, ..TlsSettings::default() };
        let tls = TlsClient::new(&settings).map_err(|e| e.to_string())?;
        let everywhere = ["0.0.0.0/0", "::/0"].map(|range| range.parse().expect("a range: it is a constant"));
        Ok(Self {
            host: HeaderValue::try_from(authority.as_str()).map_err(|_| wrong("names no host"))?,
            prefix: url.path().trim_end_matches('/').to_owned(),
            address: destination.as_str().to_owned(),
            target,
            authorization,
            connector: TcpConnector::new(AddressGuard::allowing(everywhere), tls),
            idle: Mutex::default(),
        })
    }

    /// Where it is, for people.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Asks, and reads the answer as JSON.
    pub(super) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let body = self.send(call).await?;
        serde_json::from_slice(&body).map_err(|e| ClientError::Strange(e.to_string()))
    }

    /// Asks, and takes the answer as text.
    pub(super) async fn text(&self, call: Call) -> Result<String, ClientError> {
        let body = self.send(call).await?;
        String::from_utf8(body.into()).map_err(|e| ClientError::Strange(e.to_string()))
    }

    /// Asks for something to be done, of which there is nothing to tell.
    pub(super) async fn tell(&self, call: Call) -> Result<(), ClientError> {
        self.send(call).await.map(drop)
    }

    /// Asks somebody who is not our API: the answer's body, whatever its status.
    pub(super) async fn plain(&self, call: Call) -> Result<Bytes, ClientError> {
        self.exchange(call).await.map(|(_, _, body)| body)
    }

    /// Opens a stream of events. The answer's head must come within the limit; its body may go on for ever.
    pub(super) async fn stream(&self, call: Call) -> Result<Incoming, ClientError> {
        let mut connection = self.connect().await?;
        let request = self.request(call.header(header::ACCEPT, HeaderValue::from_static("text/event-stream")));
        let answer = timeout(REQUEST_LIMIT, connection.send_request(request)).await;
        let answer = answer.map_err(|_| self.lost("no answer in time"))?.map_err(|e| self.lost(&words(&e)))?;
        let (head, body) = answer.into_parts();
        if head.status == StatusCode::OK {
            // The connection lives as long as its body.
            return Ok(body);
        }
        let body = self.whole(body).await?;
        Err(refused(head.status, &head.headers, &body))
    }

    async fn send(&self, call: Call) -> Result<Bytes, ClientError> {
        let (status, headers, body) = self.exchange(call).await?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &headers, &body)) }
    }

    async fn exchange(&self, call: Call) -> Result<(StatusCode, HeaderMap, Bytes), ClientError> {
        let exchange = async {
            let (response, connection) = self.respond(call).await?;
            let (head, body) = response.into_parts();
            let body = self.whole(body).await?;
            if connection.is_ready() || !connection.is_closed() {
                self.idle().push(connection);
            }
            Ok((head.status, head.headers, body))
        };
        timeout(REQUEST_LIMIT, exchange).await.map_err(|_| self.lost("no answer in time"))?
    }

    async fn respond(&self, call: Call) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), ClientError> {
        let mut request = self.request(call);
        // Connections that the API has closed meanwhile give the request back.
        while let Some(mut connection) = self.take_idle() {
            if connection.ready().await.is_err() {
                continue;
            }
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.lost(&words(error.error()))),
                },
            }
        }
        let mut connection = self.connect().await?;
        match connection.send_request(request).await {
            Ok(response) => Ok((response, connection)),
            Err(error) => Err(self.lost(&words(&error))),
        }
    }

    fn request(&self, call: Call) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        let path = format!("{}{}", self.prefix, call.path);
        *request.uri_mut() = path.parse().expect("what could be wrong in it is escaped");
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        let agent = concat!("quebert/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        headers.extend(self.authorization.clone().map(|value| (header::AUTHORIZATION, value)));
        headers.extend(call.headers);
        request
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let failed = |e: &dyn std::fmt::Display| ClientError::Connect(format!("{}: {e}", self.address));
        let connected = self.connector.connect(&self.target, CONNECT_LIMIT).await.map_err(|e| failed(&e))?;
        let (sender, connection) = http1::handshake(connected.io).await.map_err(|e| failed(&e))?;
        // Ends with its sender. What goes wrong reaches whoever waits for the answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, ClientError> {
        match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(e) => Err(self.lost(&format!("the answer broke off: {e}"))),
        }
    }

    fn lost(&self, why: &str) -> ClientError {
        ClientError::Lost(format!("{}: {why}", self.address))
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Full<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error of hyper's with its cause, which it leaves out.
fn words(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ClientError {
    let retry_after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = retry_after.map(Duration::from_secs);
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Problem { problem: Box::new(problem), retry_after },
        // As proxies answer while what is behind them starts, has ended or takes too long.
        Err(_) if matches!(status.as_u16(), 502..=504) => ClientError::Between { status, retry_after },
        Err(_) => ClientError::Strange(format!("status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_leave_out_the_scheme_and_have_a_path() {
        let client = |address: &str| Client::new(address, None).unwrap();
        let plain = client("127.0.0.1:9460");
        assert_eq!((plain.target.tls, plain.target.port, &*plain.prefix), (false, 9460, ""));
        let behind = client("https://host.example/quebert/");
        assert_eq!((behind.target.tls, behind.target.port), (true, 443));
        assert_eq!(behind.request(Call::get("/v1/queues")).uri(), "/quebert/v1/queues");
        assert_eq!(behind.host, "host.example");
        assert_eq!(client("http://[::1]:9460").target.host, "::1");
    }

    #[test]
    fn what_is_no_address_of_an_api_is_refused() {
        for wrong in ["", "ftp://host/", "http://user:hunter2@host/", "http://host/?a=b", "http://"] {
            let error = Client::new(wrong, None).unwrap_err();
            assert!(error.contains("http://127.0.0.1:9460") && !error.contains("hunter2"), "{wrong}: {error}");
        }
        assert!(Client::new("http://host", Some(Secret::new("a\nb"))).is_err());
    }

    #[test]
    fn the_token_shows_nowhere() {
        let client = Client::new("http://host", Some(Secret::new("hunter2"))).unwrap();
        assert_eq!(client.request(Call::get("/")).headers()["authorization"], "Bearer hunter2");
        assert!(!format!("{client:?}").contains("hunter2"));
        assert!(!format!("{:?}", client.request(Call::get("/"))).contains("hunter2"));
    }

    #[test]
    fn what_listens_everywhere_is_asked_on_loopback() {
        let at = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(at("[::]:1"), "[::1]:1");
        assert_eq!(at("10.0.0.1:1"), "10.0.0.1:1");
    }

    #[test]
    fn queries_are_escaped() {
        let call = Call::get("/v1/dead").query([
            ("queue", Some("a b".to_owned())),
            ("reason", None),
            ("url_prefix", Some("http://h/?x=é&y".to_owned())),
        ]);
        assert_eq!(call.path, "/v1/dead?queue=a%20b&url_prefix=http%3A%2F%2Fh%2F%3Fx%3D%C3%A9%26y");
    }

    #[test]
    fn a_problem_is_told_with_its_fields_and_without_control_characters() {
        let body = br#"{"type":"t","title":"T","status":422,"code":"invalid_task","detail":"2 fields\u001b[2J",
            "errors":[{"field":"url","detail":"missing"},{"field":"ttl_ms","detail":"0"}]}"#;
        let error = refused(StatusCode::UNPROCESSABLE_ENTITY, &HeaderMap::new(), body);
        assert_eq!(error.to_string(), "invalid_task: 2 fields\\u{1b}[2J\n  url: missing\n  ttl_ms: 0");
        assert!(error.try_again().is_none());
        let html = refused(StatusCode::FORBIDDEN, &HeaderMap::new(), b"<html>");
        assert!(matches!(html, ClientError::Strange(_)) && html.try_again().is_none());
    }

    #[test]
    fn a_proxy_without_its_api_is_asked_again() {
        let after = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static("7"))]);
        for status in [502, 503, 504] {
            let refused = |headers| refused(StatusCode::from_u16(status).unwrap(), headers, b"<html>");
            assert_eq!(refused(&after).try_again(), Some(Duration::from_secs(7)));
            assert_eq!(refused(&HeaderMap::new()).try_again(), Some(Duration::from_secs(1)));
        }
    }
}
