//! Who executors are over TLS: a certificate of a certificate authority that is made for one fleet and trusted by nobody else.
//! Its key is never written anywhere.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use std::{fmt, sync::Arc};
use tokio_rustls::TlsAcceptor;

/// A key or a certificate can't be made.
#[derive(Debug, thiserror::Error)]
#[error("make a certificate for the executors")]
pub struct IdentityError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A certificate for `127.0.0.1` and `localhost`, with its key, and the authority that vouches for it.
#[derive(Clone)]
pub struct Identity {
    ca_pem: String,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> Result<Self, IdentityError> {
        Self::made().map_err(IdentityError)
    }

    fn made() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "quebert-loadtest executors");
        let authority_key = KeyPair::generate()?;
        let ca_pem = authority.self_signed(&authority_key)?.pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(["127.0.0.1", "localhost"].map(str::to_owned))?.signed_by(&key, &issuer)?;
        let private = PrivateKeyDer::try_from(key.serialize_der())?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut server = builder.with_single_cert(vec![leaf.der().clone()], private)?;
        // The fleet speaks nothing else.
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { ca_pem, server: Arc::new(server) })
    }

    /// The authority's certificate, PEM: what a dispatcher must trust (`http.ca_file`).
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.server.clone())
    }
}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
