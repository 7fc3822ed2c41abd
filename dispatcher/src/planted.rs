//! Known bugs, each behind a switch of one thread, so that a judge can show what it sees. It judges nothing, and without
//! the feature `planted` every switch is the constant `false`, so that a program has nothing of it.

/// Whether a bug is planted on this thread; `false` without the feature `planted`.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(feature = "planted")]
        let here = $crate::planted::is($crate::planted::Bug::$bug);
        #[cfg(not(feature = "planted"))]
        let here = false;
        here
    }};
}
pub(crate) use planted;

#[cfg(feature = "planted")]
pub use switch::{Bug, Guard, is, plant};

#[cfg(feature = "planted")]
mod switch {
    use std::{cell::Cell, fmt, marker::PhantomData, str::FromStr};

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug on this thread, instead of the one that was, until the guard is dropped.
    #[must_use = "the bug is gone with its guard"]
    pub fn plant(bug: Bug) -> Guard {
        Guard { former: PLANTED.replace(Some(bug)), thread: PhantomData }
    }

    /// Whether that bug is planted on this thread.
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Keeps a bug planted. It belongs to its thread.
    #[derive(Debug)]
    pub struct Guard {
        former: Option<Bug>,
        thread: PhantomData<*const ()>,
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            PLANTED.set(self.former);
        }
    }

    /// It is no bug's name.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error("{0:?} is no planted bug")]
    pub struct NoBug(String);

    macro_rules! bugs {
        ($($(#[doc = $doc:literal])+ $bug:ident = $name:literal,)+) => {
            /// A known bug.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            #[non_exhaustive]
            pub enum Bug {
                $($(#[doc = $doc])+ $bug,)+
            }

            impl Bug {
                /// All of them.
                pub const ALL: &'static [Self] = &[$(Self::$bug),+];

                /// Its name in output and on the command line.
                pub const fn name(self) -> &'static str {
                    match self {
                        $(Self::$bug => $name,)+
                    }
                }

                /// What it does, in a sentence.
                pub const fn about(self) -> &'static str {
                    match self {
                        $(Self::$bug => concat!($($doc),+).trim_ascii(),)+
                    }
                }
            }
        };
    }

    bugs! {
        // Settling.
        /// A delivery is acked when its request is sent, not when its fate is known.
        AckBeforeDispatch = "ack-before-dispatch",
        /// A delivery is acked before its next copy is confirmed.
        AckBeforeConfirm = "ack-before-confirm",
        /// What should go back to its queue is acked.
        GiveBackIsAck = "give-back-is-ack",
        /// What should go back to its queue is just forgotten.
        GiveBackForgotten = "give-back-forgotten",
        /// Every third delivery is never settled.
        LeakedDelivery = "leaked-delivery",
        /// A dead letter is acked, and stored nowhere.
        LostDeadLetter = "lost-dead-letter",
        /// Expired tasks are not kept, though the config says so.
        LostExpired = "lost-expired",
        /// A publish that ran into its time limit counts as stored.
        TimeoutIsStored = "timeout-is-stored",
        /// A publish that was refused counts as stored.
        NackIsStored = "nack-is-stored",
        /// A publish that failed is never tried again.
        PublishNotRetried = "publish-not-retried",
        /// What cannot be read goes back to its queue.
        PoisonLoop = "poison-loop",
        /// Settlements are counted twice.
        SettledTwice = "settled-twice",

        // Duplicates.
        /// A redelivery of what was settled is sent again.
        RecallForgotten = "recall-forgotten",
        /// A redelivery does not find the request that is under way for it.
        OrphanForgotten = "orphan-forgotten",

        // Time.
        /// The time to live is looked at on arrival only.
        ExpiryOnArrivalOnly = "expiry-on-arrival-only",
        /// A request under way is not cut off when its task expires.
        ExpiryNotCut = "expiry-not-cut",
        /// A retry is scheduled though the task expires before.
        RetryBeyondExpiry = "retry-beyond-expiry",
        /// Tasks start up to 300 ms before their moment.
        EtaEarly = "eta-early",
        /// The delay grid rounds a delay down and forgets the rest.
        GridRoundsDown = "grid-rounds-down",
        /// A delay queue that others made is not taken from.
        DelayNotLearned = "delay-not-learned",
        /// The timer of a task that is held for its moment is not set.
        HeldForgotten = "held-forgotten",

        // Backoff.
        /// The longest backoff is no limit.
        BackoffUncapped = "backoff-uncapped",
        /// The jitter goes below its range.
        JitterBelow = "jitter-below",
        /// `Retry-After` is ignored.
        RetryAfterIgnored = "retry-after-ignored",
        /// The attempts made are forgotten when a task is put off.
        AttemptsReset = "attempts-reset",
        /// One attempt more than the policy has.
        AttemptsOffByOne = "attempts-off-by-one",

        // Slots.
        /// The lowest priority goes first.
        PriorityInverted = "priority-inverted",
        /// A lane that was passed over often enough is passed over further.
        LaneStarved = "lane-starved",
        /// A lane has one slot more than it should.
        SlotOffByOne = "slot-off-by-one",
        /// Every other slot that is given out is never free again.
        SlotLeaked = "slot-leaked",
        /// A destination's limit is none.
        DestinationUncapped = "destination-uncapped",
        /// Whoever is silent may take the whole lane.
        SilenceTrusted = "silence-trusted",

        // Hooks.
        /// A hook that failed counts as one that said "send".
        HookErrorSwallowed = "hook-error-swallowed",
        /// A hook's "drop" is not heard.
        HookDropIgnored = "hook-drop-ignored",

        // Drain and pause.
        /// What waits is sent during the drain.
        DrainSends = "drain-sends",
        /// The drain does not wait for what is under way.
        DrainCuts = "drain-cuts",
        /// A paused lane goes on.
        PauseIgnored = "pause-ignored",
        /// A lane that was paused is not opened again.
        ResumeForgotten = "resume-forgotten",

        // What an adapter may get wrong: these are planted by the simulation, around the broker's port.
        /// A tag of a former connection settles whatever has it now.
        StaleTag = "stale-tag",
        /// After a lost connection each source is opened twice.
        ConsumedTwice = "consumed-twice",
        /// No limit of unsettled deliveries is given to the broker.
        WindowForgotten = "window-forgotten",
        /// The acks of the last moment before a stop are never sent.
        LastAcksLost = "last-acks-lost",
        /// After a lost connection one lane is not opened again.
        LaneNotReopened = "lane-not-reopened",
        /// A publish counts as stored when it is sent.
        PublishUnconfirmed = "publish-unconfirmed",
    }

    impl fmt::Display for Bug {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.name())
        }
    }

    impl FromStr for Bug {
        type Err = NoBug;

        fn from_str(text: &str) -> Result<Self, NoBug> {
            Self::ALL.iter().copied().find(|bug| bug.name() == text).ok_or_else(|| NoBug(text.to_owned()))
        }
    }
}

#[cfg(all(test, feature = "planted"))]
mod tests {
    use super::{Bug, is, plant};
    use std::collections::BTreeSet;

    #[test]
    fn a_bug_is_planted_on_its_own_thread_until_its_guard_is_dropped() {
        let bug = plant(Bug::EtaEarly);
        assert!(is(Bug::EtaEarly) && !is(Bug::StaleTag));
        std::thread::scope(|scope| scope.spawn(|| assert!(!is(Bug::EtaEarly))).join().unwrap());
        drop(plant(Bug::StaleTag));
        assert!(is(Bug::EtaEarly), "the former one is back");
        drop(bug);
        assert!(Bug::ALL.iter().all(|bug| !is(*bug)));
    }

    #[test]
    fn every_bug_has_a_name_of_its_own_and_is_read_by_it() {
        let names: BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        for bug in Bug::ALL {
            assert_eq!(bug.name().parse(), Ok(*bug));
            assert!(bug.about().ends_with('.'), "{}", bug.about());
        }
        assert!("none".parse::<Bug>().is_err());
    }
}
