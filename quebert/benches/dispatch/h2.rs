//! An executor in this process that speaks HTTP/2 and takes its time, with a certificate that it made itself.

use crate::Fault;
use quebert_broker_adapter::testing::executor::{Executor, Keep, Reply};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use std::{fs, path::PathBuf, sync::Arc, time::Duration};

/// Ends when it is dropped.
pub(crate) struct H2Stub {
    pub(crate) executor: Executor,
    /// Its certificate, for those who are to trust it.
    pub(crate) ca: PathBuf,
}

impl H2Stub {
    /// One that answers 200 after so long, to so many at once over one connection.
    pub(crate) async fn start(after: Duration, at_once: u32) -> Result<Self, Fault> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let ca = std::env::temp_dir().join(format!("quebert-bench-{}.pem", std::process::id()));
        fs::write(&ca, made.cert.pem())?;
        let builder = Executor::builder().keep(Keep::Ids).tls(Arc::new(config)).streams(at_once);
        let executor = builder.start(move |_| Reply::status(200).after(after)).await;
        Ok(Self { executor, ca })
    }
}

impl Drop for H2Stub {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.ca));
    }
}
