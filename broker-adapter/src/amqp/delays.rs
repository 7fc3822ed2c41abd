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
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::sleep;

/// Streams need a window, and send by chunks; entries are a few bytes.
const WINDOW: u16 = 100;
/// Between two tries at a stream that fails.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Between two searches where there can be no stream.
const SEARCH_PAUSE: Duration = Duration::from_secs(600);
/// Between two questions of a search: each that finds nothing costs the broker a channel and a line in its log.
const SEARCH_STEP_PAUSE: Duration = Duration::from_millis(20);

/// One entry of the stream: a length in milliseconds, and when its queue was made, in milliseconds since 1970. Without
/// the moment each new dispatcher would take all queues for young ones, and hold back its acks for
/// [`RIPE_AFTER`](super::RIPE_AFTER): killed more often than that, it would never settle anything that it moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announcement {
    step: Step,
    made_at_ms: u64,
}

impl Announcement {
    pub(crate) fn now(step: Step) -> Self {
        Self { step, made_at_ms: wall_ms() }
    }

    fn read(text: &str) -> Option<Self> {
        let (length, made_at) = text.split_once(' ')?;
        Some(Self { step: Step::from_millis(length.parse().ok()?)?, made_at_ms: made_at.parse().ok()? })
    }

    /// Zero where the clocks disagree.
    fn age(self) -> Duration {
        Duration::from_millis(wall_ms().saturating_sub(self.made_at_ms))
    }
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.step.length().as_millis(), self.made_at_ms)
    }
}

fn wall_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

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
    let link = session.connect_for_reading().await;
    let link = link.map_err(|error| Fault::Lost { reason: "connect", words: error.to_string() })?;
    let channel = within(limit, "channel.open", link.connection.create_channel()).await?;
    within(limit, "basic.qos", channel.basic_qos(WINDOW, BasicQosOptions { global: false })).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
    let consuming = channel.basic_consume(name.into(), "".into(), BasicConsumeOptions::default(), arguments);
    let mut consumer = within(limit, "basic.consume", consuming).await?;
    while let Some(entry) = consumer.next().await {
        let entry = entry.map_err(|error| Fault::from(&error))?;
        match std::str::from_utf8(&entry.data).ok().and_then(Announcement::read) {
            Some(told) => session.known.add(told.step, told.age()),
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
            Ok(_) => session.known.add(step, Duration::ZERO),
            Err(Fault::Refused { .. }) => sleep(SEARCH_STEP_PAUSE).await,
            Err(lost) => return Err(lost),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_read_as_they_were_written() {
        for step in Step::all() {
            let told = Announcement::now(step);
            assert_eq!(Announcement::read(&told.to_string()), Some(told));
        }
        for text in ["", "1000", "1001 5", "1000 x", "x 5", "1000 -5"] {
            assert_eq!(Announcement::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_clock_that_is_behind_makes_no_queue_old() {
        let step = Step::all().next().expect("there are lengths");
        assert_eq!(Announcement { step, made_at_ms: u64::MAX }.age(), Duration::ZERO);
    }
}
