//! Finds the delay queues that other dispatchers have made.
//!
//! Whoever makes one says so in a stream, which every dispatcher reads from its first entry. Deletes nothing: a stream
//! of some hundred bytes is not worth it.

use super::{
    apply,
    rpc::{Fault, within},
    session::Session,
};
use futures_util::StreamExt;
use lapin::{
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use quebert_dispatcher::grid::Step;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Streams need a window, and send by chunks; entries are a few bytes.
const WINDOW: u16 = 100;
/// Between two tries at a stream that fails.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Between two searches where there can be no stream.
const SEARCH_PAUSE: Duration = Duration::from_secs(600);
/// Between two questions of a search: each that finds nothing costs the broker a channel and a line in its log.
const SEARCH_STEP_PAUSE: Duration = Duration::from_millis(20);

/// Keeps the known delay queues up to date for as long as the session lasts.
pub(crate) async fn follow(session: Arc<Session>) {
    let name = session.config.topology.announcement_stream();
    loop {
        let fault = match prepare(&session).await {
            Ok(()) => read(&session, &name).await,
            Err(fault) => fault,
        };
        if !session.is_alive() {
            return;
        }
        let pause = match fault {
            Fault::Refused { words, .. } => {
                tracing::warn!(
                    stream = name,
                    words,
                    "no stream for announcements; looking for each delay queue instead"
                );
                if search(&session).await.is_err() {
                    return;
                }
                SEARCH_PAUSE
            }
            _ => RETRY_PAUSE,
        };
        sleep(pause).await;
    }
}

/// Makes the stream if it is not there. Then no delay queue is there either: each is announced before its first use.
async fn prepare(session: &Session) -> Result<(), Fault> {
    apply::declare_queue(&mut session.requests(), &session.config.topology.announcements()).await
}

/// Reads from the first entry on, until something fails.
async fn read(session: &Session, name: &str) -> Fault {
    match read_until_error(session, name).await {
        Ok(()) => Fault::Lost { reason: "consumer", words: "the broker cancelled the consumer".into() },
        Err(fault) => fault,
    }
}

async fn read_until_error(session: &Session, name: &str) -> Result<(), Fault> {
    let limit = session.config.operation_timeout;
    let channel = within(limit, "channel.open", session.consuming().create_channel()).await?;
    within(limit, "basic.qos", channel.basic_qos(WINDOW, BasicQosOptions { global: false })).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
    let consuming = channel.basic_consume(name.into(), "".into(), BasicConsumeOptions::default(), arguments);
    let mut consumer = within(limit, "basic.consume", consuming).await?;
    while let Some(entry) = consumer.next().await {
        let entry = entry.map_err(|error| Fault::from(&error))?;
        let step = std::str::from_utf8(&entry.data).ok().and_then(|ms| ms.parse().ok()).and_then(Step::from_millis);
        match step {
            Some(step) => session.known.add(step),
            None => tracing::debug!("an announcement of no known length"),
        }
        // Here an ack only asks for more.
        within(limit, "basic.ack", channel.basic_ack(entry.delivery_tag, BasicAckOptions { multiple: true })).await?;
    }
    Ok(())
}

/// Asks for every delay queue that there can be.
async fn search(session: &Session) -> Result<(), Fault> {
    let mut requests = session.requests();
    for step in Step::all() {
        match apply::look_at_queue(&mut requests, &session.config.topology.delay_queue(step)).await {
            Ok(_) => session.known.add(step),
            Err(Fault::Refused { .. }) => sleep(SEARCH_STEP_PAUSE).await,
            Err(lost) => return Err(lost),
        }
    }
    Ok(())
}
