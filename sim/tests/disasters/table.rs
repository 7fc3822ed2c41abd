//! The table: which alerts each disaster sets off, for whom, how soon and for how long. Everything that it does not have must
//! not fire. It is data, and the docs are made of it.

use quebert_sim::case::disaster;
use std::fmt::Write as _;

/// An alert of a disaster.
pub(crate) struct Row {
    pub(crate) disaster: &'static str,
    pub(crate) alert: &'static str,
    /// Which of them, by their labels in the order of labels' names; a burn rate's long window first.
    pub(crate) whose: &'static [&'static str],
    /// The latest of them fires so many minutes after the fault's beginning.
    pub(crate) within: u32,
    /// And the last one is over so many minutes after the fault's end, if it is over before the run is.
    pub(crate) over: Option<u32>,
    pub(crate) why: &'static str,
}

/// Not a scenario: a run without a fault, of which the metrics miss one settlement in a thousand.
pub(crate) const LEAK: &str = "leak";

/// Alerts that can't fire here, in the rules' order: they look at figures of a process or of its runtime, which a simulated
/// dispatcher does not have, or at mediators, of which there are none.
pub(crate) const BLIND: &[&str] =
    &["QuebertRestarting", "QuebertRuntimeLag", "QuebertHookErrors", "QuebertFilesNearLimit"];

pub(crate) const TABLE: &[Row] = &[
    Row {
        disaster: "disaster_executor_outage",
        alert: "QuebertDeadLetters",
        whose: &["high max_attempts", "low max_attempts"],
        within: 3,
        over: Some(16),
        why: "eight attempts take about two minutes",
    },
    Row {
        disaster: "disaster_executor_outage",
        alert: "QuebertDeliveryBudgetBurn",
        whose: &["1h high", "1h low"],
        within: 6,
        over: Some(6),
        why: "nothing succeeds",
    },
    Row {
        disaster: "disaster_executor_outage",
        alert: "QuebertDeliveryBudgetBurn",
        whose: &["6h high", "6h low"],
        within: 18,
        over: Some(31),
        why: "its short window is half an hour",
    },
    Row {
        disaster: "disaster_executor_outage",
        alert: "QuebertDestinationFailing",
        whose: &["http://executor-1:80", "http://executor-2:80"],
        within: 12,
        over: Some(6),
        why: "says that it is all of them",
    },
    Row {
        disaster: "disaster_executor_outage",
        alert: "QuebertRetryStorm",
        whose: &["high", "low"],
        within: 13,
        over: Some(10),
        why: "seven of eight attempts are followed by another",
    },
    Row {
        disaster: "disaster_dead_destination",
        alert: "QuebertCircuitOpen",
        whose: &["http://executor-1:80"],
        within: 12,
        over: Some(2),
        why: "it gives no answer; its neighbour does",
    },
    Row {
        disaster: "disaster_dead_destination",
        alert: "QuebertDestinationFailing",
        whose: &["http://executor-1:80"],
        within: 14,
        over: Some(2),
        why: "every attempt there ends without an answer",
    },
    Row {
        disaster: "disaster_dead_destination",
        alert: "QuebertRetryStorm",
        whose: &["high", "low"],
        within: 19,
        over: Some(1),
        why: "half of each queue is for it; it grows as what was put off gets its attempts",
    },
    Row {
        disaster: "disaster_dead_destination",
        alert: "QuebertWaitBudgetBurn",
        whose: &["6h high", "6h low"],
        within: 36,
        over: Some(31),
        why: "what was put off for it has waited until it came back",
    },
    Row {
        disaster: "disaster_dead_destination",
        alert: "QuebertDeadLetters",
        whose: &["high max_attempts", "low max_attempts"],
        within: 7,
        over: Some(16),
        why: "the few that had their eight attempts; most were put off",
    },
    Row {
        disaster: "disaster_broker_outage",
        alert: "QuebertBrokerDisconnected",
        whose: &["dispatcher-1:9464", "dispatcher-2:9464"],
        within: 3,
        over: Some(2),
        why: "one cause, told once by each",
    },
    Row {
        disaster: "disaster_poison_flood",
        alert: "QuebertDeadLetters",
        whose: &["high not_allowed", "high undecodable", "low not_allowed", "low undecodable"],
        within: 2,
        over: Some(16),
        why: "kept, each with its reason",
    },
    Row {
        disaster: "disaster_poison_flood",
        alert: "QuebertDeliveryBudgetBurn",
        whose: &["1h high", "1h low"],
        within: 4,
        over: Some(6),
        why: "what is no task fails, too",
    },
    Row {
        disaster: "disaster_poison_flood",
        alert: "QuebertDeliveryBudgetBurn",
        whose: &["6h high", "6h low"],
        within: 17,
        over: Some(31),
        why: "its short window is half an hour",
    },
    Row {
        disaster: "disaster_slow_hosts",
        alert: "QuebertScheduleLag",
        whose: &["high", "low"],
        within: 15,
        over: Some(12),
        why: "attempts wait for a slot when they are due",
    },
    Row {
        disaster: "disaster_slow_hosts",
        alert: "QuebertWaitBudgetBurn",
        whose: &["1h high", "1h low"],
        within: 17,
        over: Some(7),
        why: "a third of a task is done in a second, and half of one comes",
    },
    Row {
        disaster: "disaster_slow_hosts",
        alert: "QuebertSaturated",
        whose: &["high", "low"],
        within: 17,
        over: Some(2),
        why: "says why",
    },
    Row {
        disaster: "disaster_slow_hosts",
        alert: "QuebertWaitBudgetBurn",
        whose: &["6h high", "6h low"],
        within: 23,
        over: Some(32),
        why: "its short window is half an hour",
    },
    Row {
        disaster: "disaster_dispatcher_loss",
        alert: "QuebertDown",
        whose: &["dispatcher-1:9464"],
        within: 3,
        over: Some(1),
        why: "the other one takes over: no queue and no task suffers",
    },
    Row {
        disaster: LEAK,
        alert: "QuebertAccountingLeak",
        whose: &["dispatcher-1:9464 high"],
        within: 67,
        over: None,
        why: "six are lost after 50 minutes, and 15 more pass to be sure",
    },
];

pub(crate) const HEAD: &str = "| disaster | alert | fires within | over after | why |\n";

/// As the docs have it.
pub(crate) fn markdown() -> String {
    let mut text = format!("{HEAD}| --- | --- | --- | --- | --- |\n");
    for known in disaster::ALL {
        let mut rows = TABLE.iter().filter(|row| row.disaster == known.name).peekable();
        if rows.peek().is_none() {
            let _ = writeln!(text, "| `{}`: {} | none | | | |", known.name, known.about);
        }
        let mut name = format!("`{}`: {}", known.name, known.about);
        for row in rows {
            row.write(&mut text, &name);
            name.clear();
        }
    }
    for row in TABLE.iter().filter(|row| row.disaster == LEAK) {
        row.write(&mut text, "one settlement in a thousand is not counted, from minute 0 on");
    }
    text
}

impl Row {
    fn write(&self, text: &mut String, name: &str) {
        let Self { alert, whose, within, why, .. } = self;
        let whose = whose.iter().map(|whose| format!("`{whose}`")).collect::<Vec<_>>().join(", ");
        let over = self.over.map_or_else(|| "stays".to_owned(), |over| format!("{over} min"));
        let _ = writeln!(text, "| {name} | {alert}: {whose} | {within} min | {over} | {why} |");
    }
}
