//! Settling: acks, returns, and what is unsettled for too long.

use super::{
    super::{
        cluster::At,
        conns::{ConnNo, Conns},
    },
    Acked, Kind, Rabbit, Timer,
    dead::Reason,
};
use crate::{history::What, host::Host};
use quebert_broker_adapter::queue::Spot;
use quebert_dispatcher::ports::broker::Tag;
use std::time::Duration;

impl Rabbit {
    /// Settles deliveries of a channel. One that it does not have closes the channel (AMQP 0-9-1, `basic.ack`).
    pub(super) fn settle(&mut self, at: At, conns: &mut Conns, key: (ConnNo, u64), acks: &[u64], returns: &[u64]) {
        for (seq, is_ack) in acks.iter().map(|seq| (*seq, true)).chain(returns.iter().map(|seq| (*seq, false))) {
            // What comes after a channel was closed is about nothing.
            let Some(channel) = self.channels.get_mut(&key) else { return };
            let (client, tag) = (channel.client, Tag { opening: channel.opening, seq });
            let Some(held) = channel.held.remove(&seq) else {
                let words = format!("PRECONDITION_FAILED - unknown delivery tag {seq}");
                return self.fail(at, conns, key, 406, words, "closed");
            };
            if is_ack {
                if let Some(spot) = self.core.settle(tag) {
                    self.ack(at, spot, client);
                }
            } else {
                self.core.give_back(tag);
                self.returned(at, held.spot, "give_back");
            }
        }
    }

    /// A message is done with. For a while a crash can undo that.
    fn ack(&mut self, at: At, spot: Spot, by: Host) {
        let parcel = self.parcels[&spot].clone();
        let key = self.key(parcel.task);
        let safe_at = at.now + self.storing(self.draw.ack, key);
        while self.acked.front().is_some_and(|acked| acked.at <= at.now) {
            self.acked.pop_front();
        }
        self.acked.push_back(Acked { at: safe_at, spot, parcel });
        self.remove(at, spot, by);
    }

    /// A message is gone from its queue.
    pub(super) fn remove(&mut self, at: At, spot: Spot, by: Host) {
        let parcel = self.parcels.remove(&spot).expect("a message has a parcel");
        self.note(at, What::Acked { copy: parcel.copy, by });
    }

    /// A message is ready again, which the core knows already. Quorum queues count that, and have enough of it some time.
    pub(super) fn returned(&mut self, at: At, spot: Spot, why: &'static str) {
        // One whose place another has taken is not there any more.
        let Some(parcel) = self.parcels.get_mut(&spot) else { return };
        let copy = parcel.copy;
        let rules = self.rules.get(&spot.queue);
        let counts = rules.is_none_or(|rules| rules.kind == Kind::Quorum);
        parcel.returns += u32::from(counts);
        let returns = parcel.returns;
        let over = rules.and_then(|rules| rules.delivery_limit).is_some_and(|limit| returns > limit);
        self.note(at, What::Returned { copy, why });
        self.touched.insert(spot.queue);
        if self.spec.requeue_first {
            self.core.hurry(spot);
        }
        if over {
            self.die(at, spot, Reason::DeliveryLimit);
        }
    }

    /// Closes a channel that has held a delivery for too long; looks again when the next could have been.
    pub(super) fn look_for_overdue(&mut self, at: At, conns: &mut Conns, key: (ConnNo, u64)) {
        let limit = Duration::from_millis(self.spec.consumer_timeout_ms);
        let Some(channel) = self.channels.get_mut(&key) else { return };
        let Some(oldest) = channel.held.values().map(|held| held.since).min() else {
            channel.watched = false;
            return;
        };
        if at.now < oldest + limit {
            return self.plan(oldest + limit, Timer::Overdue(key.0, key.1));
        }
        let words = format!(
            "PRECONDITION_FAILED - delivery acknowledgement on channel {} timed out. Timeout value used: {} ms",
            key.1, self.spec.consumer_timeout_ms
        );
        self.fail(at, conns, key, 406, words, "consumer_timeout");
    }
}
