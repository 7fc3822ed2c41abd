//! When the disk fails: what happened is found out from the file, publishes are refused, and it is tried again with
//! growing pauses. If there is just no room for more, what is stored is delivered and settled meanwhile. Nothing that was confirmed is given up, and nothing is confirmed on trust.

use super::store::{Fate, Store};
use quebert_dispatcher::ports::broker::BrokerEvent;
use std::time::{Duration, Instant};

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause: what settles the tasks that are out waits no longer than this once there is room.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The disk doesn't take what is written.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) retry_at: Instant,
    pause: Duration,
    words: String,
    /// There is no room for more, but what is stored can be delivered, settled and moved.
    full: bool,
}

impl Store {
    /// A transaction failed. The database takes nothing more until it is opened again, and then it tells whether the
    /// transaction is there. If it is, a failed sync may still have left parts of it in memory only.
    pub(super) fn find_out(&mut self, number: u64, words: String) -> Fate {
        self.disk = None;
        match self.medium.open() {
            Ok(disk) => {
                let landed = disk.number() >= number;
                self.disk = Some(disk);
                if !landed {
                    return Fate::Nowhere(words);
                }
                self.written();
                Fate::Unknown { words, landed: Some(true) }
            }
            Err(error) => {
                tracing::error!(file = %self.medium.path().display(), %error, "the store can't be opened again");
                self.doubt = Some(number);
                Fate::Unknown { words, landed: None }
            }
        }
    }

    /// From now on publishes are refused, until a try goes well.
    pub(super) fn begin_trouble(&mut self, words: String) {
        if let Some(trouble) = &mut self.trouble {
            trouble.words = words;
            trouble.pause = (trouble.pause * 2).min(PAUSE_MAX);
            trouble.retry_at = Instant::now() + trouble.pause;
            trouble.full = false;
            return;
        }
        tracing::error!(file = %self.medium.path().display(), error = words, "the store can't write; publishes are refused");
        // Whatever the trouble is: should it be a full disk, settling goes on in the room that this makes.
        self.medium.release_reserve();
        self.trouble = Some(Trouble { retry_at: Instant::now() + PAUSE_MIN, pause: PAUSE_MIN, words, full: false });
        self.tell_all(|| BrokerEvent::Blocked(true));
    }

    /// Whether nothing at all can be written.
    pub(super) fn stands_still(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| !trouble.full)
    }

    /// What to answer to those who want something written.
    pub(super) fn words(&self) -> String {
        let words = self.trouble.as_ref().map_or("it is not open", |trouble| &trouble.words);
        format!("the store can't write: {words}")
    }

    /// Tries again, if it is time.
    pub(super) fn try_again(&mut self) {
        if self.trouble.as_ref().is_some_and(|trouble| trouble.retry_at <= Instant::now()) {
            self.try_now();
        }
    }

    /// Tries again, if there is trouble: opens the file, writes what settles tasks, then looks whether there is room.
    pub(super) fn try_now(&mut self) {
        if self.trouble.is_none() {
            return;
        }
        let started = Instant::now();
        if let Err(Unmended { words, full }) = self.mend() {
            self.begin_trouble(words);
            if let Some(trouble) = &mut self.trouble {
                trouble.full = full;
                // Opening a large file takes its time; what goes on meanwhile shall not wait for it too often.
                trouble.retry_at = trouble.retry_at.max(Instant::now() + started.elapsed() * 10);
            }
            return;
        }
        tracing::info!(file = %self.medium.path().display(), "the store can write again");
        self.trouble = None;
        self.tell_all(|| BrokerEvent::Blocked(false));
    }

    fn mend(&mut self) -> Result<(), Unmended> {
        let broken = |words| Unmended { words, full: false };
        if self.disk.is_none() {
            self.disk = Some(self.medium.open().map_err(|error| broken(error.to_string()))?);
        }
        let number = self.disk.as_ref().map_or(0, super::disk::Disk::number);
        if let Some(doubtful) = self.doubt.take() {
            let landed = number >= doubtful;
            if landed {
                self.written();
            }
            // Its deliveries are old by now.
            for (handed, _) in std::mem::take(&mut self.batch.handed).iter().rev() {
                self.core.take_back(handed);
            }
            self.gather();
            self.settle_batch(landed);
        }
        match self.write() {
            Fate::Stored => {}
            Fate::Nowhere(words) => return Err(broken(words)),
            Fate::Unknown { words, landed } => {
                if let Some(landed) = landed {
                    self.settle_batch(landed);
                }
                return Err(broken(words));
            }
        }
        // What settles tasks could be written, or there was nothing of it.
        self.medium.reserve().map_err(|error| Unmended { words: error.to_string(), full: true })?;
        let disk = self.disk.as_mut().ok_or_else(|| broken("it is not open".to_owned()))?;
        if let Err(fault) = disk.probe() {
            self.medium.release_reserve();
            self.disk = None;
            self.disk = self.medium.open().ok();
            return Err(Unmended { words: fault.to_string(), full: self.disk.is_some() });
        }
        Ok(())
    }
}

/// Why trouble isn't over.
struct Unmended {
    words: String,
    /// As in [`Trouble`].
    full: bool,
}
