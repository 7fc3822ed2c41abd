//! Logs: one line per state change at info, per task at debug, fields over prose. Bodies, headers, URLs and secrets
//! never stand in one; nothing is decided here.

use crate::config::{Format, Level};
use quebert_dispatcher::{
    event::{Event, Settlement},
    ports::{broker::Source, observer::Observer},
    trace::TraceId,
};
use std::io::IsTerminal as _;
use tracing::{debug, enabled, info, level_filters::LevelFilter, trace, warn};
use tracing_subscriber::{
    Layer as _, Registry, filter::Targets, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

/// Changes the level of what is logged while running.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<Targets, Registry>);

impl LogLevel {
    /// Logs at `level` from now on.
    pub fn set(&self, level: Level) {
        // Fails only once there is no subscriber any more, and then nothing is logged anyway.
        drop(self.0.reload(targets(level)));
    }
}

/// Starts logging to standard error. Called once in a process; a second call changes nothing.
pub fn start(level: Level, format: Format) -> LogLevel {
    let (filter, handle) = reload::Layer::new(targets(level));
    let base = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        Format::Json => base.json().flatten_event(true).with_filter(filter).boxed(),
        Format::Pretty => {
            base.with_target(false).with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed()
        }
    };
    drop(tracing_subscriber::registry().with(layer).try_init());
    LogLevel(handle)
}

/// Ours at `level`; libraries say only what went wrong, unless everything is asked for.
fn targets(level: Level) -> Targets {
    let ours = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let theirs = if level == Level::Trace { LevelFilter::DEBUG } else { ours.min(LevelFilter::ERROR) };
    // What befalls a connection or a channel reaches the log as an event; lapin tells each of them as an error, too.
    let lapins = if level == Level::Trace { LevelFilter::DEBUG } else { LevelFilter::OFF };
    Targets::new().with_default(theirs).with_target("lapin", lapins).with_target("quebert", ours)
}

/// Logs events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Logs;

impl Observer for Logs {
    fn observe(&self, event: &Event) {
        // What comes with each task is told from debug on.
        if !event.is_routine() || enabled!(tracing::Level::DEBUG) {
            log(event);
        }
    }
}

#[inline(never)]
fn log(event: &Event) {
    match event {
        Event::BrokerConnected => info!("connected to the broker"),
        Event::BrokerDisconnected { reason, detail } => warn!(reason, detail, "not connected to the broker"),
        Event::BrokerBlocked(true) => warn!("the broker takes no publishes for now"),
        Event::BrokerBlocked(false) => info!("the broker takes publishes again"),
        Event::SourceFailed { source: Source::Queue(queue), detail } => {
            warn!(queue = &**queue, detail, "queue can't be opened; it is tried again");
        }
        Event::SourceFailed { source: Source::Delay(step), detail } => {
            warn!(delay_ms = step.length().as_millis(), detail, "delay queue can't be opened; it is tried again");
        }
        Event::LaneOpen { lane, open: true } => info!(lane = &**lane, "lane open"),
        Event::LaneOpen { lane, open: false } => info!(lane = &**lane, "lane closed"),
        Event::Draining => info!("draining: nothing new starts"),
        Event::Reconfigured => info!("limits and policies replaced"),
        Event::HookFailed { hook, phase, detail } => warn!(hook = &**hook, phase, detail, "mediator failed"),
        Event::Published { purpose, result, duration } if *result != "ack" => {
            debug!(purpose = purpose.label(), result, ms = duration.as_millis(), "publish not confirmed");
        }
        Event::UnknownFields { lane, fields } => {
            debug!(lane = &**lane, fields = fields.join(","), "message with unknown fields");
        }
        Event::DestinationTrusted { destination, trusted: false } => {
            info!(%destination, "destination went silent: one slot, until it answers");
        }
        Event::DestinationTrusted { destination, trusted: true } => {
            info!(%destination, "destination answers again");
        }
        _ => of_task(event),
    }
}

/// Each names its task, and the trace that the task came with, if it did.
fn of_task(event: &Event) {
    let named = |trace: &Option<TraceId>| trace.map(tracing::field::display);
    match event {
        Event::AttemptStarted { lane, task, number, destination, trace, .. } => {
            debug!(lane = &**lane, %task, trace = named(trace), attempt = number, %destination, "attempt starts");
        }
        Event::AttemptEnded { lane, task, number, destination, class, status, detail, duration, trace } => debug!(
            lane = &**lane, %task, trace = named(trace), attempt = number, %destination, class, status,
            detail = detail.as_deref(), ms = duration.as_millis(), "attempt ended"
        ),
        Event::RetryScheduled { lane, task, reason, attempts, delay, trace } => debug!(
            lane = &**lane, %task, trace = named(trace), reason = reason.label(), attempts,
            delay_ms = delay.as_millis(), "tried again later"
        ),
        Event::Buried { lane, task, reason, detail, trace } => {
            let task = task.as_ref().map(tracing::field::display);
            debug!(lane = &**lane, task, trace = named(trace), reason = reason.label(), detail, "dead-lettered");
        }
        Event::DelayedCancelled { task, .. } => debug!(%task, "cancelled while it waited"),
        Event::Expired { lane, task, stage, trace } => {
            debug!(lane = &**lane, %task, trace = named(trace), stage = stage.label(), "expired");
        }
        Event::Settled { lane, result: Settlement::Succeeded, task: Some(task), attempts, trace, .. } => {
            debug!(lane = &**lane, %task, trace = named(trace), attempts, "done");
        }
        Event::Delivered { lane, redelivered, .. } => trace!(lane = &**lane, redelivered, "delivered"),
        _ => {}
    }
}
