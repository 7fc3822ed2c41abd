//! Whether it was the tester, the machine or the system under test that was full: pure functions over what a run has seen. On a
//! machine that is short of processors everything is late, and whoever is late looks full; so what an executor planned is held
//! against what it did, and who took the processors is asked before somebody's lateness is held against him.

use crate::{fleet::Means, quantity::Span, report::Bottleneck};
use std::time::Duration;

/// The machine is full when this share of all its processors is busy.
const MACHINE_FULL: f64 = 0.9;
/// The tester is starved when it takes more than this share of them itself.
pub(super) const TESTER_FULL: f64 = 0.8;
/// A machine that is full by others for this share of the seconds explains all that comes behind it.
const MOST: f64 = 0.5;
/// A time that is longer by this share holds back: a slot is taken for so much longer.
const LONGER: f64 = 0.3;
/// And by at least this, in seconds: timers are whole milliseconds.
const LONGER_LEAST: f64 = 0.005;
/// A tester that hands over tasks late by this share of the waits makes most of them itself.
const LAG_SHARE: f64 = 0.5;

/// What was taken of all the machine's processors in some time, as shares.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Cpu {
    /// By everybody; `None` if the kernel does not tell.
    pub(super) all: Option<f64>,
    /// By the tester with its executors.
    pub(super) tester: f64,
    /// By the dispatchers that were started, an embedded broker with them.
    pub(super) dispatchers: f64,
    /// By the RabbitMQ that was started.
    pub(super) broker: f64,
}

/// Who took the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Tester,
    Dispatchers,
    Broker,
    /// Processes that the tester did not start, dispatchers and brokers that were found running among them.
    Others,
}

/// Whose the processors were, if they were full.
pub(super) fn owner(cpu: &Cpu) -> Option<Owner> {
    if cpu.tester > TESTER_FULL {
        return Some(Owner::Tester);
    }
    let all = cpu.all.filter(|all| *all >= MACHINE_FULL)?;
    let others = (all - cpu.tester - cpu.dispatchers - cpu.broker).max(0.0);
    let parts = [
        (cpu.tester, Owner::Tester),
        (cpu.dispatchers, Owner::Dispatchers),
        (cpu.broker, Owner::Broker),
        (others, Owner::Others),
    ];
    parts.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, owner)| owner)
}

/// What the tester knows of its own part in a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Own {
    /// Of each executor.
    pub(super) executors: Vec<Means>,
    /// How late tasks were handed over, at the 99th percentile.
    pub(super) start_lag: Duration,
    /// How late that may be.
    pub(super) start_lag_max: Duration,
    /// The 99th percentile of the waits.
    pub(super) wait: Duration,
}

impl Own {
    /// The line in front of the executor that has the longest one, and what it means.
    fn line(&self) -> Option<(f64, String)> {
        let long = |means: &&Means| is_longer(means.line_s, means.work_s);
        let means = self.executors.iter().filter(long).max_by(|a, b| a.line_s.total_cmp(&b.line_s))?;
        let words = format!(
            "requests waited {:.1} ms in line for the executor on average, its work is {:.1} ms",
            means.line_s * 1e3,
            means.work_s * 1e3
        );
        Some((means.line_s, words))
    }

    /// The lateness of the executor that is late the most, and what it means.
    fn late(&self) -> Option<(f64, String)> {
        let late = |means: &&Means| is_longer(means.late_s, means.work_s + means.line_s);
        let means = self.executors.iter().filter(late).max_by(|a, b| a.late_s.total_cmp(&b.late_s))?;
        let words = format!(
            "its executors answered {:.1} ms later than planned on average, and {:.1} ms were planned",
            means.late_s * 1e3,
            (means.work_s + means.line_s) * 1e3
        );
        Some((means.late_s, words))
    }

    /// The same as a warning.
    pub(super) fn warning(&self) -> Option<String> {
        self.late().map(|(_, words)| format!("the tester: {words}"))
    }

    fn lag(&self) -> Option<String> {
        let (lag, wait) = (self.start_lag, self.wait);
        let most = lag > self.start_lag_max && lag.as_secs_f64() > wait.as_secs_f64() * LAG_SHARE;
        most.then(|| {
            format!("it handed tasks over {} late at the 99th percentile, and the waits' is {}", Span(lag), Span(wait))
        })
    }
}

/// Beside something else, long enough to be felt.
fn is_longer(more_s: f64, than_s: f64) -> bool {
    more_s > LONGER * than_s && more_s > LONGER_LEAST
}

/// What held a run back, the strongest first: `seen` is what was full in how many of its seconds. An executor with a line that is
/// longer than the tester is late comes first, since it has that line on any machine; then a machine that others have filled; then
/// the tester, and what it saw at last.
pub(super) fn attribute(own: &Own, mut seen: Vec<Bottleneck>) -> Vec<Bottleneck> {
    let of = |name: &str, evidence| Bottleneck { name: name.to_owned(), share: 1.0, evidence };
    let (line, late) = (own.line(), own.late());
    let first = line.as_ref().map_or(0.0, |(s, _)| *s) >= late.as_ref().map_or(0.0, |(s, _)| *s);
    let line = line.map(|(_, words)| of("executor", words));
    let (before, behind) = if first { (line, None) } else { (None, line) };
    let machine = seen.iter().position(|one| one.name == "machine" && one.share > MOST).map(|at| seen.remove(at));
    let tester = late.map(|(_, words)| words).or_else(|| own.lag()).map(|words| of("tester", words));
    let mut told = Vec::<Bottleneck>::new();
    for one in before.into_iter().chain(machine).chain(tester).chain(behind).chain(seen) {
        if told.iter().all(|other| other.name != one.name) {
            told.push(one);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_machine_is_the_one_s_who_takes_the_most() {
        let cases = [
            // All, tester, dispatchers, broker.
            ((Some(0.99), 0.1, 0.2, 0.1), Some(Owner::Others)),
            ((Some(0.99), 0.5, 0.3, 0.1), Some(Owner::Tester)),
            ((Some(0.99), 0.3, 0.5, 0.1), Some(Owner::Dispatchers)),
            ((Some(0.92), 0.2, 0.2, 0.4), Some(Owner::Broker)),
            // Ticks of the kernel may add up to more than there was.
            ((Some(0.9), 0.1, 0.9, 0.1), Some(Owner::Dispatchers)),
            // Not full: it is nobody's fault, whoever takes the most.
            ((Some(0.89), 0.7, 0.1, 0.0), None),
            ((Some(0.89), 0.81, 0.05, 0.0), Some(Owner::Tester)),
            ((None, 0.2, 0.7, 0.1), None),
            ((None, 0.81, 0.1, 0.0), Some(Owner::Tester)),
        ];
        for ((all, tester, dispatchers, broker), wanted) in cases {
            let cpu = Cpu { all, tester, dispatchers, broker };
            assert_eq!(owner(&cpu), wanted, "{cpu:?}");
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Work, line and lateness in milliseconds.
    fn means(work: f64, line: f64, late: f64) -> Means {
        Means { work_s: work / 1e3, line_s: line / 1e3, late_s: late / 1e3 }
    }

    #[track_caller]
    fn check(executors: &[Means], lag_and_wait: (u64, u64), seen: &[(&str, f64)], wanted: &[&str]) {
        let (start_lag, wait) = (ms(lag_and_wait.0), ms(lag_and_wait.1));
        let own = Own { executors: executors.to_vec(), start_lag, start_lag_max: ms(5), wait };
        let one = |(name, share): &(&str, f64)| Bottleneck {
            name: (*name).to_owned(),
            share: *share,
            evidence: String::new(),
        };
        let told = attribute(&own, seen.iter().map(one).collect());
        let names = told.iter().map(|one| &*one.name).collect::<Vec<_>>();
        assert_eq!(names, wanted, "{told:#?}");
    }

    #[test]
    fn executors_with_a_line_are_told_from_a_tester_that_answers_late() {
        let slots = &[("concurrency", 0.9)][..];
        let calm = (1, 800);
        // Work alone, however long; and what is late by next to nothing, or by little beside what was planned.
        check(&[means(50.0, 0.0, 1.0)], calm, slots, &["concurrency"]);
        check(&[means(1.0, 0.0, 4.0)], calm, slots, &["concurrency"]);
        check(&[means(900.0, 0.0, 90.0)], calm, slots, &["concurrency"]);
        // One worker, with others waiting for it.
        check(&[means(50.0, 400.0, 1.0)], calm, slots, &["executor", "concurrency"]);
        check(&[means(50.0, 14.0, 1.0)], calm, slots, &["concurrency"]);
        // A request takes as long as that, too, but nobody stands in line: timers fire late.
        check(&[means(50.0, 0.0, 400.0)], calm, slots, &["tester", "concurrency"]);
        check(&[means(50.0, 0.0, 16.0)], calm, slots, &["tester", "concurrency"]);
        // Both: what costs more comes first.
        check(&[means(50.0, 400.0, 200.0)], calm, slots, &["executor", "tester", "concurrency"]);
        check(&[means(50.0, 20.0, 60.0)], calm, slots, &["tester", "executor", "concurrency"]);
        // Any one of several.
        check(&[means(5.0, 0.0, 1.0), means(50.0, 90.0, 1.0)], calm, &[], &["executor"]);
        check(&[means(5.0, 0.0, 1.0), means(50.0, 0.0, 90.0)], calm, &[], &["tester"]);
        check(&[], calm, &[], &[]);
    }

    #[test]
    fn a_publisher_that_makes_the_waits_itself_is_named() {
        let slots = &[("concurrency", 0.9)][..];
        check(&[], (500, 900), slots, &["tester", "concurrency"]);
        check(&[], (400, 900), slots, &["concurrency"]);
        // Half of next to nothing.
        check(&[], (4, 5), slots, &["concurrency"]);
    }

    #[test]
    fn a_machine_that_others_fill_explains_a_tester_that_is_late_but_no_line() {
        let seen = &[("concurrency", 0.9), ("machine", 0.7), ("tester", 0.2)][..];
        let late = means(50.0, 0.0, 60.0);
        check(&[late], (1, 800), seen, &["machine", "tester", "concurrency"]);
        check(&[means(50.0, 400.0, 60.0)], (1, 800), seen, &["executor", "machine", "concurrency", "tester"]);
        // For a few seconds it explains little.
        let seen = &[("concurrency", 0.9), ("machine", 0.3)][..];
        check(&[late], (1, 800), seen, &["tester", "concurrency", "machine"]);
    }

    #[test]
    fn a_late_fleet_is_a_warning_with_its_figures() {
        let own = Own { executors: vec![means(50.0, 10.0, 60.0)], ..Own::default() };
        let words =
            "the tester: its executors answered 60.0 ms later than planned on average, and 60.0 ms were planned";
        assert_eq!(own.warning().unwrap(), words);
        assert_eq!(Own::default().warning(), None);
    }
}
