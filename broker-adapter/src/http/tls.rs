//! The client's side of TLS: whom to trust, and who we are. There is no way to turn verification off.

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{fmt, sync::Arc};
use tokio_rustls::TlsConnector;

/// What TLS connections go by.
#[derive(Clone)]
pub struct TlsSettings {
    /// Whether to trust what the platform trusts.
    pub platform_roots: bool,
    /// Further authorities to trust: PEM, one or more certificates.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Our own certificate chain and its key, both PEM.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether to offer HTTP/2.
    pub h2: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { platform_roots: true, extra_ca_pem: None, identity_pem: None, h2: true }
    }
}

// The key must not show.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("platform_roots", &self.platform_roots)
            .field("extra_ca", &self.extra_ca_pem.is_some())
            .field("identity", &self.identity_pem.is_some())
            .field("h2", &self.h2)
            .finish()
    }
}

/// Why TLS settings can't be used. Quotes nothing of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text holds no certificate that can be read.
    #[error("{0}: no readable PEM certificate")]
    Certificate(&'static str),
    /// The text holds no private key that can be read.
    #[error("client key: no readable PEM private key")]
    Key,
    /// Certificate and key don't fit together, or can't be used.
    #[error("client certificate and key: {0}")]
    Identity(#[source] rustls::Error),
    /// An authority can't be used.
    #[error("certificate authority: {0}")]
    Authority(#[source] rustls::Error),
}

/// TLS settings, checked and ready.
#[derive(Clone)]
pub struct TlsClient {
    pub(super) connector: TlsConnector,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClient")
    }
}

impl TlsClient {
    /// Checks the settings. Reads the platform's trust store from disk if they say so; one that is missing or empty is
    /// no error here, since many dispatchers never speak TLS: `https` fails then, saying that the issuer is unknown.
    ///
    /// # Errors
    /// When a text holds no certificate or no key, or when they don't fit together.
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        if settings.platform_roots {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if let Some(pem) = &settings.extra_ca_pem {
            for authority in certificates(pem, "certificate authority")? {
                roots.add(authority).map_err(TlsError::Authority)?;
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for TLS 1.2 and 1.3")
            .with_root_certificates(roots);
        let mut config = match &settings.identity_pem {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates(chain, "client certificate")?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
                builder.with_client_auth_cert(chain, key).map_err(TlsError::Identity)?
            }
        };
        config.alpn_protocols =
            if settings.h2 { vec![b"h2".into(), b"http/1.1".into()] } else { vec![b"http/1.1".into()] };
        Ok(Self { connector: Arc::new(config).into() })
    }
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| TlsError::Certificate(what))?;
    if found.is_empty() { Err(TlsError::Certificate(what)) } else { Ok(found) }
}
