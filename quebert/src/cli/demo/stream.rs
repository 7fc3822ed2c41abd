//! The demo's tasks: which kinds there are, and when the next one of each is due. It enqueues nothing.

use quebert_wire::Envelope;
use std::time::Duration;

/// A kind of task, as a shop might have it.
#[derive(Debug, PartialEq)]
pub(super) struct Kind {
    name: &'static str,
    lane: &'static str,
    /// The name of the executor.
    pub(super) executor: &'static str,
    path: &'static str,
    first_ms: u64,
    every_ms: u64,
    /// So many at a time.
    bunch: u32,
    delay_ms: Option<u64>,
    ttl_ms: Option<u64>,
}

const fn kind(lane: &'static str, name: &'static str, executor: &'static str, every_ms: u64) -> Kind {
    Kind { name, lane, executor, path: "/", first_ms: 0, every_ms, bunch: 1, delay_ms: None, ttl_ms: None }
}

/// About eighteen tasks a second in all. The low lane gets a batch now and then that takes some seconds, which shows how
/// the others pass it by, and makes what must not wait expire.
const KINDS: [Kind; 11] = [
    kind("high", "signup", "fast", 250),
    kind("high", "payment", "flaky", 400),
    kind("medium", "invoice", "fast", 300),
    Kind { bunch: 4, ..kind("medium", "email", "limited", 2000) },
    kind("medium", "sync", "unsteady", 500),
    Kind { delay_ms: Some(3000), ..kind("medium", "reminder", "fast", 1000) },
    Kind { path: "/gone", first_ms: 1500, ..kind("medium", "unknown", "fast", 6000) },
    kind("low", "report", "slow", 900),
    Kind { first_ms: 3000, bunch: 20, ..kind("low", "export", "slow", 15_000) },
    Kind { first_ms: 200, ttl_ms: Some(2000), ..kind("low", "quote", "fast", 1500) },
    Kind { path: "/broken", first_ms: 800, ..kind("low", "legacy", "fast", 9000) },
];

/// One task to be.
#[derive(Debug, PartialEq)]
pub(super) struct Next {
    /// When, since the beginning.
    pub(super) at: Duration,
    /// Of which kind.
    pub(super) kind: &'static Kind,
    number: u32,
}

impl Next {
    /// The task, for the executor at `origin`.
    pub(super) fn envelope(&self, origin: &str) -> Envelope {
        let mut envelope = Envelope::new(format!("{origin}{}", self.kind.path));
        envelope.id = Some(format!("{}-{:04}", self.kind.name, self.number));
        envelope.queue = Some(self.kind.lane.to_owned());
        envelope.delay_ms = self.kind.delay_ms;
        envelope.ttl_ms = self.kind.ttl_ms;
        envelope
    }
}

/// All tasks, in the order in which they are due; it never ends.
pub(super) fn stream() -> impl Iterator<Item = Next> {
    let mut made = [0u32; KINDS.len()];
    std::iter::from_fn(move || {
        let due = |made: &[u32], i: usize| {
            let kind = &KINDS[i];
            kind.first_ms + u64::from(made[i] / kind.bunch) * kind.every_ms
        };
        let i = (0..KINDS.len()).min_by_key(|i| due(&made, *i)).expect("there are kinds");
        let at = Duration::from_millis(due(&made, i));
        made[i] += 1;
        Some(Next { at, kind: &KINDS[i], number: made[i] })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn tasks_come_in_order_and_no_two_are_the_same() {
        let tasks: Vec<_> = stream().take_while(|next| next.at < Duration::from_secs(60)).collect();
        assert!(tasks.is_sorted_by_key(|next| next.at));
        assert!((900..1400).contains(&tasks.len()), "{} in a minute", tasks.len());
        let ids: BTreeSet<_> = tasks.iter().filter_map(|next| next.envelope("http://x").id).collect();
        assert_eq!(ids.len(), tasks.len());
    }

    #[test]
    fn the_first_seconds_have_everything_that_a_newcomer_should_see() {
        let tasks: Vec<_> = stream().take_while(|next| next.at < Duration::from_secs(5)).collect();
        let seen = |test: &dyn Fn(&Kind) -> bool| tasks.iter().any(|next| test(next.kind));
        for lane in ["high", "medium", "low"] {
            assert!(seen(&|kind| kind.lane == lane), "{lane}");
        }
        for executor in ["fast", "flaky", "slow", "limited", "unsteady"] {
            assert!(seen(&|kind| kind.executor == executor), "{executor}");
        }
        assert!(seen(&|kind| kind.delay_ms.is_some()) && seen(&|kind| kind.ttl_ms.is_some()));
        assert!(seen(&|kind| kind.path == "/gone") && seen(&|kind| kind.path == "/broken"));
    }
}
