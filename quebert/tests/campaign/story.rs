//! What a ledger says when something is wrong, for people; and the claims about the ledger itself.

use super::ledger::{Books, Judgement, Ledger, Moment};
use std::fmt::Write as _;

/// Tasks told of at length, and executions of each. The rest is counted.
const TOLD: usize = 10;

impl Ledger {
    /// The faults, and each wrong task with all that happened to it, in seconds since the first publish.
    pub(crate) fn story(&self) -> String {
        let judgement = self.judge();
        let books = self.books();
        let start = books.tasks.values().map(|entry| entry.published).min().unwrap_or_else(Moment::now);
        let mut text = format!("{judgement}\n{:?}\nfaults:\n", self.counts());
        for fault in &books.faults {
            let (from, until) = (fault.from.since(start), fault.until.since(start));
            let _ = writeln!(text, "  {:>8.3} to {:>8.3} s  {}", from.as_secs_f64(), until.as_secs_f64(), fault.what);
        }
        let kinds = [
            ("lost", &judgement.lost),
            ("executed too often, unexplained", &judgement.unexplained),
            ("too early", &judgement.early),
            ("published by nobody", &judgement.unknown),
        ];
        for (kind, ids) in kinds.iter().filter(|(_, ids)| !ids.is_empty()) {
            let _ = writeln!(text, "{kind}: {}", ids.len());
            for id in ids.iter().take(TOLD) {
                tell(&mut text, &books, id, start);
            }
        }
        text
    }
}

fn tell(text: &mut String, books: &Books, id: &str, start: Moment) {
    let seconds = |moment: Moment| format!("{:.3} s", moment.since(start).as_secs_f64());
    let mut executions = books.unknown.get(id).map(Vec::as_slice).unwrap_or_default();
    if let Some(entry) = books.tasks.get(id) {
        executions = &entry.executions;
        let confirmed = entry.confirmed.map_or("never".to_owned(), seconds);
        let due = entry.not_before.map(|due| format!(", not before {}", seconds(due))).unwrap_or_default();
        let _ = writeln!(text, "  {id}: published {}, confirmed {confirmed}{due}", seconds(entry.published));
    }
    for execution in executions.iter().take(TOLD) {
        let (attempt, status) = (execution.attempt, execution.status);
        let _ = writeln!(text, "      {}  attempt {attempt}: {status}", seconds(execution.at));
    }
}

impl std::fmt::Display for Judgement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tasks, {} confirmed, {} lost, ", self.tasks, self.confirmed, self.lost.len())?;
        write!(f, "{} executions, at most {} of one task, {} extra, ", self.executions, self.most, self.extra)?;
        match self.unexplained.len() {
            0 => write!(f, "all explained"),
            n => write!(f, "those of {n} tasks unexplained"),
        }?;
        match self.early.len() {
            0 => Ok(()),
            n => write!(f, ", {n} too early"),
        }
    }
}

mod claims {
    use super::super::ledger::{Ledger, Moment};
    use std::time::Duration;

    /// Moments of one ledger differ, as the judgement compares them.
    fn tick() {
        let now = Moment::now();
        while Moment::now() == now {
            std::hint::spin_loop();
        }
    }

    fn ledger(ids: &[&str]) -> Ledger {
        let ledger = Ledger::default();
        for id in ids {
            ledger.publishes(id, None);
            ledger.confirmed(id);
        }
        tick();
        ledger
    }

    fn execute(ledger: &Ledger, id: &str, attempt: u32, status: u16) {
        ledger.executed(id, attempt, status);
        tick();
    }

    #[test]
    fn a_confirmed_task_that_never_succeeds_is_lost() {
        let ledger = ledger(&["done", "failed", "silent"]);
        ledger.publishes("unconfirmed", None);
        execute(&ledger, "done", 1, 200);
        execute(&ledger, "failed", 1, 500);
        assert_eq!(ledger.judge().lost, ["failed", "silent"]);
        assert_eq!(ledger.counts().open, 2);
        assert!(ledger.story().contains("silent: published"), "{}", ledger.story());
    }

    #[test]
    fn a_retry_after_a_failure_is_not_extra() {
        let ledger = ledger(&["a"]);
        execute(&ledger, "a", 1, 500);
        execute(&ledger, "a", 2, 200);
        assert_eq!(ledger.judge().extra, 0);
        assert!(ledger.judge().is_clean());
    }

    #[test]
    fn a_second_request_is_explained_only_by_a_fault_between_the_two() {
        let ledger = ledger(&["before", "between", "after"]);
        execute(&ledger, "after", 1, 200);
        execute(&ledger, "after", 1, 200);
        execute(&ledger, "between", 1, 200);
        ledger.fault("kill");
        tick();
        execute(&ledger, "between", 1, 200);
        execute(&ledger, "before", 1, 200);
        execute(&ledger, "before", 1, 200);
        let judgement = ledger.judge();
        assert_eq!((judgement.extra, judgement.unexplained), (3, vec!["after".to_owned(), "before".to_owned()]));
    }

    #[test]
    fn a_repeated_attempt_number_is_extra_even_after_a_failure() {
        let ledger = ledger(&["a"]);
        execute(&ledger, "a", 1, 500);
        execute(&ledger, "a", 1, 200);
        assert_eq!(ledger.judge().unexplained, ["a"]);
    }

    #[test]
    fn a_second_copy_is_explained_by_a_fault_during_the_move() {
        let ledger = ledger(&["a"]);
        execute(&ledger, "a", 1, 500);
        ledger.fault("kill");
        tick();
        execute(&ledger, "a", 2, 200);
        execute(&ledger, "a", 2, 200);
        let judgement = ledger.judge();
        assert_eq!((judgement.extra, judgement.unexplained.len()), (1, 0));
    }

    #[test]
    fn early_and_unknown_executions_are_told() {
        let ledger = Ledger::default();
        ledger.publishes("early", Some(Moment::now().plus(Duration::from_secs(60))));
        execute(&ledger, "early", 1, 200);
        execute(&ledger, "stranger", 1, 200);
        let judgement = ledger.judge();
        assert_eq!((judgement.early, judgement.unknown), (vec!["early".to_owned()], vec!["stranger".to_owned()]));
    }
}
