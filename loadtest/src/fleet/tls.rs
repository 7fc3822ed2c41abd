//! Who executors are over TLS: a certificate of a certificate authority that is made for one fleet and trusted by nobody else, or
//! one that was given, for dispatchers that ran before. It writes nothing: what was made here is lost with it, unless its maker
//! keeps it.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};
use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_rustls::TlsAcceptor;

/// Why executors have no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A key or a certificate can't be made.
    #[error("make a certificate for the executors")]
    Make(#[source] Box<dyn Error + Send + Sync>),
    /// A file that was given can't be read, or is no PEM of that kind.
    #[error("read the executors' {what} in {}", .path.display())]
    Read {
        /// `certificate` or `key`.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key can't be used together.
    #[error("use the executors' certificate with their key")]
    Unfit(#[source] rustls::Error),
}

/// A certificate for `127.0.0.1` and `localhost`, with its key, and the authority that vouches for it; all of it as PEM. The
/// authority's own key is gone: it vouches for nothing else.
#[derive(Clone)]
pub struct Certified {
    /// What a dispatcher must trust (`http.ca_file`).
    pub ca_pem: String,
    /// Of the executors.
    pub certificate_pem: String,
    /// A secret.
    pub key_pem: String,
}

impl Certified {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> Result<Self, IdentityError> {
        Self::made().map_err(|e| IdentityError::Make(e.into()))
    }

    fn made() -> Result<Self, rcgen::Error> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "quebert-loadtest executors");
        let authority_key = KeyPair::generate()?;
        let ca_pem = authority.self_signed(&authority_key)?.pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(["127.0.0.1", "localhost"].map(str::to_owned))?.signed_by(&key, &issuer)?;
        Ok(Self { ca_pem, certificate_pem: leaf.pem(), key_pem: key.serialize_pem() })
    }
}

/// Without the key.
impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certified").finish_non_exhaustive()
    }
}

/// How a fleet shows who it is.
#[derive(Debug, Clone)]
pub struct Identity {
    ca_pem: Option<String>,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// A new one, of an authority of its own.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> Result<Self, IdentityError> {
        let Certified { ca_pem, certificate_pem, key_pem } = Certified::new()?;
        let made = |e: pem::Error| IdentityError::Make(e.into());
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(made)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(made)?;
        Self::of(vec![certificate], key, Some(ca_pem))
    }

    /// One that was given: a certificate for 127.0.0.1, with those that lead to its authority behind it, and its key, as PEM.
    ///
    /// # Errors
    /// What is wrong with these files.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::Read { what, path, source }
        };
        let of_certificate = || failed("certificate", certificate);
        let chain = CertificateDer::pem_file_iter(certificate).map_err(of_certificate())?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(of_certificate())?;
        if chain.is_empty() {
            return Err(of_certificate()(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(failed("key", key))?;
        Self::of(chain, key, None)
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        ca_pem: Option<String>,
    ) -> Result<Self, IdentityError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(IdentityError::Unfit)?;
        let mut server = builder.with_no_client_auth().with_single_cert(chain, key).map_err(IdentityError::Unfit)?;
        // The fleet speaks nothing else.
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { ca_pem, server: Arc::new(server) })
    }

    /// The certificate of the authority that was made with it, PEM: what a dispatcher must trust (`http.ca_file`). `None` of one
    /// that was given.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.server.clone())
    }
}
