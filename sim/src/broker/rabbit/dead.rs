//! Dead letters that the broker itself makes: over the delivery limit, or too old at the head of a queue. With RabbitMQ's
//! two strategies, its notes on the way, and its rule about cycles.

use super::{super::cluster::At, DeadLetter, Parcel, Rabbit, Timer, publish::task_of};
use crate::history::What;
use quebert_broker_adapter::queue::{QueueId, Spot};
use quebert_wire::{HeaderValue, Headers, Message};

/// Why a message is dead, in RabbitMQ's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It came back too often.
    DeliveryLimit,
    /// It lived too long.
    Expired,
}

impl Reason {
    const fn label(self) -> &'static str {
        match self {
            Self::DeliveryLimit => "delivery_limit",
            Self::Expired => "expired",
        }
    }
}

/// A dead letter on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    parcel: Parcel,
    target: QueueId,
    how: DeadLetter,
}

impl Rabbit {
    /// A ready message is dead: it goes where its queue sends its dead, or nowhere.
    pub(super) fn die(&mut self, at: At, spot: Spot, reason: Reason) {
        let Some(taken) = self.core.take(spot) else { return };
        let mut parcel = self.parcels.remove(&taken.spot()).expect("a message has a parcel");
        let from = self.core.name(spot.queue).expect("queues stay").to_string();
        note_death(&mut parcel.message, &from, reason);
        parcel.returns = 0;
        let target = self.rules(spot.queue).dead;
        let target = target.filter(|(target, _)| !self.is_cycle(&parcel.message, *target));
        let Some((target, how)) = target else {
            return self.note(at, What::Acked { copy: parcel.copy, by: at.node });
        };
        let task = parcel.task;
        self.last += 1;
        let number = self.last;
        self.transfers.insert(number, Transfer { parcel, target, how });
        let key = self.key(task);
        let arrives_at = at.now + self.storing(self.draw.commit, key);
        self.plan(arrives_at, Timer::Dead(number));
    }

    /// A dead letter arrives.
    pub(super) fn transfer(&mut self, at: At, number: u64) {
        let Some(Transfer { parcel, target, .. }) = self.transfers.remove(&number) else { return };
        let (_, dead) = self.put(at, target, parcel.message, at.node);
        self.note(at, What::BuriedByBroker { copy: parcel.copy, dead });
    }

    /// What a crash does to dead letters that are on their way: without the worker that waits for confirms they are lost;
    /// with it they are sent once more, and may have arrived as well.
    pub(super) fn crash_transfers(&mut self, at: At) {
        for (number, transfer) in std::mem::take(&mut self.transfers) {
            let copy = transfer.parcel.copy;
            if transfer.how == DeadLetter::AtMostOnce {
                self.note(at, What::Unstored { copy });
                continue;
            }
            let key = self.key(task_of(&transfer.parcel.message));
            if self.draw.kept.at(key).chance(500) {
                self.put(at, transfer.target, transfer.parcel.message.clone(), at.node);
            }
            self.transfers.insert(number, transfer);
        }
    }

    /// Looks at the heads of the queues that were touched: one that has lived long enough is dead. One behind a head that
    /// lives stays, however old it is.
    pub(super) fn expire_heads(&mut self, at: At) {
        for queue in std::mem::take(&mut self.touched) {
            let Some(ttl) = self.rules(queue).ttl else { continue };
            while let Some(head) = self.head(queue).filter(|head| self.parcels[head].at + ttl <= at.now) {
                self.die(at, head, Reason::Expired);
            }
        }
    }

    fn head(&self, queue: QueueId) -> Option<Spot> {
        self.core.ready_after(queue, 0).next().map(|(spot, _)| spot)
    }

    /// Whether a message that goes there has been there before, without anybody having rejected it on the way: RabbitMQ
    /// before 4.0 drops it then, and goes by the header, whoever wrote it.
    fn is_cycle(&self, message: &Message, target: QueueId) -> bool {
        let target = self.core.name(target).expect("queues stay").to_string();
        for death in deaths(message) {
            let text = |name| match death.get(name) {
                Some(HeaderValue::Text(text)) => text.as_str(),
                _ => "",
            };
            if text("reason") == "rejected" {
                return false;
            }
            if text("queue") == target {
                return true;
            }
        }
        false
    }
}

/// The deaths of a message, the latest first.
fn deaths(message: &Message) -> impl Iterator<Item = &Headers> {
    let list = match message.headers.get(X_DEATH) {
        Some(HeaderValue::List(list)) => &list[..],
        _ => &[],
    };
    list.iter().filter_map(|death| match death {
        HeaderValue::Table(table) => Some(table),
        _ => None,
    })
}

/// Notes a death: in front of the others, and counted where it died of the same in the same queue before.
fn note_death(message: &mut Message, queue: &str, reason: Reason) {
    let text = |text: &str| HeaderValue::Text(text.to_owned());
    let (queue, reason) = (text(queue), text(reason.label()));
    let same = |death: &&Headers| death.get("queue") == Some(&queue) && death.get("reason") == Some(&reason);
    let before = deaths(message).find(same).map_or(0, |death| match death.get("count") {
        Some(HeaderValue::Int(count)) => *count,
        _ => 0,
    });
    let others = deaths(message).filter(|death| !same(death)).cloned().map(HeaderValue::Table);
    let death = [("queue", queue.clone()), ("reason", reason.clone()), ("count", HeaderValue::Int(before + 1))];
    let death = death.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let list = std::iter::once(HeaderValue::Table(death)).chain(others).collect();
    message.headers.insert(X_DEATH.to_owned(), HeaderValue::List(list));
}

/// Where a message's deaths are noted.
const X_DEATH: &str = "x-death";
