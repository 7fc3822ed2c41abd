//! What the RabbitMQ adapter must be told, and how it is checked.
//!
//! Reads no files: whoever builds the config hands certificates over as bytes.

use super::{Topology, address::Address};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{fmt, time::Duration};

/// How to reach RabbitMQ, and what it should look like there. Checked by [`RabbitBroker::new`](super::RabbitBroker::new).
#[derive(Clone)]
pub struct RabbitConfig {
    /// `amqp://` or `amqps://` addresses of one cluster, tried in turn; at least one. `heartbeat` and `frame_max` in
    /// their query win over the fields below.
    pub urls: Vec<String>,
    /// Try the addresses in a random order, drawn at the start; otherwise in the order given. Default: false.
    pub shuffle: bool,
    /// For `amqps://`.
    pub tls: Tls,
    /// Queues, exchanges and bindings.
    pub topology: Topology,
    /// What the broker's own tools show; `-consume` and `-publish` are appended. Default: `quebert`.
    pub connection_name: String,
    /// Limit of one connect, TLS and login included. Default: 5 s.
    pub connect_timeout: Duration,
    /// Limit of one request to the broker, such as a declare. Default: 15 s.
    pub operation_timeout: Duration,
    /// Limit of one publish, the waiting for a free channel and for the confirmation included. Default: 30 s.
    pub publish_timeout: Duration,
    /// Publishes under way at a time, each on its own channel; 1 to 1,000. Default: 16.
    pub publish_channels: u16,
    /// Seconds between heartbeats; a dead peer is noticed after twice that. Default: 10.
    pub heartbeat_s: u16,
    /// Largest frame in bytes, at least 8,192: all properties and headers of one message must fit into one. Default: 131,072.
    pub frame_bytes_max: u32,
    /// The first pause after a fault, which doubles with each failed try. Default: 100 ms.
    pub backoff_min: Duration,
    /// The longest pause between two tries; at most a minute. Default: 2 s.
    pub backoff_max: Duration,
    /// Events that wait for the dispatcher at most; past it, deliveries wait at the broker. Default: 1,024.
    pub event_buffer: usize,
}

impl Default for RabbitConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            shuffle: false,
            tls: Tls::default(),
            topology: Topology::default(),
            connection_name: "quebert".into(),
            connect_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
            publish_timeout: Duration::from_secs(30),
            publish_channels: 16,
            heartbeat_s: 10,
            frame_bytes_max: 131_072,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            event_buffer: 1024,
        }
    }
}

/// Certificates for `amqps://`.
#[derive(Clone, Default)]
pub struct Tls {
    /// PEM of the authorities that may have signed the broker's certificate, beside those the system trusts.
    /// At least one, if given.
    pub ca_pem: Option<String>,
    /// Who we are, for brokers that ask.
    pub identity: Option<Identity>,
}

impl Tls {
    /// lapin ignores what it can't read, and then blames the broker's certificate.
    fn check(&self) -> Result<(), ConfigError> {
        let certificates = |field: &str, pem: &[u8]| {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            match all {
                Ok(all) if !all.is_empty() => Ok(()),
                Ok(_) => Err(ConfigError::new(field, "holds no PEM certificate")),
                // Without the words of the error, which could quote the file.
                Err(_) => Err(ConfigError::new(field, "is not valid PEM")),
            }
        };
        if let Some(pem) = &self.ca_pem {
            certificates("tls.ca_pem", pem.as_bytes())?;
        }
        if let Some(Identity::Pem { certificate, key }) = &self.identity {
            certificates("tls.identity.certificate", certificate)?;
            PrivateKeyDer::from_pem_slice(key)
                .map_err(|_| ConfigError::new("tls.identity.key", "holds no PEM key, or an encrypted one"))?;
        }
        Ok(())
    }
}

/// A client certificate with its key.
#[derive(Clone)]
pub enum Identity {
    /// PEM files.
    Pem {
        /// The certificate, and what it is signed by.
        certificate: Vec<u8>,
        /// Its PKCS#8 key, not encrypted.
        key: Vec<u8>,
    },
    /// A PKCS#12 file.
    Pkcs12 {
        /// The file, as DER.
        der: Vec<u8>,
        /// Its password.
        password: String,
    },
}

/// What is wrong with a config: the field, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// The field, as in the struct; `urls[1]` for one of several.
    pub field: String,
    /// Why; no secrets.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl RabbitConfig {
    /// Checks every field; the addresses come back ready for use.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub(crate) fn check(&self) -> Result<Vec<Address>, ConfigError> {
        let bad = |field: &str, problem: &str| Err(ConfigError::new(field, problem));
        if self.urls.is_empty() {
            return bad("urls", "at least one address is needed");
        }
        // Before the addresses, which take these as defaults and would be blamed for them.
        if self.heartbeat_s == 0 {
            return bad("heartbeat_s", "must be at least 1: without heartbeats a dead peer is never noticed");
        }
        if self.frame_bytes_max < 8192 {
            return bad("frame_bytes_max", "must be at least 8192");
        }
        let mut addresses = Vec::new();
        for (i, url) in self.urls.iter().enumerate() {
            let address =
                Address::parse(url, self).map_err(|problem| ConfigError::new(format!("urls[{i}]"), problem))?;
            addresses.push(address);
        }
        if self.connection_name.len() > 200 {
            return bad("connection_name", "at most 200 bytes");
        }
        let limits = [
            ("connect_timeout", self.connect_timeout),
            ("operation_timeout", self.operation_timeout),
            ("publish_timeout", self.publish_timeout),
            ("backoff_min", self.backoff_min),
            ("backoff_max", self.backoff_max),
        ];
        for (field, limit) in limits {
            if limit < Duration::from_millis(1) || limit > Duration::from_secs(3600) {
                return bad(field, "must lie between 1 ms and 1 h");
            }
        }
        if self.backoff_max > Duration::from_secs(60) || self.backoff_max < self.backoff_min {
            return bad("backoff_max", "must lie between backoff_min and 60 s");
        }
        if !(1..=1000).contains(&self.publish_channels) {
            return bad("publish_channels", "must lie between 1 and 1000");
        }
        if self.event_buffer == 0 {
            return bad("event_buffer", "must be at least 1");
        }
        self.tls.check()?;
        self.topology.check()?;
        Ok(addresses)
    }
}

impl fmt::Debug for RabbitConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.urls.iter().map(|url| super::address::redact(url)).collect();
        f.debug_struct("RabbitConfig")
            .field("urls", &urls)
            .field("tls", &self.tls)
            .field("topology", &self.topology)
            .field("connection_name", &self.connection_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca_pem", &self.ca_pem.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut RabbitConfig), field: &str) {
        let mut config = RabbitConfig { urls: vec!["amqp://localhost".into()], ..RabbitConfig::default() };
        assert_eq!(config.check().err(), None);
        change(&mut config);
        assert_eq!(config.check().err().map(|e| e.field).as_deref(), Some(field));
    }

    #[test]
    fn errors_name_the_field() {
        refused(|c| c.urls.clear(), "urls");
        refused(|c| c.urls.push("http://localhost".into()), "urls[1]");
        refused(|c| c.publish_channels = 0, "publish_channels");
        refused(|c| c.heartbeat_s = 0, "heartbeat_s");
        refused(|c| c.frame_bytes_max = 100, "frame_bytes_max");
        refused(|c| c.event_buffer = 0, "event_buffer");
        refused(|c| c.publish_timeout = Duration::ZERO, "publish_timeout");
        refused(|c| c.backoff_max = Duration::from_millis(1), "backoff_max");
        refused(|c| c.topology.prefix = String::new(), "topology.prefix");
    }

    #[test]
    fn passwords_are_shown_nowhere() {
        for url in ["amqp://user:s3cret@host/v", "amqp://user:s3cret@host:port/v", "nonsense s3cret"] {
            let config = RabbitConfig { urls: vec![url.into()], ..RabbitConfig::default() };
            assert!(!format!("{config:?}").contains("s3cret"));
            match config.check() {
                Ok(addresses) => assert!(!format!("{addresses:?} {}", addresses[0]).contains("s3cret")),
                Err(error) => assert!(!format!("{error:?} {error}").contains("s3cret")),
            }
        }
    }
}
