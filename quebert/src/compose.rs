//! From the checked config to the parts of a dispatcher. Reads the files that the config names and opens the embedded
//! broker's; connects nowhere.

use crate::{
    bare::BareAdmin,
    config::{Config, QueueType},
};
use quebert_broker_adapter::{
    admin::Admin,
    amqp::{self, Exchange, Identity, LaneTopology, RabbitAdmin, RabbitBroker, RabbitConfig},
    embedded::{self, EmbeddedBroker, EmbeddedConfig},
    http::{HttpTransport, TcpConnector, TlsClient, TlsSettings},
};
use quebert_dispatcher::{
    ports::{broker::Broker, transport::Transport},
    signing::{Secret, Signer},
};
use std::{fs, io, path::Path, sync::Arc};
use tokio::task::JoinHandle;

/// Why parts can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// A file that the config names.
    #[error("{key}: read {path}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The RabbitMQ adapter refuses what the config says.
    #[error("broker")]
    Broker(#[from] amqp::ConfigError),
    /// The embedded broker's file can't be used.
    #[error("embedded broker")]
    Embedded(#[from] embedded::OpenError),
    /// Certificates or keys for requests, or for a collector of spans.
    #[error("certificates for TLS")]
    Tls(#[from] quebert_broker_adapter::http::TlsError),
}

/// The RabbitMQ adapter's config.
///
/// # Errors
/// When a file can't be read.
pub fn rabbit_config(config: &Config) -> Result<RabbitConfig, ComposeError> {
    let broker = &config.broker;
    let ca_pem = match &broker.ca_file {
        Some(path) => Some(String::from_utf8_lossy(&read("broker.tls.ca_file", path)?).into_owned()),
        None => None,
    };
    let identity = match &broker.client_files {
        Some((certificate, key)) => Some(Identity::Pem {
            certificate: read("broker.tls.cert_file", certificate)?,
            key: read("broker.tls.key_file", key)?,
        }),
        None => None,
    };
    Ok(RabbitConfig {
        urls: broker.urls.iter().map(|url| url.expose().to_owned()).collect(),
        tls: amqp::Tls { ca_pem, identity },
        topology: topology(config),
        connect_timeout: broker.connect_timeout,
        publish_timeout: broker.confirm_timeout,
        heartbeat_s: u16::try_from(broker.heartbeat.as_secs()).unwrap_or(u16::MAX),
        ..RabbitConfig::default()
    })
}

/// The embedded broker's config, if the broker is that one.
pub fn embedded_config(config: &Config) -> Option<EmbeddedConfig> {
    let folder = config.broker.embedded.clone()?;
    let typed = &config.typed.embedded;
    Some(EmbeddedConfig {
        folder,
        queues: config.core.lanes.iter().map(|lane| lane.queue.clone()).collect(),
        queue_messages_max: typed.queue_messages_max,
        message_bytes_max: typed.message_bytes_max,
        total_bytes_max: typed.total_bytes_max,
        idempotency_keys_max: typed.idempotency_keys_max,
        cache_bytes: typed.cache_bytes,
        delivery_limit: config.topology.delivery_limit,
    })
}

/// What RabbitMQ should hold for this config.
pub fn topology(config: &Config) -> amqp::Topology {
    let top = &config.topology;
    let lane = |name| {
        let binding = &top.bindings[name];
        LaneTopology {
            exchange: binding.exchange.clone(),
            routing_key: Some(binding.routing_key.clone()),
            ..LaneTopology::of(&*binding.queue)
        }
    };
    let shared = &config.typed.topology.exchange;
    amqp::Topology {
        declare: top.declare,
        queue_type: match top.queue_type {
            QueueType::Quorum => amqp::QueueType::Quorum,
            QueueType::Classic => amqp::QueueType::Classic,
        },
        delivery_limit: top.delivery_limit,
        exchange: (!shared.is_empty()).then(|| Exchange { name: shared.clone(), kind: "direct".to_owned() }),
        lanes: config.core.lanes.iter().map(|l| lane(&l.name)).collect(),
        prefix: top.prefix.clone(),
    }
}

/// A broker, from both of its sides.
#[derive(Clone)]
pub struct Engine {
    /// The dispatcher's side.
    pub broker: Arc<dyn Broker>,
    /// The operators' side.
    pub admin: Arc<dyn Admin>,
    /// What the operators' side keeps open, if it does.
    last: Option<Arc<dyn Broker>>,
}

impl Engine {
    /// From parts.
    pub fn new(broker: Arc<dyn Broker>, admin: Arc<dyn Admin>) -> Self {
        Self { broker, admin, last: None }
    }

    /// A broker of which nothing else is known: its operators' side enqueues and tells depths, and that is all.
    pub fn bare(broker: Arc<dyn Broker>) -> Self {
        Self::new(broker.clone(), Arc::new(BareAdmin::new(broker)))
    }

    /// The same with another operators' side.
    #[must_use]
    pub fn with_admin(self, admin: Arc<dyn Admin>) -> Self {
        Self { admin, ..self }
    }

    /// Closes an embedded broker's file, once the dispatcher has ended; others have nothing to close. Without this the
    /// file is as after a crash: nothing is lost, and the next start has more to do.
    pub async fn close(&self) {
        if let Some(last) = &self.last {
            last.stop().await;
        }
    }
}

/// The config's broker. RabbitMQ is not connected to yet. An embedded one's file is opened, which blocks: for some
/// milliseconds, or for as long as its recovery takes.
///
/// # Errors
/// When a file can't be read or used, or an address makes no sense.
pub fn engine(config: &Config) -> Result<Engine, ComposeError> {
    if let Some(embedded) = embedded_config(config) {
        let broker = EmbeddedBroker::open(embedded)?;
        let admin = Arc::new(broker.another());
        return Ok(Engine { broker: Arc::new(broker), admin: admin.clone(), last: Some(admin) });
    }
    let rabbit = rabbit_config(config)?;
    Ok(Engine::new(Arc::new(RabbitBroker::new(rabbit.clone())?), Arc::new(RabbitAdmin::new(rabbit)?)))
}

/// The dispatcher's side of the config's broker.
///
/// # Errors
/// As for [`engine`].
pub fn broker(config: &Config) -> Result<Arc<dyn Broker>, ComposeError> {
    Ok(engine(config)?.broker)
}

/// A transport, and what exports the spans of its requests.
pub(crate) type TracedTransport = (Arc<dyn Transport>, Option<JoinHandle<()>>);

/// The transport with spans around its requests, if the config says where they go.
///
/// # Errors
/// When the certificates for a collector can't be used.
#[cfg_attr(not(feature = "otlp"), expect(clippy::unnecessary_wraps, reason = "it is fallible with the feature"))]
pub(crate) fn traced(transport: Arc<dyn Transport>, config: &Config) -> Result<TracedTransport, ComposeError> {
    match &config.otlp {
        #[cfg(feature = "otlp")]
        Some(otlp) => {
            let (traced, exporting) = crate::otlp::traced(transport, otlp)?;
            Ok((traced, Some(exporting)))
        }
        _ => Ok((transport, None)),
    }
}

/// The transport.
///
/// # Errors
/// When a file can't be read or holds no certificate.
pub fn transport(config: &Config) -> Result<Arc<dyn Transport>, ComposeError> {
    let extra_ca_pem = match &config.http.ca_file {
        Some(path) => Some(read("http.ca_file", path)?),
        None => None,
    };
    let tls = TlsClient::new(&TlsSettings { extra_ca_pem, ..TlsSettings::default() })?;
    let connector = TcpConnector::new(config.http.guard.clone(), tls);
    Ok(Arc::new(HttpTransport::new(connector, config.http.client.clone())))
}

/// What signs requests, if there are keys.
pub fn signer(config: &Config) -> Option<Signer> {
    let keys = config.signing_keys.iter().map(|key| key.expose().parse::<Secret>());
    let keys = keys.collect::<Result<Vec<_>, _>>().expect("the config was checked");
    Signer::new(&keys)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, ComposeError> {
    fs::read(path).map_err(|source| ComposeError::File { key, path: path.display().to_string(), source })
}
