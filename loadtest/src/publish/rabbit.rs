//! Into RabbitMQ, as a producer does: persistent, mandatory and confirmed, over the adapter's operators' side.

use super::{Door, Parcel, Refused};
use quebert_broker_adapter::{
    admin::{Admin, Enqueue},
    amqp::RabbitAdmin,
};
use quebert_dispatcher::ports::BoxFuture;
use quebert_wire::{Form, JsonCodec};
use std::sync::Arc;

/// A door into RabbitMQ.
pub struct RabbitDoor {
    admin: Arc<RabbitAdmin>,
    prefix: String,
    window: usize,
}

impl RabbitDoor {
    /// `window` publishes at a time: as many as the admin has channels. Queues are named `<prefix>.<lane>`.
    pub fn new(admin: Arc<RabbitAdmin>, prefix: &str, window: usize) -> Self {
        Self { admin, prefix: prefix.to_owned(), window }
    }

    fn enqueue(&self, parcel: &Parcel) -> Result<Enqueue, Refused> {
        let message = parcel.envelope.to_message(Form::Envelope(&JsonCodec)).map_err(|e| Refused(e.to_string()))?;
        Ok(Enqueue { queue: format!("{}.{}", self.prefix, parcel.queue).into(), message, once: None })
    }
}

impl Door for RabbitDoor {
    /// One by one, so that each has its own time of confirmation.
    fn batch_max(&self) -> usize {
        1
    }

    fn window(&self) -> usize {
        self.window
    }

    fn publish(&self, parcels: Vec<Parcel>) -> BoxFuture<'_, Vec<Result<(), Refused>>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(parcels.len());
            for parcel in &parcels {
                answers.push(match self.enqueue(parcel) {
                    Err(refused) => Err(refused),
                    Ok(task) => match self.admin.enqueue(vec![task]).await.pop() {
                        Some(Ok(_)) => Ok(()),
                        Some(Err(e)) => Err(Refused(e.to_string())),
                        None => Err(Refused("no answer".to_owned())),
                    },
                });
            }
            answers
        })
    }
}
