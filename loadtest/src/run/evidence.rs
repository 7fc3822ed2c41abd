//! What holds the system back, found second by second in the dispatchers' own metrics: which resource was full while work
//! waited. It guesses nothing that no metric shows.

use super::attribution::{Cpu, Owner, owner};
use crate::{ledger::Counts, report::Bottleneck, target::Metrics};

/// A resource that is this full is called full.
const FULL: f64 = 0.95;
/// A dispatcher that takes this share of all processors is short of them.
const CPU_FULL: f64 = 0.85;
/// A runtime whose timers are late by this at the 99th percentile is short of processors, in seconds.
const TIMER_LAG: f64 = 0.02;
/// Confirmations that take so long at the 99th percentile hold the dispatcher's own moves up, in seconds.
const CONFIRM_SLOW: f64 = 0.1;
/// A process with this share of its descriptors open is short of them.
const DESCRIPTORS_FULL: f64 = 0.8;
/// The share of answers that say 429 from which the executor is called full.
const LIMITED: f64 = 0.1;

/// Seconds in which something was full.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    seconds: u32,
    concurrency: u32,
    prefetch: u32,
    destination: u32,
    cpu: u32,
    confirm: u32,
    executor: u32,
    publisher: u32,
    sockets: u32,
    tester_cpu: u32,
    broker_cpu: u32,
    machine: u32,
}

impl Evidence {
    /// Looks at one second: what the dispatchers say now, and what they said before.
    pub(super) fn look(
        &mut self,
        now: &[Option<Metrics>],
        before: &[Option<Metrics>],
        ready: Option<u64>,
        seconds: f64,
        since: &Counts,
        cpu: Option<&Cpu>,
    ) {
        self.seconds += 1;
        let owner = cpu.and_then(owner);
        // Whoever gets no processor is late: that says nothing of dispatchers or broker then.
        let starved = matches!(owner, Some(Owner::Tester | Owner::Others));
        let waits = ready.is_some_and(|ready| ready > 0);
        let any = |full: &dyn Fn(&Metrics, Option<&Metrics>) -> bool| {
            let pairs = now.iter().zip(before.iter().map(Option::as_ref).chain(std::iter::repeat(None)));
            u32::from(
                pairs.filter_map(|(now, before)| Some((now.as_ref()?, before))).any(|(now, before)| full(now, before)),
            )
        };
        let slots = any(&|now, _| waits && full_queue(now, "quebert_queue_concurrency_limit", false));
        self.concurrency += slots;
        self.prefetch +=
            u32::from(slots == 0) & any(&|now, _| waits && full_queue(now, "quebert_queue_prefetch_limit", true));
        self.destination += u32::from(slots == 0) & any(&|now, _| full_destination(now));
        let short = any(&|now, before| takes_cpu(now, before, seconds) || !starved && timers_late(now, before));
        self.cpu += short.max(u32::from(owner == Some(Owner::Dispatchers)));
        self.tester_cpu += u32::from(owner == Some(Owner::Tester));
        self.broker_cpu += u32::from(owner == Some(Owner::Broker));
        self.machine += u32::from(owner == Some(Owner::Others));
        let confirms = "quebert_publish_confirm_duration_seconds";
        let slow = |p99: f64| !starved && p99 > CONFIRM_SLOW;
        self.confirm += any(&|now, before| now.quantile(confirms, 0.99, before).is_some_and(slow));
        self.executor += any(&|now, before| limited(now, before));
        self.sockets += any(&|now, _| short_of_descriptors(now));
        let behind = since.offered > 0 && (since.published as f64) < FULL * since.offered as f64;
        self.publisher += u32::from(behind && !waits);
    }

    /// What was full in more than a tenth of the seconds, the most frequent first.
    pub(super) fn bottlenecks(&self) -> Vec<Bottleneck> {
        let seconds = f64::from(self.seconds.max(1));
        let all = [
            ("concurrency", self.concurrency, "all slots of a queue busy while tasks waited"),
            ("prefetch", self.prefetch, "a queue's window full with idle slots while tasks waited"),
            ("destination", self.destination, "as many requests under way to one executor as it may have"),
            (
                "dispatcher cpu",
                self.cpu,
                "dispatchers near all processors, or a dispatcher's timers more than 20 ms late",
            ),
            ("broker publish", self.confirm, "the broker's confirmations took more than 100 ms"),
            ("executor", self.executor, "more than a tenth of the answers said 429"),
            ("sockets", self.sockets, "a dispatcher had more than 80 % of its descriptors open"),
            ("tester", self.tester_cpu, "the tester took most of the machine's processors, which were full"),
            ("broker cpu", self.broker_cpu, "the broker took most of the machine's processors, which were full"),
            (
                "machine",
                self.machine,
                "processes that are not of this run took most of its processors, which were full",
            ),
            ("tester", self.publisher, "the tester published less than the plan asked for, and nothing waited"),
        ];
        let told =
            all.into_iter().filter(|(_, n, _)| f64::from(*n) > seconds / 10.0).map(|(name, n, words)| Bottleneck {
                name: name.to_owned(),
                share: f64::from(n) / seconds,
                evidence: format!("in {n} of {} seconds: {words}", self.seconds),
            });
        let mut told = told.collect::<Vec<_>>();
        told.sort_by(|a, b| b.share.total_cmp(&a.share));
        told
    }
}

/// Whether a queue has as many as its limit allows: under way, or with those that wait for a slot.
fn full_queue(now: &Metrics, limit: &str, buffered: bool) -> bool {
    let under_way = now.by("quebert_tasks_in_flight", "queue");
    let waiting = now.by("quebert_tasks_buffered", "queue");
    now.by(limit, "queue").into_iter().any(|(queue, limit)| {
        let more = if buffered { waiting.get(&queue).copied().unwrap_or(0.0) } else { 0.0 };
        limit > 0.0 && under_way.get(&queue).copied().unwrap_or(0.0) + more >= FULL * limit
    })
}

fn full_destination(now: &Metrics) -> bool {
    let under_way = now.by("quebert_destination_in_flight", "destination");
    let limits = now.by("quebert_destination_concurrency_limit", "destination");
    limits.into_iter().any(|(to, limit)| limit > 0.0 && under_way.get(&to).is_some_and(|n| *n >= FULL * limit))
}

fn takes_cpu(now: &Metrics, before: Option<&Metrics>, seconds: f64) -> bool {
    let cpu = |metrics: &Metrics| metrics.sum("process_cpu_seconds_total", &[]);
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    before.is_some_and(|before| (cpu(now) - cpu(before)) / seconds > CPU_FULL * cores)
}

fn timers_late(now: &Metrics, before: Option<&Metrics>) -> bool {
    now.quantile("quebert_runtime_timer_lag_seconds", 0.99, before).is_some_and(|p99| p99 > TIMER_LAG)
}

fn short_of_descriptors(now: &Metrics) -> bool {
    let limit = now.sum("process_max_fds", &[]);
    limit > 0.0 && now.sum("process_open_fds", &[]) > DESCRIPTORS_FULL * limit
}

fn limited(now: &Metrics, before: Option<&Metrics>) -> bool {
    let attempts = |labels: &[(&str, &str)]| {
        let sum = |metrics: &Metrics| metrics.sum("quebert_dispatch_attempts_total", labels);
        sum(now) - before.map_or(0.0, sum)
    };
    let all = attempts(&[]);
    all > 0.0 && attempts(&[("outcome", "429")]) > LIMITED * all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(texts: &[(&str, u64)]) -> Vec<String> {
        seconds_with(texts, None)
    }

    fn seconds_with(texts: &[(&str, u64)], cpu: Option<Cpu>) -> Vec<String> {
        let mut evidence = Evidence::default();
        let mut before = vec![None];
        for (text, ready) in texts {
            let now = vec![Some(Metrics::parse(text))];
            evidence.look(&now, &before, Some(*ready), 1.0, &Counts::default(), cpu.as_ref());
            before = now;
        }
        evidence.bottlenecks().into_iter().map(|bottleneck| bottleneck.name).collect()
    }

    #[test]
    fn full_slots_hold_back_only_while_tasks_wait() {
        let full = "quebert_tasks_in_flight{queue=\"a\"} 8\nquebert_queue_concurrency_limit{queue=\"a\"} 8\n";
        assert_eq!(seconds(&[(full, 5)]), ["concurrency"]);
        assert!(seconds(&[(full, 0)]).is_empty());
    }

    #[test]
    fn a_full_window_with_idle_slots_is_the_prefetch() {
        let text = "quebert_tasks_in_flight{queue=\"a\"} 2\nquebert_tasks_buffered{queue=\"a\"} 8\n\
            quebert_queue_concurrency_limit{queue=\"a\"} 8\nquebert_queue_prefetch_limit{queue=\"a\"} 10\n";
        assert_eq!(seconds(&[(text, 5)]), ["prefetch"]);
    }

    #[test]
    fn executors_that_refuse_and_processors_that_are_busy_are_named() {
        let text = |n: u32, cpu: u32| {
            format!(
                "quebert_dispatch_attempts_total{{outcome=\"429\"}} {n}\nquebert_dispatch_attempts_total{{outcome=\"2xx\"}} {n}\n\
                 process_cpu_seconds_total {cpu}\n"
            )
        };
        assert_eq!(seconds(&[("process_open_fds 900\nprocess_max_fds 1024\n", 0)]), ["sockets"]);
        let (first, second) = (text(10, 0), text(30, 100));
        assert_eq!(seconds(&[(&first, 0), (&second, 0)]), ["executor", "dispatcher cpu"]);
    }
    #[test]
    fn who_is_late_on_a_machine_that_others_fill_is_not_called_full() {
        let late = "quebert_runtime_timer_lag_seconds_bucket{le=\"0.05\"} 0\n\
            quebert_runtime_timer_lag_seconds_bucket{le=\"+Inf\"} 9\n\
            quebert_publish_confirm_duration_seconds_bucket{le=\"0.5\"} 0\n\
            quebert_publish_confirm_duration_seconds_bucket{le=\"+Inf\"} 9\n";
        let cpu = |tester, dispatchers, broker| Some(Cpu { all: Some(1.0), tester, dispatchers, broker });
        let told = |cpu| seconds_with(&[(late, 0)], cpu);
        assert_eq!(told(None), ["dispatcher cpu", "broker publish"]);
        assert_eq!(told(cpu(0.1, 0.1, 0.1)), ["machine"]);
        assert_eq!(told(cpu(0.5, 0.3, 0.1)), ["tester"]);
        assert_eq!(told(cpu(0.1, 0.1, 0.5)), ["dispatcher cpu", "broker publish", "broker cpu"]);
        assert_eq!(told(Some(Cpu { all: Some(0.5), ..Cpu::default() })), ["dispatcher cpu", "broker publish"]);
        // What a dispatcher takes itself is its own, whoever else takes more.
        let took = [("process_cpu_seconds_total 0\n", 0), ("process_cpu_seconds_total 1000\n", 0)];
        assert_eq!(seconds_with(&took, cpu(0.3, 0.5, 0.1)), ["dispatcher cpu"]);
    }
}
