//! The search for the largest rate, as a state machine: it says which rate to try next, and is told what came of it. It
//! runs nothing and knows no time.
//!
//! **Ask [`next`](Search::next), then tell [`told`](Search::told), until there is no next probe.**

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Probes that came to nothing are made again so often in a row.
const UNCLEAR_MAX: u32 = 2;
/// The winner must last so many times as long as another probe.
const CONFIRM_TIMES: u32 = 3;

/// Within what is searched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The first rate that is tried, in tasks a second.
    pub start: f64,
    /// None below this is tried.
    pub least: f64,
    /// None above this is tried.
    pub most: f64,
    /// How far apart the rates may be between which the limit lies: 0.03 is 3 %.
    pub tolerance: f64,
}

/// A run to be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// Tasks a second.
    pub rate: f64,
    /// It is to last so many times as long as usual.
    pub times: u32,
}

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The objectives were met.
    Kept,
    /// They were not, or a backlog grew.
    Missed,
    /// Nothing: the tester itself was late.
    Unclear,
}

/// What a search came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// The largest rate that was confirmed by a longer probe; `null` if none was.
    pub rate_per_s: Option<f64>,
    /// The lowest rate above it that failed; `null` if none did.
    pub failed_per_s: Option<f64>,
    /// Why it went no further.
    pub reason: Reason,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The next rate up misses the objectives.
    Objective,
    /// At the next rate up, the tester itself was late, however often it was tried.
    Tester,
    /// It was not to look above this.
    Most,
    /// Even the lowest rate misses the objectives.
    Least,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Upwards in doublings, from the largest rate that was kept.
    Doubling,
    /// Downwards in halves, since the first rate already failed.
    Halving,
    /// Between the two.
    Bisecting,
    /// Whether the winner lasts; so many did not.
    Confirming(u32),
    /// Between the one that lasts and the one that does not, after larger steps down.
    Refining,
    Over(Reason),
}

/// A search.
#[derive(Debug, Clone)]
pub struct Search {
    limits: Limits,
    stage: Stage,
    /// The largest rate that was kept.
    kept: Option<f64>,
    /// The lowest rate that failed, above `kept`.
    failed: Option<f64>,
    /// Whether it failed since the tester was late.
    failed_unclear: bool,
    /// Unclear answers to the current probe.
    unclear: u32,
}

impl Search {
    /// # Panics
    /// When the limits are not in order, or the tolerance is not above 0.
    pub fn new(limits: Limits) -> Self {
        let Limits { start, least, most, tolerance } = limits;
        assert!(0.0 < least && least <= start && start <= most && most.is_finite(), "{limits:?} are in order");
        assert!(tolerance > 0.0 && tolerance.is_finite(), "a search within nothing has no end");
        Self { limits, stage: Stage::Doubling, kept: None, failed: None, failed_unclear: false, unclear: 0 }
    }

    /// The next run to make; `None` when the search is over. Asked again, it says the same.
    pub fn next(&self) -> Option<Probe> {
        let Limits { start, least, most, .. } = self.limits;
        let usual = |rate| Some(Probe { rate, times: 1 });
        let long = |rate| Some(Probe { rate, times: CONFIRM_TIMES });
        match self.stage {
            Stage::Doubling => usual(self.kept.map_or(start, |kept| (kept * 2.0).min(most))),
            Stage::Halving => usual((self.failed.unwrap_or(start) / 2.0).max(least)),
            Stage::Bisecting => usual(self.middle()),
            Stage::Confirming(_) => long(self.kept.expect("only what was kept is confirmed")),
            Stage::Refining => long(self.middle()),
            Stage::Over(_) => None,
        }
    }

    /// What came of the probe that [`next`](Self::next) said.
    ///
    /// # Panics
    /// When there was none.
    pub fn told(&mut self, verdict: Verdict) {
        let probe = self.next().expect("it was asked for");
        if verdict == Verdict::Unclear && self.unclear < UNCLEAR_MAX {
            self.unclear += 1;
            return;
        }
        self.unclear = 0;
        if verdict == Verdict::Kept {
            self.kept(probe.rate);
        } else {
            self.failed = Some(probe.rate);
            self.failed_unclear = verdict == Verdict::Unclear;
            self.missed(probe.rate);
        }
    }

    /// What it came to; `None` while it goes on.
    pub fn ended(&self) -> Option<Ended> {
        let Stage::Over(reason) = self.stage else { return None };
        let rate_per_s = self.kept.filter(|_| reason != Reason::Least);
        Some(Ended { rate_per_s, failed_per_s: self.failed, reason })
    }

    fn kept(&mut self, rate: f64) {
        self.kept = Some(rate);
        self.stage = match self.stage {
            Stage::Doubling if rate >= self.limits.most => Stage::Confirming(0),
            Stage::Doubling => Stage::Doubling,
            Stage::Halving | Stage::Bisecting => self.narrow(),
            Stage::Confirming(_) | Stage::Refining => self.refine(),
            Stage::Over(_) => unreachable!("it has ended"),
        };
    }

    fn missed(&mut self, rate: f64) {
        let Limits { least, tolerance, .. } = self.limits;
        self.stage = match self.stage {
            Stage::Doubling if self.kept.is_some() => self.narrow(),
            Stage::Doubling | Stage::Halving if rate > least => Stage::Halving,
            Stage::Bisecting => self.narrow(),
            Stage::Refining => self.refine(),
            // Steps that grow: a winner by luck is near the limit, and one that is far off should not take for ever.
            Stage::Confirming(failures) if rate > least => {
                let step = (1.0 + tolerance).powi(1 << failures.min(16));
                self.kept = Some((rate / step).max(least));
                Stage::Confirming(failures + 1)
            }
            _ => Stage::Over(Reason::Least),
        };
    }

    /// Bisects, unless both rates are near enough.
    fn narrow(&self) -> Stage {
        if self.is_near() { Stage::Confirming(0) } else { Stage::Bisecting }
    }

    /// The same of rates that last.
    fn refine(&self) -> Stage {
        if self.is_near() { Stage::Over(self.reason()) } else { Stage::Refining }
    }

    fn is_near(&self) -> bool {
        self.failed.is_none_or(|failed| failed <= self.bracket().0 * (1.0 + self.limits.tolerance))
    }

    fn middle(&self) -> f64 {
        let (kept, failed) = self.bracket();
        (kept * failed).sqrt()
    }

    fn bracket(&self) -> (f64, f64) {
        (self.kept.expect("one was kept"), self.failed.expect("one has failed"))
    }

    fn reason(&self) -> Reason {
        match self.failed {
            None => Reason::Most,
            Some(_) if self.failed_unclear => Reason::Tester,
            Some(_) => Reason::Objective,
        }
    }
}
