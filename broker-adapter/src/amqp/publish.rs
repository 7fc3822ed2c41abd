//! Publishing with the broker's confirmation, over a pool of channels.
//!
//! At most one unconfirmed mandatory publish per channel: lapin can hand a returned message to the wrong confirmation.
//! Repeats nothing by itself.

use super::{
    message::{self, short_string},
    rpc::{Fault, NOT_FOUND, within},
};
use lapin::{
    Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use quebert_dispatcher::ports::broker::PublishError;
use quebert_wire::Message;
use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

/// Publishes over one connection.
pub(crate) struct Publisher {
    idle: Mutex<Vec<Channel>>,
    permits: Semaphore,
    blocked: watch::Receiver<bool>,
    operation_timeout: Duration,
    header_bytes_max: usize,
}

impl Publisher {
    pub(crate) fn new(
        channels: u16,
        blocked: watch::Receiver<bool>,
        operation_timeout: Duration,
        header_bytes_max: usize,
    ) -> Self {
        let permits = Semaphore::new(channels.into());
        Self { idle: Mutex::default(), permits, blocked, operation_timeout, header_bytes_max }
    }

    /// Publishes, mandatory and persistent, and waits for the confirmation until `deadline`.
    pub(crate) async fn publish(
        &self,
        connection: &Connection,
        exchange: &str,
        routing_key: &str,
        message: &Message,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let refused = |unfit: message::Unfit| PublishError::Refused(unfit.to_string());
        let exchange = short_string("exchange", exchange).map_err(refused)?;
        let routing_key = short_string("routing key", routing_key).map_err(refused)?;
        let properties = message::to_properties(message, self.header_bytes_max).map_err(refused)?;

        let unsent = |why: &str| PublishError::NotConnected(why.into());
        self.unblocked(deadline).await.ok_or_else(|| unsent("the broker has blocked the connection"))?;
        let permit = timeout_at(deadline, self.permits.acquire()).await;
        let _permit = permit.map_err(|_| unsent("no publish channel came free"))?.expect("never closed");
        let channel = timeout_at(deadline, self.channel(connection)).await;
        let channel = channel.map_err(|_| unsent("no channel in time"))?.map_err(|fault| unsent(fault.words()))?;
        // From here on the message may be on its way. A channel that is dropped, by an error, the limit, or our caller
        // giving up, is closed with it, so that no late confirmation can meet a later publish.
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let confirmed =
            async { channel.basic_publish(exchange, routing_key, options, &message.body, properties).await?.await };
        let confirmation = match timeout_at(deadline, confirmed).await {
            Ok(Ok(confirmation)) => confirmation,
            Ok(Err(error)) => return Err(failed(&Fault::from(&error))),
            Err(_) => return Err(PublishError::Unknown("no confirmation in time".into())),
        };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back)) => {
                Err(PublishError::Returned(format!("{} {}", back.reply_code, back.reply_text)))
            }
            Confirmation::Nack(None) => Err(PublishError::Refused("nack".into())),
            Confirmation::NotRequested => Err(PublishError::Unknown("the channel does not confirm".into())),
        }
    }

    /// `None` if it stays blocked until the deadline.
    async fn unblocked(&self, deadline: Instant) -> Option<()> {
        let mut blocked = self.blocked.clone();
        let free = timeout_at(deadline, blocked.wait_for(|blocked| !blocked)).await;
        // An error of the inner result is the end of the session, which the publish itself will meet.
        free.ok().map(drop)
    }

    fn channel<'a>(&'a self, connection: &'a Connection) -> impl Future<Output = Result<Channel, Fault>> + 'a {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        async move {
            while let Some(channel) = idle() {
                if channel.status().connected() {
                    return Ok(channel);
                }
            }
            let channel = within(self.operation_timeout, "channel.open", connection.create_channel()).await?;
            within(self.operation_timeout, "confirm.select", channel.confirm_select(ConfirmSelectOptions::default()))
                .await?;
            Ok(channel)
        }
    }
}

/// What a failed publish means. With one publish per channel, a refusal that closed the channel was about this one.
fn failed(fault: &Fault) -> PublishError {
    let words = fault.words().to_owned();
    match fault {
        Fault::Refused { code: NOT_FOUND, .. } => PublishError::Returned(words),
        Fault::Refused { .. } => PublishError::Refused(words),
        Fault::Lost { .. } => PublishError::Unknown(words),
    }
}
