//! Over TLS: whom it trusts, how it shows who it is, and HTTP/2.

use super::common::{LONG, SHORT, answer, failure, get, is, post};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Version;
use quebert_broker_adapter::{
    http::{AddressGuard, HttpConfig, HttpTransport, TcpConnector, TlsClient, TlsError, TlsSettings},
    testing::executor::{Executor, Recorded, Reply},
};
use quebert_dispatcher::{outcome::FailureKind, ports::transport::Request};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::sync::Arc;

/// A certificate authority of a test's own.
struct Authority {
    pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key, both PEM.
    fn sign(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn sign_for(&self, host: &str) -> (String, String) {
        self.sign(&CertificateParams::new(vec![host.to_owned()]).unwrap())
    }

    /// The server's side, for clients that may have to show a certificate of `clients`.
    fn server(&self, identity: &(String, String), alpn: &[&str], clients: Option<&Self>) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = rustls::pki_types::CertificateDer::pem_slice_iter(identity.0.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(identity.1.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key).unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    fn trusted(&self) -> TlsSettings {
        TlsSettings {
            platform_roots: false,
            extra_ca_pem: Some(self.pem.clone().into_bytes()),
            ..TlsSettings::default()
        }
    }
}

fn transport(settings: &TlsSettings) -> HttpTransport<TcpConnector> {
    let connector = TcpConnector::new(AddressGuard::off(), TlsClient::new(settings).unwrap());
    HttpTransport::new(connector, HttpConfig { connect_timeout: LONG, ..HttpConfig::default() })
}

async fn executor(config: Arc<ServerConfig>) -> Executor {
    Executor::builder().tls(config).start(|_| Reply::body(200, "secure")).await
}

#[tokio::test]
async fn a_trusted_executor_gets_its_requests_over_one_connection() {
    let ca = Authority::new();
    let executor = executor(ca.server(&ca.sign_for("localhost"), &["http/1.1"], None)).await;
    let transport = transport(&ca.trusted());
    for _ in 0..3 {
        let response = answer(&transport, post(&executor.url("/"), vec![b'x'; 100_000])).await;
        assert_eq!(response.body, "secure");
    }
    assert_eq!((executor.counts().requests, executor.counts().connections), (3, 1));
    assert_eq!(executor.requests()[0].header("host"), format!("localhost:{}", executor.address().port()));
}

#[tokio::test]
async fn an_executor_that_can_not_prove_who_it_is_gets_nothing() {
    let (ca, other) = (Authority::new(), Authority::new());
    let mut expired = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (expired.not_before, expired.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    for (what, identity) in [
        ("unknown authority", other.sign_for("localhost")),
        ("another host", ca.sign_for("example.com")),
        ("expired", ca.sign(&expired)),
    ] {
        let executor = executor(ca.server(&identity, &["http/1.1"], None)).await;
        let failed = failure(&transport(&ca.trusted()), get(&executor.url("/"))).await;
        assert_eq!((failed.kind, failed.reached), (FailureKind::Tls, false), "{what}: {failed:?}");
        assert_eq!(executor.counts().requests, 0, "{what}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    let executor = Executor::start(|_| Reply::Raw("HTTP/1.1 400 Bad Request\r\n\r\n".into())).await;
    let url = format!("https://localhost:{}/", executor.address().port());
    let closing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ca = Authority::new();
    let transport = transport(&ca.trusted());
    let close = async { drop(closing.accept().await.unwrap()) };
    let to_closing = format!("https://localhost:{}/", closing.local_addr().unwrap().port());
    let (failed, ()) = tokio::join!(failure(&transport, get(&to_closing)), close);
    is(&failed, FailureKind::Tls, false);
    // One that never says anything: the client's hello is no HTTP head, so the executor waits for the rest.
    let connector = TcpConnector::new(AddressGuard::off(), TlsClient::new(&ca.trusted()).unwrap());
    let hasty = HttpTransport::new(connector, HttpConfig { connect_timeout: SHORT, ..HttpConfig::default() });
    let failed = failure(&hasty, get(&url)).await;
    is(&failed, FailureKind::ConnectTimeout, false);
    assert!(failed.detail.contains("TLS"), "{failed:?}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let (ca, clients) = (Authority::new(), Authority::new());
    let executor = executor(ca.server(&ca.sign_for("localhost"), &["http/1.1"], Some(&clients))).await;

    let failed = failure(&transport(&ca.trusted()), get(&executor.url("/"))).await;
    is(&failed, FailureKind::Tls, false);

    let (chain, key) = clients.sign_for("dispatcher");
    let identity_pem = Some((chain.into_bytes(), key.into_bytes()));
    answer(&transport(&TlsSettings { identity_pem, ..ca.trusted() }), get(&executor.url("/"))).await;
    assert_eq!(executor.counts().requests, 1);
}

#[tokio::test]
async fn http_2_shares_one_connection_among_all_requests() {
    let ca = Authority::new();
    let config = ca.server(&ca.sign_for("localhost"), &["h2", "http/1.1"], None);
    let executor = Executor::builder().tls(config).start(|r| Reply::body(200, r.body.clone()).after(SHORT)).await;
    let transport = transport(&ca.trusted());
    let send = |i: usize| {
        let mut request = post(&executor.url("/path?q"), i.to_string());
        request.http.headers_mut().insert("host", "elsewhere".parse().unwrap());
        answer(&transport, request)
    };
    let responses = join_all((0..50).map(send)).await;
    for (i, response) in responses.iter().enumerate() {
        assert_eq!(response.body, i.to_string(), "each gets its own answer");
    }
    assert_eq!((executor.counts().requests, executor.counts().connections), (50, 1));
    let request = &executor.requests()[0];
    assert_eq!((request.version, request.target.as_str()), (Version::HTTP_2, "/path?q"));
    assert!(!request.headers.contains_key("host"));
}

#[tokio::test]
async fn http_2_names_the_host_as_http_1_does_however_it_is_spelt() {
    let ca = Authority::new();
    let mut named = Vec::new();
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let config = ca.server(&ca.sign_for("localhost"), alpn, None);
        let executor = Executor::builder().tls(config).start(|_| Reply::status(200)).await;
        let transport = transport(&ca.trusted());
        let port = executor.address().port();
        for spelt in [format!("https://LocalHost:{port}/a"), format!("https://localhost:0{port}/a?b")] {
            answer(&transport, post(&spelt, Bytes::new())).await;
        }
        let of = |r: &Recorded| r.authority.clone().unwrap_or_else(|| r.header("host").to_owned());
        named.extend(executor.requests().iter().map(|r| (r.target.clone(), of(r).replace(&port.to_string(), "port"))));
    }
    let one = [("/a".to_owned(), "localhost:port".to_owned()), ("/a?b".to_owned(), "localhost:port".to_owned())];
    assert_eq!(named, [one.clone(), one].concat());
}

#[tokio::test]
async fn http_1_is_spoken_where_http_2_is_not_wanted() {
    let ca = Authority::new();
    let executor = executor(ca.server(&ca.sign_for("localhost"), &["h2", "http/1.1"], None)).await;
    answer(&transport(&TlsSettings { h2: false, ..ca.trusted() }), get(&executor.url("/"))).await;
    assert_eq!(executor.requests()[0].version, Version::HTTP_11);
}

#[tokio::test]
async fn a_timeout_over_http_2_costs_only_its_own_request() {
    let ca = Authority::new();
    let config = ca.server(&ca.sign_for("localhost"), &["h2"], None);
    let script = |r: &Recorded| match r.target.as_str() {
        "/hang" => Reply::Hang,
        _ => Reply::status(200),
    };
    let executor = Executor::builder().tls(config).start(script).await;
    let transport = transport(&ca.trusted());
    answer(&transport, get(&executor.url("/"))).await;
    let request = Request { timeout: SHORT, ..get(&executor.url("/hang")) };
    is(&failure(&transport, request).await, FailureKind::Timeout, true);
    answer(&transport, get(&executor.url("/"))).await;
    assert_eq!((executor.counts().requests, executor.counts().connections), (3, 1));
}

#[tokio::test]
async fn a_lost_http_2_connection_is_a_reset_and_the_next_request_makes_another() {
    let ca = Authority::new();
    let config = ca.server(&ca.sign_for("localhost"), &["h2"], None);
    let executor = Executor::builder().tls(config.clone()).start(|_| Reply::Hang).await;
    let transport = transport(&ca.trusted());
    let url = executor.url("/");
    let address = executor.address();
    let sending = tokio::spawn({
        let (transport, url) = (transport.clone(), url.clone());
        async move { failure(&transport, get(&url)).await }
    });
    executor.wait_for(1, LONG).await;
    drop(executor);
    is(&sending.await.unwrap(), FailureKind::ResetBeforeResponse, true);

    let executor = Executor::builder().address(address).tls(config).start(|_| Reply::status(200)).await;
    answer(&transport, get(&url)).await;
    assert_eq!(executor.counts().requests, 1);
}

#[test]
fn unusable_tls_settings_are_refused_without_showing_them() {
    let ca = Authority::new();
    let (chain, key) = ca.sign_for("dispatcher");
    let (_, foreign_key) = ca.sign_for("dispatcher");
    let with = |chain: &str, key: &str| {
        let identity_pem = Some((chain.as_bytes().to_vec(), key.as_bytes().to_vec()));
        TlsSettings { identity_pem, ..ca.trusted() }
    };
    let refusal = |settings: &TlsSettings| TlsClient::new(settings).unwrap_err();
    assert!(matches!(refusal(&with("junk", &key)), TlsError::Certificate("client certificate")));
    assert!(matches!(refusal(&with(&chain, "junk")), TlsError::Key));
    assert!(matches!(refusal(&with(&chain, &foreign_key)), TlsError::Identity(_)));
    let no_ca = TlsSettings { extra_ca_pem: Some(Vec::new()), ..TlsSettings::default() };
    assert!(matches!(refusal(&no_ca), TlsError::Certificate("certificate authority")));
    assert!(TlsClient::new(&with(&chain, &key)).is_ok());
    assert!(!format!("{:?}", with(&chain, &key)).contains("PRIVATE"));
}
