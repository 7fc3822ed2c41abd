//! What a swarm came to: sums, speed, points reached, and the first seed that broke something. Says it once, at the end.

use super::report::Finding;
use crate::{
    cli::cases::{self, SeedArgs, WorldName},
    trace::{
        Coverage, Point,
        words::{count, plural},
    },
};
use std::{collections::BTreeMap, fmt, ops::Range, time::Duration};

/// Sums over the seeds so far.
pub(super) struct Summary {
    seeds: Range<u64>,
    world: WorldName,
    size: SeedArgs,
    /// Real time so far.
    pub(super) took: Duration,
    done: u64,
    virtual_time: Duration,
    cpu: Duration,
    tasks: u64,
    attempts: u64,
    faults: u64,
    segments: u64,
    twice: u64,
    coverage: Coverage,
    /// By oracle, the seeds that broke it.
    broken: BTreeMap<String, Vec<u64>>,
    /// Those of which there is something bad to say, by seed.
    failed: BTreeMap<u64, Finding>,
    /// Those whose process did not live to tell, by seed.
    lost: BTreeMap<u64, String>,
}

impl Summary {
    /// Of nothing yet.
    pub(super) fn new(seeds: Range<u64>, world: WorldName, size: SeedArgs) -> Self {
        Self {
            seeds,
            world,
            size,
            took: Duration::ZERO,
            done: 0,
            virtual_time: Duration::ZERO,
            cpu: Duration::ZERO,
            tasks: 0,
            attempts: 0,
            faults: 0,
            segments: 0,
            twice: 0,
            coverage: Coverage::default(),
            broken: BTreeMap::new(),
            failed: BTreeMap::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Counts a seed.
    pub(super) fn count(&mut self, finding: Finding) {
        self.done += 1;
        self.virtual_time += Duration::from_micros(finding.virtual_us);
        self.cpu += Duration::from_micros(finding.cpu_us);
        self.tasks += finding.tasks;
        self.attempts += finding.attempts;
        self.faults += finding.faults;
        self.segments += finding.segments;
        self.twice += u64::from(finding.twice);
        self.coverage = self.coverage.and(Coverage::from_hex(&finding.coverage).unwrap_or_default());
        for told in &finding.violations {
            let seeds = self.broken.entry(told.oracle.clone()).or_default();
            if seeds.last() != Some(&finding.seed) {
                seeds.push(finding.seed);
            }
        }
        if !finding.is_fine() {
            self.failed.insert(finding.seed, finding);
        }
    }

    /// Counts a seed whose process is gone.
    pub(super) fn lost(&mut self, seed: u64, detail: String) {
        self.done += 1;
        self.lost.insert(seed, detail);
    }

    /// Seeds of which there is something bad to say.
    pub(super) fn failed(&self) -> usize {
        self.failed.len() + self.lost.len()
    }

    /// Whether there is none.
    pub(super) fn is_fine(&self) -> bool {
        self.failed() == 0
    }

    /// How far it is, in a line.
    pub(super) fn progress(&self) -> String {
        let mut text = format!(
            "{} of {}, {:.1}/s, {} virtual s a CPU s, {} of {} points",
            count(self.done),
            plural(usize::try_from(self.seeds.end - self.seeds.start).unwrap_or(usize::MAX), "seed"),
            self.rate(),
            self.speed().map_or_else(|| "?".to_owned(), count),
            Point::ALL.len() - self.coverage.missing().count(),
            Point::ALL.len(),
        );
        if !self.is_fine() {
            text.push_str(&format!(", {} failed", self.failed()));
        }
        text
    }

    fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// Virtual seconds per CPU second; `None` where the system does not tell CPU time.
    fn speed(&self) -> Option<u64> {
        (!self.cpu.is_zero()).then(|| super::super::run::speed(self.virtual_time, self.cpu))
    }

    /// The least seed of which there is something bad to say.
    pub(super) fn first_failed(&self) -> Option<u64> {
        self.failed.keys().chain(self.lost.keys()).min().copied()
    }

    fn first_failure(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.failed.first_key_value();
        let lost = self.lost.first_key_value();
        let seed = match (found, lost) {
            (Some((seed, finding)), lost) if lost.is_none_or(|(lost, _)| seed < lost) => {
                writeln!(f, "\nseed {seed}:")?;
                for told in &finding.violations {
                    writeln!(f, "  {}", told.text)?;
                }
                if let Some(difference) = &finding.difference {
                    writeln!(f, "  two runs of it were not the same: {difference}")?;
                }
                if !finding.story.is_empty() {
                    writeln!(f, "  the story of the first task that this is about:")?;
                }
                for line in &finding.story {
                    writeln!(f, "    {line}")?;
                }
                seed
            }
            (_, Some((seed, detail))) => {
                writeln!(f, "\nseed {seed}: {detail}")?;
                seed
            }
            (_, None) => return Ok(()),
        };
        let mut replay = vec![seed.to_string()];
        replay.extend(self.size.flags());
        let again = cases::replay_command(&replay, self.world);
        write!(f, "  again: {again}\n  small: {}", again.replacen(" replay ", " shrink ", 1))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.virtual_time.as_secs_f64() / 86_400.0;
        writeln!(
            f,
            "{} of {}..{} in the {} world, in {:.1} s: {:.1}/s",
            plural(usize::try_from(self.done).unwrap_or(usize::MAX), "seed"),
            self.seeds.start,
            self.seeds.end,
            self.world.name(),
            self.took.as_secs_f64(),
            self.rate(),
        )?;
        let speed = self.speed().map_or_else(|| "?".to_owned(), count);
        writeln!(f, "{days:.2} virtual days; {speed} virtual s a CPU s, drawing, tracing and judging included")?;
        writeln!(
            f,
            "{} tasks, {} attempts, {} faults, {} segments; {} seeds run twice",
            count(self.tasks),
            count(self.attempts),
            count(self.faults),
            count(self.segments),
            count(self.twice),
        )?;
        let missing: Vec<_> = self.coverage.missing().map(Point::label).collect();
        write!(f, "{} of {} points reached", Point::ALL.len() - missing.len(), Point::ALL.len())?;
        if !missing.is_empty() {
            write!(f, "; not reached:")?;
            for label in missing {
                write!(f, "\n  {label}")?;
            }
        }
        for (oracle, seeds) in &self.broken {
            let first: Vec<_> = seeds.iter().take(8).map(u64::to_string).collect();
            let more = if seeds.len() > first.len() { ", ..." } else { "" };
            write!(f, "\n{oracle} broken by {}: {}{more}", plural(seeds.len(), "seed"), first.join(", "))?;
        }
        if self.is_fine() { write!(f, "\nevery promise was kept") } else { self.first_failure(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::swarm::report::Told;

    fn broken(seed: u64) -> Finding {
        let told = Told { oracle: "never-early".to_owned(), text: "broken at 1.000 s: never-early of t3".to_owned() };
        Finding { seed, broken: 1, violations: vec![told], story: vec!["it was sent".to_owned()], ..Finding::default() }
    }

    #[test]
    fn the_first_seed_that_failed_is_told_with_a_command_to_see_it_again() {
        let mut summary = Summary::new(1..11, WorldName::Turmoil, SeedArgs::default());
        summary.count(Finding { seed: 1, ..Finding::default() });
        assert!(summary.is_fine() && summary.to_string().ends_with("every promise was kept"));
        summary.count(broken(7));
        summary.lost(8, "its process ended".to_owned());
        summary.count(broken(5));
        let text = summary.to_string();
        assert_eq!(summary.failed(), 3);
        assert!(text.contains("never-early broken by 2 seeds: 7, 5"), "{text}");
        assert!(text.contains("\nseed 5:\n  broken at 1.000 s: never-early of t3\n"), "{text}");
        assert!(text.contains("\n    it was sent\n") && text.contains(" replay 5 --world turmoil\n"), "{text}");
        summary.lost(2, "its process ended".to_owned());
        assert!(summary.to_string().contains("\nseed 2: its process ended\n"));
    }
}
