//! What is left when the leading node dies, or leads no more: what is safe, and some of the rest.

use super::{
    super::cluster::At,
    Acked, Rabbit, Timer,
    publish::{Pending, Place, task_of},
    target_of,
};
use crate::{history::What, net::Down};
use quebert_broker_adapter::queue::{Letter, QueueId};
use std::{collections::BTreeMap, time::Duration};

/// How young a queue is that a killed node may forget with all that is in it: RabbitMQ 3.10 enters a new quorum queue into
/// a table whose writes are held back for 3 s, and saved 1 s later. Others have it in their tables already.
const YOUNG: Duration = Duration::from_secs(4);
/// Of 1,000 young queues, how many are forgotten.
const FORGOTTEN_PER_MILLE: u32 = 500;

/// Of 1,000 things that were written and not synced, how many are still there.
const fn kept_per_mille(how: Option<Down>) -> u32 {
    match how {
        // What a killed process has written is in the system's memory.
        Some(Down::Kill) => 700,
        Some(Down::Power) => 300,
        // The next leader has them, or does not.
        None => 500,
    }
}

impl Rabbit {
    /// The leader is no more. `how` it went down, unless another one just leads from now on.
    pub(super) fn end(&mut self, at: At, how: Option<Down>) {
        let kept = kept_per_mille(how);
        for key in self.channels.keys().copied().collect::<Vec<_>>() {
            self.close(at, key, "crash");
        }
        self.room.clear();
        self.batches.clear();
        // What is due on this leader is due on no other; what goes on after a restart is planned anew.
        self.timers.clear();
        self.next_tick = None;
        for (_, pending) in std::mem::take(&mut self.pending) {
            self.crash_pending(at, pending, kept);
        }
        self.committed_by.clear();
        for acked in std::mem::take(&mut self.acked) {
            self.crash_acked(at, acked, kept);
        }
        self.crash_transfers(at);
        // A broker whose moves are transactions has no queues that it could forget.
        if how.is_some() && self.spec.nodes == 1 && !self.spec.relocates {
            self.forget_young(at);
        }
        // A queue whose head has lived long enough notices that when it is touched, and not before.
        self.touched.clear();
        drop(self.core.changes());
    }

    /// A publish that nobody was told of: in its queue, or nowhere.
    fn crash_pending(&mut self, at: At, pending: Pending, kept: u32) {
        if pending.safe_at <= at.now {
            return;
        }
        match pending.place {
            Place::Nowhere => {}
            Place::Outside(queue, message) => {
                let key = self.key(task_of(&message));
                if self.draw.kept.at(key).chance(kept) {
                    self.store(at, queue, message, &pending.asked);
                }
            }
            Place::Inside(spot) => {
                // It may have been delivered and acked meanwhile.
                let Some(parcel) = self.parcels.get(&spot) else { return };
                let (copy, task) = (parcel.copy, parcel.task);
                let key = self.key(task);
                if !self.draw.kept.at(key).chance(kept) {
                    self.core.take(spot).expect("nobody holds anything after a crash");
                    self.parcels.remove(&spot);
                    self.note(at, What::Unstored { copy });
                }
            }
        }
    }

    /// An ack that was not safe: done, or undone.
    fn crash_acked(&mut self, at: At, acked: Acked, kept: u32) {
        let Acked { at: safe_at, spot, mut parcel } = acked;
        let key = self.key(parcel.task);
        if safe_at <= at.now || self.draw.revived.at(key).chance(kept) {
            return;
        }
        let letter = Letter { payload: (), bytes: bytes_of(&parcel.message), at_ms: 0, id: 0, home: None };
        self.core.restore(spot, letter, Some(0));
        let target = target_of(self.core.name(spot.queue).expect("queues stay"));
        self.note(at, What::Revived { copy: parcel.copy, target, task: parcel.task });
        parcel.returns += u32::from(self.rules(spot.queue).kind == super::Kind::Quorum);
        self.parcels.insert(spot, parcel);
    }

    /// Delay queues that are too young to be relied on may be gone, with all that is in them.
    fn forget_young(&mut self, at: At) {
        let young: BTreeMap<QueueId, Duration> = self
            .delays
            .iter()
            .filter(|(_, made)| at.now < **made + YOUNG)
            .map(|(queue, made)| (*queue, *made))
            .collect();
        for (queue, made_at) in young {
            let key = u64::try_from(made_at.as_millis()).unwrap_or(u64::MAX);
            if !self.draw.forgotten.at(u64::from(queue.0)).at(key).chance(FORGOTTEN_PER_MILLE) {
                continue;
            }
            let all = self.core.ready_after(queue, 0).map(|(spot, _)| spot).collect::<Vec<_>>();
            for spot in all {
                self.core.take(spot);
                let parcel = self.parcels.remove(&spot).expect("a message has a parcel");
                self.note(at, What::Unstored { copy: parcel.copy });
            }
        }
    }

    /// A leader leads: what waits for it goes on.
    pub(super) fn go_on(&mut self, at: At) {
        for number in self.transfers.keys().copied().collect::<Vec<_>>() {
            self.plan(at.now, Timer::Dead(number));
        }
    }
}

fn bytes_of(message: &quebert_wire::Message) -> u32 {
    u32::try_from(message.body.len()).unwrap_or(u32::MAX)
}
