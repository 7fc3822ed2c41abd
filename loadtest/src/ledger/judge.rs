//! The sum that is drawn at the end: what became of the tasks, and which promises were broken. It asks nobody; what was
//! found in the queues and in the dispatchers' counters is handed in.

use super::{
    Book, Counts, Rules,
    extra::{Extra, ExtraKind, Fault},
    record::{Record, flag},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ids that are told of each kind.
const EXAMPLES: usize = 10;

/// What others found out, after the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Messages that are still in queues and whose ids nobody knows; `None` if nobody looked.
    pub left_unnamed: Option<u64>,
    /// Messages left in queues, all together; `None` if nobody looked.
    pub left: Option<u64>,
    /// The most requests of each queue that were under way at a time.
    pub peaks: Vec<u32>,
    /// The dispatchers' counters beside the ledger's. Empty if there was a fault, or nobody to ask.
    pub accounts: Vec<Account>,
}

/// A counter of the dispatchers, and the ledger's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// What is counted.
    pub name: String,
    /// The dispatchers' figure.
    pub theirs: f64,
    /// The ledger's.
    pub ours: f64,
    /// Theirs may be larger by this.
    pub slack: f64,
}

/// One promise, and whether it was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What was looked at.
    pub name: String,
    /// What was found.
    pub found: f64,
    /// Whether that is as it must be.
    pub ok: bool,
    /// For people.
    pub note: String,
}

/// The version of [`Judged`].
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// A verdict in a file of its own, as `verify --json` writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// 1.
    pub schema_version: u32,
    /// The tester's version: another one may judge otherwise.
    pub version: String,
    /// What it came to.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Self { schema_version: SCHEMA_VERSION, version: env!("CARGO_PKG_VERSION").to_owned(), verdict }
    }
}

/// The sum of a run's ledger.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Whether every promise was kept.
    pub ok: bool,
    /// Tasks handed to the broker's client.
    pub published: u64,
    /// Tasks that the broker confirmed.
    pub confirmed: u64,
    /// Tasks that it didn't, or of which nobody knows.
    pub unconfirmed: u64,
    /// Tasks that an executor saw.
    pub executed: u64,
    /// Requests that executors saw.
    pub attempts: u64,
    /// Tasks that succeeded.
    pub succeeded: u64,
    /// Tasks found among the dead letters that had not succeeded.
    pub dead: u64,
    /// Of these, those whose time was over.
    pub expired: u64,
    /// Tasks that are still in a queue.
    pub left: u64,
    /// Confirmed tasks of which there is no trace.
    pub lost: u64,
    /// Requests of a task that had succeeded.
    pub duplicates: u64,
    /// Of these, those that no fault explains.
    pub duplicates_unexplained: u64,
    /// Requests of an attempt that had been made.
    pub repeats: u64,
    /// Of these, those that no fault explains.
    pub repeats_unexplained: u64,
    /// Requests before their moment.
    pub early: u64,
    /// Requests after their task had expired.
    pub late: u64,
    /// Requests beyond the most attempts.
    pub over_attempts: u64,
    /// Queues that had more requests under way than they may.
    pub over_limits: u64,
    /// First requests of a task while one of higher priority waited for more than half a second and could have been sent.
    pub inversions: u64,
    /// Requests of tasks that this run didn't make.
    pub unknown: u64,
    /// The promises, one by one.
    pub findings: Vec<Finding>,
    /// Ids of lost tasks, up to ten.
    pub lost_ids: Vec<String>,
    /// Ids of tasks with requests that nothing explains, up to ten.
    pub unexplained_ids: Vec<String>,
    /// What was done to the system.
    pub faults: Vec<FaultView>,
}

/// A fault, as it is reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultView {
    /// For people.
    pub what: String,
    /// From the start of the run.
    pub from_s: f64,
    /// Equal to `from_s` for a kill.
    pub until_s: f64,
}

/// All that a judgement needs.
pub(super) struct Case<'a> {
    pub(super) rules: &'a Rules,
    pub(super) counts: &'a Counts,
    pub(super) extras: &'a [Extra],
    pub(super) faults: &'a [Fault],
    pub(super) found: &'a Findings,
    pub(super) prefix: &'a str,
}

impl Account {
    fn finding(&self) -> Finding {
        let Self { name, theirs, ours, slack } = self;
        let may = if *slack > 0.0 { format!(", and {slack} may not have arrived") } else { String::new() };
        Finding {
            name: format!("account of {name}"),
            found: theirs - ours,
            ok: (0.0..=*slack).contains(&(theirs - ours)),
            note: format!("the dispatchers say {theirs}, the ledger {ours}{may}"),
        }
    }
}

impl Book {
    /// Draws the sum.
    pub fn judge(&self, found: &Findings) -> Verdict {
        let pages = self.pages();
        let case = Case {
            rules: self.rules(),
            counts: &pages.counts,
            extras: &pages.extras,
            faults: &pages.faults,
            found,
            prefix: self.prefix(),
        };
        case.judge(pages.records.iter())
    }
}

impl Case<'_> {
    pub(super) fn judge<'r>(&self, records: impl Iterator<Item = &'r Record>) -> Verdict {
        let counts = self.counts;
        let mut verdict = Verdict {
            published: counts.published,
            unconfirmed: counts.unconfirmed,
            attempts: counts.attempts,
            early: counts.early,
            late: counts.late,
            over_attempts: counts.over_attempts,
            inversions: counts.inversions,
            unknown: counts.unknown,
            ..Verdict::default()
        };
        self.tell_ends(&mut verdict, records);
        self.tell_extras(&mut verdict);
        verdict.over_limits = self.over_limits();
        let view = |fault: &Fault| FaultView {
            what: fault.what.clone(),
            from_s: fault.from.as_secs_f64(),
            until_s: fault.until.as_secs_f64(),
        };
        verdict.faults = self.faults.iter().map(view).collect();
        verdict.findings = self.findings(&verdict);
        verdict.ok = verdict.findings.iter().all(|finding| finding.ok);
        verdict
    }

    fn tell_ends<'r>(&self, verdict: &mut Verdict, records: impl Iterator<Item = &'r Record>) {
        let mut missing = 0;
        for (n, record) in (0_u64..).zip(records) {
            let confirmed = record.confirmed.is_some();
            verdict.confirmed += u64::from(confirmed);
            verdict.executed += u64::from(record.first.is_some());
            verdict.succeeded += u64::from(record.succeeded());
            let expired = record.has(flag::EXPIRED);
            if record.succeeded() {
                continue;
            }
            if expired || record.has(flag::DEAD) {
                verdict.dead += 1;
                verdict.expired += u64::from(expired);
            } else if record.has(flag::LEFT) {
                verdict.left += 1;
            } else if confirmed {
                missing += 1;
                if verdict.lost_ids.len() < EXAMPLES {
                    verdict.lost_ids.push(format!("{}{n}", self.prefix));
                }
            }
        }
        // Whatever lies in a queue without a name may be a missing one.
        let unnamed = self.found.left_unnamed.unwrap_or(0).min(missing);
        verdict.left += unnamed;
        verdict.lost = missing - unnamed;
        if verdict.lost == 0 {
            verdict.lost_ids.clear();
        }
    }

    fn tell_extras(&self, verdict: &mut Verdict) {
        verdict.duplicates = self.counts.duplicates;
        verdict.repeats = self.counts.repeats;
        let mut explained = [0, 0];
        for extra in self.extras {
            if extra.is_explained(self.faults) {
                explained[extra.kind as usize] += 1;
            } else if verdict.unexplained_ids.len() < EXAMPLES {
                verdict.unexplained_ids.push(format!("{}{}", self.prefix, extra.task));
            }
        }
        verdict.duplicates_unexplained = verdict.duplicates - explained[ExtraKind::Duplicate as usize];
        verdict.repeats_unexplained = verdict.repeats - explained[ExtraKind::Repeat as usize];
    }

    /// A request that the dispatcher broke off is seen to end a little later by the executor: those are allowed for.
    fn over_limits(&self) -> u64 {
        let slack = self.counts.abandoned;
        let over = self.rules.queues.iter().zip(&self.found.peaks);
        let over =
            over.filter(|(rule, peak)| rule.slots.is_some_and(|slots| u64::from(**peak) > u64::from(slots) + slack));
        over.count() as u64
    }

    fn findings(&self, verdict: &Verdict) -> Vec<Finding> {
        let none = |name: &str, found: u64, note: String| Finding {
            name: name.to_owned(),
            found: found as f64,
            ok: found == 0,
            note,
        };
        let of_faults = |all: u64| format!("of {all}; {} faults", self.faults.len());
        let mut findings = vec![
            none("lost", verdict.lost, format!("of {} confirmed tasks", verdict.confirmed)),
            none("duplicates unexplained", verdict.duplicates_unexplained, of_faults(verdict.duplicates)),
            none("repeats unexplained", verdict.repeats_unexplained, of_faults(verdict.repeats)),
            none("early", verdict.early, format!("by at most {} us", self.counts.early_us_max)),
            none("late after expiry", verdict.late, format!("{} more within the grace", self.counts.late_within_grace)),
            none(
                "over attempts",
                verdict.over_attempts,
                self.rules.max_attempts.map_or("no limit".into(), |n| format!("limit {n}")),
            ),
            none("over limits", verdict.over_limits, self.limits()),
            none("unknown", verdict.unknown, "requests of other runs' tasks".into()),
        ];
        findings.push(Finding {
            name: "priority inversions".into(),
            found: verdict.inversions as f64,
            // A bounded share is promised to lower queues, so that they don't starve.
            ok: true,
            note: "told, not judged: lower queues have a share".into(),
        });
        findings.push(match self.found.left {
            Some(left) => none("left in queues", left.max(verdict.left), "at the end".into()),
            None => none("left in queues", verdict.left, "nobody was asked".into()),
        });
        findings.extend(self.found.accounts.iter().map(Account::finding));
        findings
    }

    fn limits(&self) -> String {
        let told = self.rules.queues.iter().zip(&self.found.peaks).map(|(rule, peak)| match rule.slots {
            Some(slots) => format!("{} {peak} of {slots}", rule.name),
            None => format!("{} {peak}", rule.name),
        });
        format!("most under way: {}", told.collect::<Vec<_>>().join(", "))
    }
}
