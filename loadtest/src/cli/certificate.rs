//! `certificate`: who executors are, for dispatchers that run before them. Nothing is run, and nothing that exists is touched.

use super::{Error, out};
use crate::{fleet::Certified, report::exit};
use clap::Args;
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The files, of which only the owner may read the key.
const FILES: [(&str, u32); 3] = [("ca.pem", 0o644), ("certificate.pem", 0o644), ("key.pem", 0o600)];

#[derive(Debug, Args)]
pub(super) struct CertificateArgs {
    /// Where ca.pem, certificate.pem and key.pem are written, none of which may be there yet
    folder: PathBuf,
}

/// Of `run` and of `executor`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct CertificateFiles {
    /// With --tls: the executors' certificate for 127.0.0.1 (PEM), which dispatchers that run trust; `certificate` makes one
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_cert: Option<String>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<String>,
}

pub(super) fn certificate(args: &CertificateArgs) -> Result<u8, Error> {
    let Certified { ca_pem, certificate_pem, key_pem } = Certified::new()?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e| Error::Write(path, e)
    };
    fs::create_dir_all(&args.folder).map_err(failed(&args.folder))?;
    for ((name, mode), text) in FILES.into_iter().zip([ca_pem, certificate_pem, key_pem]) {
        let path = args.folder.join(name);
        create(&path, mode, &text).map_err(failed(&path))?;
    }
    let path = |index: usize| args.folder.join(FILES[index].0).display().to_string();
    out::print(&format!("dispatchers:  [http] ca_file = {:?}", path(0)))?;
    out::print(&format!("executors:    --tls --tls-cert {} --tls-key {}", path(1), path(2)))?;
    Ok(exit::OK)
}

fn create(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}
