//! `amqps://` to a real RabbitMQ: whom it trusts, how it shows who it is, and what it says when that fails.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_broker_adapter::{
    amqp::{ConfigError, Identity, LaneTopology, OpenError, RabbitAdmin, RabbitBroker, RabbitConfig, Tls, Topology},
    testing::{PrivateRabbit, rabbit::free_port},
};
use quebert_dispatcher::ports::broker::{Broker, BrokerEvent, Source, Target};
use quebert_wire::Message;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::OnceCell, time::timeout};

const LIMIT: Duration = Duration::from_secs(60);

/// The broker's certificate is for this name and no address.
const NAME: &str = "localhost";

/// A certificate authority of a test's own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of another name than what it signs, which would count as self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        Self { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for a host (or a client of that name) and its key, both PEM.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn identity(&self) -> Identity {
        let (certificate, key) = self.sign("client");
        Identity::Pem { certificate: certificate.into(), key: key.into() }
    }
}

/// A node with a TLS listener.
struct Node {
    /// Holds the node.
    _rabbit: PrivateRabbit,
    authority: Authority,
    port: u16,
    folder: PathBuf,
}

impl Node {
    /// `ask` is whether clients must show a certificate.
    async fn start(name: &str, ask: bool) -> Self {
        let authority = Authority::new();
        let folder = std::env::temp_dir().join(format!("quebert-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (certificate, key) = authority.sign(NAME);
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let port = free_port().unwrap();
        let conf = format!(
            "listeners.ssl.default = 127.0.0.1:{port}\n\
             ssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\n\
             ssl_options.verify = {}\n\
             ssl_options.fail_if_no_peer_cert = {ask}\n",
            file("ca.pem", &authority.pem),
            file("cert.pem", &certificate),
            file("key.pem", &key),
            if ask { "verify_peer" } else { "verify_none" },
        );
        Self { _rabbit: PrivateRabbit::start_with(conf).await.unwrap(), authority, port, folder }
    }

    fn config(&self, host: &str, tls: Tls) -> RabbitConfig {
        RabbitConfig {
            urls: vec![format!("amqps://guest:guest@{host}:{}/%2f", self.port)],
            tls,
            // These are no tests of speed.
            connect_timeout: LIMIT,
            topology: Topology { lanes: vec![LaneTopology::of("work")], ..Topology::default() },
            ..RabbitConfig::default()
        }
    }

    fn trusted(&self) -> Tls {
        Tls { ca_pem: Some(self.authority.pem.clone()), identity: None }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One node that asks clients for nothing, and one that asks for a certificate; each ends with this process.
async fn open() -> &'static Node {
    static OPEN: OnceCell<Node> = OnceCell::const_new();
    OPEN.get_or_init(|| Node::start("open", false)).await
}

async fn mutual() -> &'static Node {
    static MUTUAL: OnceCell<Node> = OnceCell::const_new();
    MUTUAL.get_or_init(|| Node::start("mutual", true)).await
}

/// A task goes out and comes back over both connections of a session.
async fn works(config: RabbitConfig) {
    let broker = RabbitBroker::new(config).unwrap();
    let mut events = broker.start();
    let work: Arc<str> = "work".into();
    broker.open(Source::Queue(work.clone()), 5);
    let arrived = timeout(LIMIT, async {
        loop {
            match events.recv().await.expect("the events go on") {
                BrokerEvent::Opened { .. } => {
                    let message = Message { body: "over TLS".into(), ..Message::default() };
                    broker.publish(Target::Queue(work.clone()), message).await.unwrap();
                }
                BrokerEvent::Delivered(delivery) => {
                    broker.ack(delivery.tag);
                    return delivery.message;
                }
                BrokerEvent::Disconnected { detail, .. } => panic!("{detail}"),
                _ => {}
            }
        }
    });
    assert_eq!(arrived.await.expect("it arrives").body, "over TLS");
    broker.stop().await;
}

/// What a refused connection says, after a look that it says nothing else.
async fn refusal(mut config: RabbitConfig) -> String {
    config.urls[0] = config.urls[0].replace("guest:guest", "somebody:s3cret");
    let error = timeout(LIMIT, RabbitAdmin::connect(config)).await.expect("it ends").expect_err("it must be refused");
    let text = format!("{error} {error:?}");
    assert!(matches!(error, OpenError::Connect(_)), "{text}");
    for secret in ["s3cret", "somebody", "PRIVATE KEY", "BEGIN"] {
        assert!(!text.contains(secret), "{secret:?} stands in {text}");
    }
    error.to_string()
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    let lower = text.to_lowercase();
    assert!(words.iter().all(|word| lower.contains(word)), "{words:?} in {text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_signed_by_the_given_authority_is_trusted() {
    let node = open().await;
    works(node.config(NAME, node.trusted())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_signed_by_a_stranger_is_refused() {
    let node = open().await;
    says(&refusal(node.config(NAME, Tls::default())).await, &["certificate", "unknownissuer"]);
    let other = Tls { ca_pem: Some(Authority::new().pem), identity: None };
    says(&refusal(node.config(NAME, other)).await, &["certificate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_host_is_refused() {
    let node = open().await;
    says(&refusal(node.config("127.0.0.1", node.trusted())).await, &["certificate", "not valid for"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_over_tls_is_told_as_such() {
    let node = open().await;
    says(&refusal(node.config(NAME, node.trusted())).await, &["access_refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_its_certificate_to_a_broker_that_asks() {
    let node = mutual().await;
    works(node.config(NAME, Tls { identity: Some(node.authority.identity()), ..node.trusted() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_certificate_of_the_right_authority_is_refused_by_a_broker_that_asks() {
    let node = mutual().await;
    // The broker says why by a TLS alert and hangs up; the reset may overtake the alert.
    let refused = |text: String| {
        let lower = text.to_lowercase();
        let known = ["certificate", "alert", "reset", "closed"].iter().any(|word| lower.contains(word));
        assert!(known && !text.contains("guest"), "{text:?}");
    };
    refused(refusal(node.config(NAME, node.trusted())).await);
    let stranger = Tls { identity: Some(Authority::new().identity()), ..node.trusted() };
    refused(refusal(node.config(NAME, stranger)).await);
}

#[test]
fn files_that_hold_no_certificate_or_key_are_a_fault_of_the_config() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("client");
    let pem = |certificate: &str, key: &str| {
        let (certificate, key) = (certificate.as_bytes().to_vec(), key.as_bytes().to_vec());
        Some(Identity::Pem { certificate, key })
    };
    let field = |ca_pem: Option<&str>, identity: Option<Identity>| {
        let tls = Tls { ca_pem: ca_pem.map(str::to_owned), identity };
        let config = RabbitConfig { urls: vec!["amqps://localhost".into()], tls, ..RabbitConfig::default() };
        RabbitBroker::new(config).map(drop).map_err(|ConfigError { field, problem }| {
            assert!(!problem.contains("hunter2"), "{problem}");
            field
        })
    };
    let wrong = |name: &str| Err(name.to_owned());
    assert_eq!(field(Some(&authority.pem), pem(&certificate, &key)), Ok(()));
    assert_eq!(field(Some("hunter2"), None), wrong("tls.ca_pem"));
    assert_eq!(field(Some(&key), None), wrong("tls.ca_pem"), "a key is no certificate");
    assert_eq!(field(None, pem("hunter2", &key)), wrong("tls.identity.certificate"));
    assert_eq!(field(None, pem(&certificate, "hunter2")), wrong("tls.identity.key"));
    assert_eq!(field(None, pem(&key, &certificate)), wrong("tls.identity.certificate"), "the wrong way round");
}
