//! A case made longer: the same story over hours, with as many tasks a second as are wanted. For alerts, which look at
//! hours, and for load.

use super::{Case, TaskSpec};
use crate::history::TaskNo;
use std::time::Duration;

/// Tasks at most: what a history of fits into a few gigabytes.
const TASKS_MAX: u64 = 1_000_000;

impl Case {
    /// This case with its faults spread over `duration`, when all heals, and its tasks again and again, `per_second` of
    /// them; without a rate there are as many a second as before.
    ///
    /// What is inside a task (delays, times to live, attempts) keeps its length, and so do backoffs and limits: hours of an
    /// outage are hours, and not a slower clock. The last twentieth gets no new tasks.
    #[must_use]
    pub fn stretched(&self, duration: Duration, per_second: Option<f64>) -> Self {
        let heal_at_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut case = Self { heal_at_ms, ..self.clone() };
        let scaled = |ms: u64| {
            let long = u128::from(ms) * u128::from(heal_at_ms) / u128::from(self.heal_at_ms.max(1));
            u64::try_from(long).unwrap_or(u64::MAX).min(heal_at_ms)
        };
        for fault in &mut case.faults {
            (fault.at_ms, fault.for_ms) = (scaled(fault.at_ms), scaled(fault.for_ms));
        }
        let usual = self.tasks.len() as f64 / (self.heal_at_ms.max(1) as f64 / 1000.0);
        case.tasks = self.tasks_at(per_second.unwrap_or(usual), heal_at_ms / 20 * 19);
        case.settle_ms = case.settle_bound_ms();
        case
    }

    /// The case's tasks in turn, so many a second, until `end_ms`.
    fn tasks_at(&self, per_second: f64, end_ms: u64) -> Vec<TaskSpec> {
        let every_ms = 1000.0 / per_second;
        let number = (end_ms as f64 / every_ms).clamp(0.0, TASKS_MAX as f64) as u64;
        let again = self.tasks.iter().cycle().zip(1..=u32::try_from(number).unwrap_or(u32::MAX));
        again
            .map(|(task, no)| {
                let at_ms = (f64::from(no - 1) * every_ms) as u64;
                TaskSpec { no: TaskNo(no), at_ms, ..task.clone() }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::case::scenario;
    use std::time::Duration;

    #[test]
    fn a_longer_case_has_the_same_story() {
        for scenario in scenario::ALL {
            let short = (scenario.case)();
            let long = short.stretched(Duration::from_secs(7_200), Some(2.0));
            assert_eq!(long.check(), Ok(()), "{}", scenario.name);
            assert_eq!(long.tasks.len(), 7_200 / 20 * 19 * 2, "{}", scenario.name);
            assert_eq!(long.faults.len(), short.faults.len());
            let part = |ms: u64, of: u64| ms * 1000 / of;
            for (long_fault, fault) in long.faults.iter().zip(&short.faults) {
                assert_eq!(part(long_fault.at_ms, long.heal_at_ms), part(fault.at_ms, short.heal_at_ms));
            }
        }
    }

    #[test]
    fn without_a_rate_there_are_as_many_tasks_a_second_as_before() {
        let short = scenario::named("quiet").map(|scenario| (scenario.case)()).expect("it is there");
        let long = short.stretched(Duration::from_millis(short.heal_at_ms * 20), None);
        assert_eq!(long.tasks.len(), short.tasks.len() * 19);
    }
}
