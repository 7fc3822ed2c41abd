//! What an oracle is, and what it says. Users of the library bring their own.

use super::{Oracle, Violation, scene::Scene};
use crate::{
    case::Case,
    history::{Entry, TaskNo},
    net::Ran,
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// So many violations of one promise are told of one run; more of them tell nothing new.
const TOLD_MAX: usize = 20;

/// An oracle: one promise, held against one run. It sees each entry once, in order, and the scene as it is right after it.
///
/// ```
/// use quebert_sim::{
///     history::{Entry, What},
///     judge::{Found, Oracle, Promise, scene::Scene},
/// };
///
/// /// No executor ever sees a body of a stranger.
/// struct Intact;
///
/// impl Promise for Intact {
///     fn oracle(&self) -> Oracle {
///         Oracle::Own("intact")
///     }
///
///     fn see(&mut self, _scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
///         if let What::Request { task, intact: false, .. } = &entry.what {
///             found.broken(Some(*task), "its body is not what the producer gave");
///         }
///     }
/// }
/// ```
pub trait Promise {
    /// Its name.
    fn oracle(&self) -> Oracle;

    /// Looks at what has just happened.
    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found);

    /// Looks at how it all ended.
    fn end(&mut self, scene: &Scene<'_>, ran: &Ran, found: &mut Found) {
        let _ = (scene, ran, found);
    }
}

/// Makes an oracle for a run of that case.
pub type MakePromise = Arc<dyn Fn(&Case) -> Box<dyn Promise> + Send + Sync>;

/// What oracles have found so far.
#[derive(Debug)]
pub struct Found {
    violations: Vec<Violation>,
    told: BTreeMap<Oracle, usize>,
    oracle: Oracle,
    now: Duration,
}

impl Found {
    pub(super) const fn new() -> Self {
        Self { violations: Vec::new(), told: BTreeMap::new(), oracle: Oracle::NoPanic, now: Duration::ZERO }
    }

    /// Who speaks next, and of when.
    pub(super) const fn turn(&mut self, oracle: Oracle, now: Duration) {
        self.oracle = oracle;
        self.now = now;
    }

    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    /// The promise is broken, now: what was promised and what happened instead, with numbers.
    pub fn broken(&mut self, task: Option<TaskNo>, detail: impl fmt::Display) {
        let told = self.told.entry(self.oracle).or_default();
        if *told < TOLD_MAX {
            *told += 1;
            self.violations.push(Violation { oracle: self.oracle, task, at: self.now, detail: detail.to_string() });
        }
    }
}
