//! When the disk fails: what happened is found out from the file, publishes are refused, and it is tried again with
//! growing pauses. Nothing that was confirmed is given up, and nothing is confirmed on trust.

use super::{
    disk::Disk,
    store::{Fate, Store},
};
use quebert_dispatcher::ports::broker::BrokerEvent;
use std::time::Duration;

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause: what settles the tasks that are out waits no longer than this once there is room.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The disk doesn't take what is written.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) retry_at: Duration,
    pause: Duration,
    words: String,
    /// Nothing can be written until the next try. Otherwise tasks are settled and delivered, and only what is new is
    /// refused, until there is room for it again.
    stuck: bool,
}

impl Store {
    /// A transaction failed. The database takes nothing more until it is opened again, and then it tells whether the
    /// transaction is there. If it is, a failed sync may still have left parts of it in memory only.
    pub(super) fn find_out(&mut self, number: u64, words: String) -> Fate {
        self.disk = None;
        match self.medium.open_again(self.confirmed) {
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
        let now = self.mono();
        if let Some(trouble) = &mut self.trouble {
            if trouble.words != words {
                tracing::error!(file = %self.medium.path().display(), error = words, "the store can't write");
            }
            trouble.words = words;
            trouble.stuck = true;
            trouble.pause = (trouble.pause * 2).min(PAUSE_MAX);
            trouble.retry_at = now + trouble.pause;
            return;
        }
        tracing::error!(file = %self.medium.path().display(), error = words, "the store can't write; publishes are refused");
        // Whatever the trouble is: should it be a full disk, settling goes on in the room that this makes.
        self.medium.release_reserve();
        self.trouble = Some(Trouble { retry_at: now + PAUSE_MIN, pause: PAUSE_MIN, words, stuck: true });
        self.tell_all(|| BrokerEvent::Blocked(true));
    }

    /// What to answer to those who want something written.
    pub(super) fn words(&self) -> String {
        let words = self.trouble.as_ref().map_or("it is not open", |trouble| &trouble.words);
        format!("the store can't write: {words}")
    }

    /// Tries again, if it is time.
    pub(super) fn try_again(&mut self) {
        if self.trouble.as_ref().is_some_and(|trouble| trouble.retry_at <= self.mono()) {
            self.try_now();
        }
    }

    /// Whether nothing can be written for now.
    pub(super) fn is_stuck(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.stuck)
    }

    /// Tries again, if there is trouble: opens the file, writes what settles tasks, then looks whether there is room.
    pub(super) fn try_now(&mut self) {
        if self.trouble.is_none() {
            return;
        }
        if let Err(words) = self.mend() {
            return self.begin_trouble(words);
        }
        if let Err(words) = self.probe() {
            self.medium.release_reserve();
            self.begin_trouble(words);
            if self.disk.is_none() {
                // The database has to be opened once more.
                match self.medium.open_again(self.confirmed) {
                    Ok(disk) => self.disk = Some(disk),
                    Err(error) => return self.begin_trouble(error.to_string()),
                }
            }
            if let Some(trouble) = &mut self.trouble {
                trouble.stuck = false;
            }
            return;
        }
        tracing::info!(file = %self.medium.path().display(), "the store can write again");
        self.trouble = None;
        self.tell_all(|| BrokerEvent::Blocked(false));
    }

    /// Gets the file open, settles what is in doubt, and writes what is pending.
    fn mend(&mut self) -> Result<(), String> {
        if self.disk.is_none() {
            self.disk = Some(self.medium.open_again(self.confirmed).map_err(|error| error.to_string())?);
        }
        let number = self.disk.as_ref().map_or(0, Disk::number);
        self.confirmed = self.confirmed.max(number);
        if let Some(doubtful) = self.doubt.take() {
            // What was pending then is written once more: more has come since.
            let landed = number >= doubtful;
            // Its deliveries are old by now.
            for (handed, _) in std::mem::take(&mut self.batch.handed).iter().rev() {
                self.core.take_back(handed);
            }
            self.gather();
            self.settle_batch(landed);
        }
        match self.write() {
            Fate::Stored => Ok(()),
            Fate::Nowhere(words) => Err(words),
            Fate::Unknown { words, landed } => {
                if let Some(landed) = landed {
                    self.settle_batch(landed);
                }
                Err(words)
            }
        }
    }

    /// Whether there is room for what is new, beside the reserve.
    fn probe(&mut self) -> Result<(), String> {
        self.medium.reserve().map_err(|error| error.to_string())?;
        let disk = self.disk.as_mut().ok_or("it is not open")?;
        disk.probe().map_err(|fault| {
            self.disk = None;
            fault.to_string()
        })
    }
}
