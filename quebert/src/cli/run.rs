//! `quebert run`: the dispatcher, its admin server, and what signals mean to it.

use super::{Failure, SourceArgs};
use crate::{
    admin::Admin,
    app::{App, Running},
    compose::{self, Engine},
    config::Config,
    logs::{self, LogLevel},
    signals::{Signals, Stop},
};
use clap::Args;
use std::time::Duration;
use tracing::{error, info, warn};

/// Flags of `quebert run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Most detailed log line: error, warn, info, debug or trace; short for --set log.level=LEVEL
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// pretty or json; short for --set log.format=FORMAT
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Where /metrics, /healthz and /readyz are served; short for --set admin.listen=ADDRESS
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

pub(super) async fn run(sources: &SourceArgs, args: RunArgs) -> Result<(), Failure> {
    let load = || -> Result<Config, Failure> {
        let mut sources = sources.sources()?;
        let short = [
            ("--log-level", "log.level", &args.log_level),
            ("--log-format", "log.format", &args.log_format),
            ("--admin", "admin.listen", &args.admin),
        ];
        for (flag, key, value) in short {
            sources.set.extend(value.iter().map(|value| (flag.to_owned(), format!("{key}={value}"))));
        }
        Ok(Config::load(&sources)?)
    };
    let config = load()?;
    let level = logs::start(config.log_level, config.log_format);
    // From here on a signal drains instead of ending the process.
    let mut signals = Signals::new();
    let admin = match config.admin {
        Some(address) => {
            let admin = Admin::bind(address).await.map_err(|e| Failure::other("listen on admin.listen", e))?;
            info!(address = %admin.address()?, "admin server listens");
            Some(admin)
        }
        None => None,
    };
    let engine = open(&config).await?;
    let mut running = App::new(config).engine(engine).start()?;
    info!(version = env!("CARGO_PKG_VERSION"), lanes = running.config.core.lanes.len(), "started");
    if let Some(admin) = admin {
        tokio::spawn(admin.serve(running.metrics.clone(), running.health.clone()));
    }
    tokio::spawn(running.watch());
    let mut current = Config::clone(&running.config);
    match steady(&mut running, &mut current, &mut signals, &level, load).await {
        Some(stop) => drain(&mut running, current.drain_grace, &mut signals, stop).await,
        None => Ok(()),
    }
}

/// The config's broker. An embedded one's file is opened, and recovered if need be, where blocking is allowed.
pub(super) async fn open(config: &Config) -> Result<Engine, Failure> {
    let config = config.clone();
    match tokio::task::spawn_blocking(move || compose::engine(&config)).await {
        Ok(engine) => Ok(engine?),
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

/// Runs until a signal asks to stop; `None` if the dispatcher ended by itself.
async fn steady(
    running: &mut Running,
    current: &mut Config,
    signals: &mut Signals,
    level: &LogLevel,
    load: impl Fn() -> Result<Config, Failure>,
) -> Option<Stop> {
    loop {
        tokio::select! {
            summary = running.end() => {
                told(&summary);
                return None;
            }
            signal = signals.next() => match signal {
                Some(stop) => return Some(stop),
                None => reload(running, current, level, &load),
            },
        }
    }
}

/// Lets attempts under way end, for as long as the config grants; a second signal stops at once.
async fn drain(running: &mut Running, grace: Duration, signals: &mut Signals, first: Stop) -> Result<(), Failure> {
    info!(signal = ?first, grace_ms = grace.as_millis(), "stop asked for; a second signal stops at once");
    running.handle.drain(grace);
    tokio::select! {
        summary = running.end() => {
            told(&summary);
            Ok(())
        }
        second = signals.stop() => {
            warn!(signal = ?second, "stopping at once; the broker has back what was under way");
            running.handle.stop_now();
            // The connection is closed in an orderly way, but nobody waits for a broker that does not answer.
            drop(tokio::time::timeout(Duration::from_secs(2), running.end()).await);
            Err(Failure::Signal(second.exit_code()))
        }
    }
}

/// Reads the config again. `current` is what was read last; what needs a restart is what differs from the start.
fn reload(running: &Running, current: &mut Config, level: &LogLevel, load: &impl Fn() -> Result<Config, Failure>) {
    let next = match load() {
        Ok(next) => next,
        Err(failure) => {
            running.metrics.reloaded(false);
            error!(error = %failure, "config not reloaded; everything stays as it is");
            return;
        }
    };
    level.set(next.log_level);
    running.handle.reconfigure(next.core.clone());
    running.metrics.limits(&next.core.lanes);
    running.metrics.reloaded(true);
    info!(taken_over = current.changes(&next).taken_over.join(" "), "config reloaded");
    let need_restart = running.config.changes(&next).need_restart;
    if !need_restart.is_empty() {
        warn!(keys = need_restart.join(" "), "these take effect after a restart only");
    }
    *current = next;
}

fn told(summary: &quebert_dispatcher::shell::Summary) {
    let settled: Vec<String> = summary.settlements.iter().map(|(s, n)| format!("{}={n}", s.label())).collect();
    info!(deliveries = summary.deliveries, held = summary.held, settled = settled.join(" "), "ended");
}
