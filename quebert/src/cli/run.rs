//! `quebert run`: the broker, the dispatcher, the API and the admin server, and what signals mean to them. It decides
//! nothing about tasks.

use super::{Failure, SourceArgs, serve::Listening};
use crate::{
    admin::Admin,
    app::{App, Running},
    compose::{self, ComposeError, Engine},
    config::Config,
    intake::now,
    logs::{self, LogLevel},
    signals::{Signals, Stop},
};
use clap::Args;
use quebert_broker_adapter::embedded::OpenError;
use std::{error::Error as _, time::Duration};
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
    /// Where the HTTP API and the console are served; short for --set api.listen=ADDRESS
    #[arg(long, value_name = "ADDRESS")]
    api: Option<String>,
}

pub(super) async fn run(sources: &SourceArgs, args: RunArgs) -> Result<(), Failure> {
    let load = || -> Result<Config, Failure> {
        let mut sources = sources.sources()?;
        let short = [
            ("--log-level", "log.level", &args.log_level),
            ("--log-format", "log.format", &args.log_format),
            ("--admin", "admin.listen", &args.admin),
            ("--api", "api.listen", &args.api),
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
    // First, since a folder that another process uses is the clearest of all that a second process can be told.
    let engine = open(&config).await?;
    let admin = match config.admin {
        Some(address) => {
            let admin = Admin::bind(address).await.map_err(|e| Failure::other("listen on admin.listen", e))?;
            info!(address = %admin.address()?, "admin server listens");
            Some(admin)
        }
        None => None,
    };
    let api = match config.api.listen {
        Some(address) => {
            let api = Listening::on(address).await?;
            info!(address = %api.address(), console = config.api.console, "API listens");
            Some(api)
        }
        None => None,
    };
    let mut running = App::new(config).engine(engine.clone()).start()?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        engine = engine.admin.abilities().engine,
        folder = running.config.broker.embedded.as_ref().map(|folder| tracing::field::display(folder.display())),
        lanes = running.config.core.lanes.len(),
        "started"
    );
    if let Some(admin) = admin {
        tokio::spawn(admin.serve(running.metrics.clone(), running.health.clone()));
    }
    let watch = tokio::spawn(running.watch());
    let api = api.map(|api| api.serve(running.api_state())).transpose()?;
    let mut current = Config::clone(&running.config);
    let result = match steady(&mut running, &mut current, &mut signals, &level, load).await {
        Some(stop) => drain(&mut running, current.drain_grace, &mut signals, stop).await,
        None => Err(Failure::other("run", "the dispatcher ended unasked, since its broker did; the log says why")),
    };
    watch.abort();
    let at_once = matches!(result, Err(Failure::Signal(_)));
    let closing = async {
        // Whoever asks is answered to the end: enqueues with a refusal, since the drain.
        if let Some(api) = api.filter(|_| !at_once) {
            api.stop().await;
        }
        engine.close().await;
    };
    close(closing, signals.stop()).await.and(result)
}

/// Waits until all is closed, but for no longer than until one more signal.
async fn close(closing: impl Future<Output = ()>, signal: impl Future<Output = Stop>) -> Result<(), Failure> {
    tokio::select! {
        () = closing => Ok(()),
        stop = signal => {
            warn!(signal = ?stop, "stopping at once; requests under way at the API are broken off");
            Err(Failure::Signal(stop.exit_code()))
        }
    }
}

/// The config's broker. An embedded one's file is opened, and recovered if need be, where blocking is allowed.
pub(super) async fn open(config: &Config) -> Result<Engine, Failure> {
    let config = config.clone();
    match tokio::task::spawn_blocking(move || compose::engine(&config)).await {
        Ok(Ok(engine)) => Ok(engine),
        Ok(Err(ComposeError::Embedded(error))) => Err(unusable(&error)),
        Ok(Err(error)) => Err(error.into()),
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

/// With what a person can do about it.
pub(super) fn unusable(error: &OpenError) -> Failure {
    let advice = match error {
        OpenError::InUse { .. } => "stop that one, or name another folder in broker.url",
        OpenError::Damaged { .. } => {
            "nothing was changed: restore it from a copy, or move it away to begin anew without its tasks"
        }
        _ => "broker.url must name a folder that this user can write to",
    };
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Failure::Store(format!("{error}{cause}; {advice}"))
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
    running.health.drain();
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
            running.metrics.reloaded(false, now());
            error!(error = %failure, "config not reloaded; everything stays as it is");
            return;
        }
    };
    level.set(next.log_level);
    running.reconfigure(next.core.clone());
    running.metrics.reloaded(true, now());
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn one_more_signal_ends_the_closing() {
        let stopped = close(pending(), ready(Stop::Terminate)).await;
        assert!(matches!(stopped, Err(Failure::Signal(143))), "{stopped:?}");
        assert!(close(ready(()), pending()).await.is_ok());
    }
}
