//! One opening of one source: its channel, its consumer, its window, its acks.
//!
//! Opens once. Whether to open again is the supervisor's affair.

use super::{
    acks::Acks,
    message,
    rpc::{Fault, within},
    session::Session,
};
use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use quebert_dispatcher::ports::broker::{BrokerEvent, Delivery, Opening, Source, Tag};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, watch};

/// What an opening is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Deliver.
    Run,
    /// Deliver nothing new, and go on settling.
    Pause,
    /// Send what acks are pending, close the channel, and end.
    Close,
    /// The session is lost: end.
    Abandon,
}

/// How an opening ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) source: Source,
    pub(crate) opening: Opening,
    /// Whether `Opened` was told.
    pub(crate) opened: bool,
    /// Why; `None` if it was told to end.
    pub(crate) fault: Option<Fault>,
}

/// The acks of each opening that is open. A tag of any other opening finds nothing here.
#[derive(Debug, Default)]
pub(crate) struct Openings(Mutex<BTreeMap<Opening, Arc<Acks>>>);

impl Openings {
    pub(crate) fn find(&self, opening: Opening) -> Option<Arc<Acks>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&opening).cloned()
    }

    fn add(&self, opening: Opening, acks: Arc<Acks>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(opening, acks);
    }

    fn remove(&self, opening: Opening) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&opening);
    }
}

/// One opening, to be run once.
pub(crate) struct Opener {
    pub(crate) session: Arc<Session>,
    pub(crate) source: Source,
    pub(crate) opening: Opening,
    pub(crate) window: u16,
    /// Whether an earlier try failed, so that the queue may have to be declared first.
    pub(crate) again: bool,
    pub(crate) openings: Arc<Openings>,
    pub(crate) events: mpsc::Sender<BrokerEvent>,
    pub(crate) phase: watch::Receiver<Phase>,
}

impl Opener {
    /// Opens, delivers and acks until told to end, or until something fails.
    pub(crate) async fn run(self) -> Ended {
        let mut phase = self.phase.clone();
        let ending = async move {
            let ended = phase.wait_for(|phase| *phase >= Phase::Close).await;
            ended.map_or(Phase::Abandon, |phase| *phase)
        };
        tokio::pin!(ending);
        let opened = tokio::select! {
            biased;
            _ = &mut ending => return self.ended(false, None),
            opened = self.open() => opened,
        };
        let (channel, consumer) = match opened {
            Ok(opened) => opened,
            Err(fault) => return self.ended(false, Some(fault)),
        };
        let acks = Arc::new(Acks::new(self.window));
        self.openings.add(self.opening, acks.clone());
        let limit = self.session.config.operation_timeout;
        let flushing = acks.run(&channel, limit);
        tokio::pin!(flushing);
        let mut told = false;
        let end = tokio::select! {
            biased;
            phase = &mut ending => Ok(phase),
            fault = &mut flushing => Err(fault.err()),
            fault = self.deliver(&channel, consumer, &acks, &mut told) => Err(Some(fault)),
        };
        // From here on a tag of this opening does nothing.
        self.openings.remove(self.opening);
        let fault = match end {
            Ok(Phase::Close) => {
                acks.finish();
                // What can't be sent goes back to the queue with the channel: delivered again, not lost.
                let _ = flushing.await;
                self.let_acks_arrive(&channel).await;
                let _ = within(limit, "channel.close", channel.close(200, "closed".into())).await;
                None
            }
            Ok(_) => None,
            Err(fault) => {
                // It may still be open, after a write that took too long. Nobody waits for this.
                let channel = channel.clone();
                tokio::spawn(async move { within(limit, "channel.close", channel.close(200, "failed".into())).await });
                fault
            }
        };
        self.ended(told, fault)
    }

    /// RabbitMQ's channel keeps acks of a busy quorum queue back until the queue has applied earlier ones, and forgets them
    /// when it is closed meanwhile. Each question that it answers gives it a turn to send them.
    async fn let_acks_arrive(&self, channel: &Channel) {
        const TURNS: usize = 3;
        let limit = self.session.config.operation_timeout;
        let queue = match &self.source {
            Source::Queue(queue) => queue.to_string(),
            Source::Delay(step) => self.session.config.topology.delay_queue(*step),
        };
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        for _ in 0..TURNS {
            let question = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default());
            if within(limit, "queue.declare", question).await.is_err() {
                return;
            }
        }
    }

    async fn open(&self) -> Result<(Channel, Consumer), Fault> {
        let limit = self.session.config.operation_timeout;
        let queue = match &self.source {
            Source::Queue(queue) => {
                if self.again {
                    self.session.redeclare_lane(queue).await?;
                }
                queue.to_string()
            }
            Source::Delay(step) => {
                self.session.delay_ready(*step, self.again).await?;
                self.session.config.topology.delay_queue(*step)
            }
        };
        let queue = message::short_string("queue", &queue)
            .map_err(|unfit| Fault::Refused { code: 0, words: unfit.to_string() })?;
        let channel = within(limit, "channel.open", self.session.consuming().create_channel()).await?;
        // Before the consumer, and per consumer: the only kind that quorum queues know.
        within(limit, "basic.qos", channel.basic_qos(self.window, BasicQosOptions { global: false })).await?;
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(queue, "".into(), options, FieldTable::default());
        let consumer = within(limit, "basic.consume", consuming).await?;
        Ok((channel, consumer))
    }

    /// Delivers until something fails. `told` is whether `Opened` was.
    async fn deliver(&self, channel: &Channel, mut consumer: Consumer, acks: &Acks, told: &mut bool) -> Fault {
        let opened = BrokerEvent::Opened { source: self.source.clone(), opening: self.opening };
        let gone = || Fault::Lost { reason: "closed", words: "nobody listens to the events".into() };
        if self.events.send(opened).await.is_err() {
            return gone();
        }
        *told = true;
        let mut paused = false;
        // Made once: to listen anew with each delivery costs more than the delivery.
        let pausing = until_paused(self.phase.clone());
        tokio::pin!(pausing);
        loop {
            let next = tokio::select! {
                biased;
                () = &mut pausing, if !paused => {
                    paused = true;
                    let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
                    if let Err(fault) = within(self.session.config.operation_timeout, "basic.cancel", cancel).await {
                        return fault;
                    }
                    continue;
                }
                next = consumer.next() => next,
            };
            let delivery = match next {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => return Fault::from(&error),
                // Polled once more it would be silent for ever.
                None if paused => std::future::pending().await,
                None => return Fault::Lost { reason: "consumer", words: "the broker cancelled the consumer".into() },
            };
            // Left over from before a fault of which the stream has not told yet.
            if !delivery.acker.usable() {
                continue;
            }
            let seq = delivery.delivery_tag;
            acks.delivered(seq);
            if paused {
                acks.give_back(seq);
                continue;
            }
            let message = message::from_delivery(&delivery.properties, delivery.data);
            let tag = Tag { opening: self.opening, seq };
            let delivered = BrokerEvent::Delivered(Delivery { tag, redelivered: delivery.redelivered, message });
            if self.events.send(delivered).await.is_err() {
                return gone();
            }
        }
    }

    fn ended(self, opened: bool, fault: Option<Fault>) -> Ended {
        Ended { source: self.source, opening: self.opening, opened, fault }
    }
}

async fn until_paused(mut phase: watch::Receiver<Phase>) {
    // An error is the end of the supervisor, which `run` meets first.
    let _ = phase.wait_for(|phase| *phase == Phase::Pause).await;
}
