//! The end of the store's process, and its next beginning: what of the last transaction is on the disk, and what the store
//! makes of it.

use super::{super::cluster::At, Embedded, Life, RESTART};
use crate::net::Down;
use quebert_broker_adapter::embedded::{
    OpenError,
    simulation::{BLOCK, ByHand, Done, Loss, PowerCut, SECTOR},
};
use rand::{SeedableRng as _, rngs::StdRng};
use std::collections::BTreeMap;

impl Embedded {
    /// The process is no more. Of what it was writing, the disk keeps what it keeps.
    pub(super) fn go_down(&mut self, at: At, how: Down) {
        self.open_at = None;
        let Some(life) = self.life.take() else { return };
        self.reopened += 1;
        let draw = self.draw.of("crash").at(self.reopened);
        // In the midst of a turn it ends after any of its writes.
        let held = life.turn.as_ref().map(|_| self.disk.held());
        let held = held.map(|held| usize::try_from(draw.of("held").below(held as u64 + 1)).unwrap_or(held));
        let next = match how {
            Down::Kill => self.disk.after_process(held),
            Down::Power => {
                let losses = [Loss::All, Loss::None, Loss::Torn, Loss::Dropped, Loss::Tail];
                let loss = *draw.of("loss").one_of(&losses).expect("there are some");
                let sector = if draw.of("sector").chance(500) { SECTOR } else { BLOCK };
                let mut rng = StdRng::seed_from_u64(draw.of("tear").number());
                // The power is gone for the old one, so that nothing that is dropped now can write.
                let next = self.disk.after_held(held, PowerCut { loss, sector }, &mut rng);
                self.disk.kill();
                next
            }
        };
        self.disk = next;
        self.book.crashed(at);
        self.interrupted = life.turn.map(|turn| turn.done).unwrap_or_default();
        drop((life.clients, life.voice, life.waiting, life.store));
        self.fit_disk();
    }

    /// The process starts, or tries to.
    ///
    /// # Panics
    /// If its file is damaged: no crash may do that.
    pub(super) fn start(&mut self, at: At) {
        self.open_at = None;
        self.clock.set(at.now);
        let opened = ByHand::open_on(self.disk.clone(), self.config.clone(), self.clock.clone());
        let mut store = match opened {
            Ok(store) => store,
            Err(OpenError::Damaged { detail, .. }) => panic!("the embedded broker's file is damaged: {detail}"),
            // As a supervisor would: the disk may be better by then.
            Err(_) => return self.start_later(at),
        };
        // Takes what the recovery has written down.
        let recovery: Vec<Done> = store.turn();
        let Ok(contents) = store.contents() else {
            drop(store);
            return self.start_later(at);
        };
        let interrupted = std::mem::take(&mut self.interrupted);
        self.book.recovered(at, &interrupted, &recovery, contents);
        let voice = store.client();
        let (clients, waiting, closing) = (BTreeMap::new(), Vec::new(), Vec::new());
        self.life = Some(Life { store, voice, clients, waiting, turn: None, closing });
        self.asked = true;
    }

    fn start_later(&mut self, at: At) {
        self.open_at = Some(at.now + RESTART);
    }

    /// A disk that is another one than before has the faults of the old one.
    fn fit_disk(&self) {
        self.disk.has_room_for(self.knobs.disk_full.then_some(0));
        let seed = self.draw.of("reads").at(self.reopened).number();
        self.disk.fails_reads(self.knobs.disk_read_errors_per_mille, seed);
    }
}
