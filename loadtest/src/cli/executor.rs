//! `executor`: the fleet alone, for dispatchers and tasks of somebody else. It counts, and judges nothing.

use super::{Error, certificate::CertificateFiles, out, runtime};
use crate::{
    clock::Clock,
    fleet::{Answered, ExecutorSpec, Fleet, Identity, Seen, Witness},
    report::exit,
};
use clap::Args;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

#[derive(Debug, Args)]
pub(super) struct ExecutorArgs {
    /// An executor, such as "name=slow latency=exp:50ms status=503:3%"; may be given several times
    #[arg(long = "executor", value_name = "WORDS")]
    executors: Vec<ExecutorSpec>,
    /// Ports, in the order of the executors; otherwise the system picks them
    #[arg(long, value_delimiter = ',')]
    ports: Vec<u16>,
    /// Every fate is drawn from this
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Serve HTTPS, with a certificate for 127.0.0.1 and localhost that is made anew at each start unless one is given
    #[arg(long)]
    tls: bool,
    /// Write the certificate authority that dispatchers must trust (their `http.ca_file`); `-` is standard output
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with = "tls_cert")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    certificate: CertificateFiles,
}

#[derive(Debug, Default)]
struct Counter {
    arrived: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl Witness for Counter {
    /// The task's number is a hash of its id (FNV-1a): the same id has the same fate.
    fn arrived(&self, seen: Seen<'_>) -> Option<u64> {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Some(seen.task.bytes().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    fn answered(&self, _: u64, _: u32, _: Duration, how: Answered) {
        let succeeded = matches!(how, Answered::Status(status, _) if status.is_success());
        let counter = if succeeded { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn executor(args: &ExecutorArgs) -> Result<u8, Error> {
    runtime()?.block_on(serve(args))
}

fn identity(args: &ExecutorArgs) -> Result<Option<Identity>, Error> {
    let says = |text: &str| Err(Error::Usage(text.to_owned()));
    match (&args.certificate.tls_cert, &args.certificate.tls_key, &args.ca) {
        (Some(_), _, _) if !args.tls => says("a certificate is for --tls"),
        (Some(certificate), Some(key), _) => Ok(Some(Identity::read(certificate.as_ref(), key.as_ref())?)),
        (_, _, None) if args.tls => says("nobody could trust it: --tls needs --ca, or --tls-cert and --tls-key"),
        _ => Ok(args.tls.then(Identity::new).transpose()?),
    }
}

async fn serve(args: &ExecutorArgs) -> Result<u8, Error> {
    let specs = if args.executors.is_empty() { vec![ExecutorSpec::new("main")] } else { args.executors.clone() };
    let counter = Arc::new(Counter::default());
    let tls = identity(args)?;
    let fleet = Fleet::start(&specs, &args.ports, tls.as_ref(), args.seed, Clock::start(), counter.clone()).await?;
    if let (Some(pem), Some(path)) = (tls.as_ref().and_then(Identity::ca_pem), &args.ca) {
        out::write(path, pem)?;
    }
    for (name, origin, _) in fleet.peaks() {
        out::print(&format!("{name} {origin}"))?;
    }
    // Without a handler for the signal, the default one ends the process just as well.
    drop(tokio::signal::ctrl_c().await);
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (arrived, succeeded, failed) = (of(&counter.arrived), of(&counter.succeeded), of(&counter.failed));
    out::tell(&format!("{arrived} requests, {succeeded} answered with success, {failed} otherwise"));
    for (name, _, peak) in fleet.peaks() {
        out::tell(&format!("{name}: at most {peak} under way at a time"));
    }
    Ok(exit::OK)
}
