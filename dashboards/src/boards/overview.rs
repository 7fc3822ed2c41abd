//! Is all well, and since when not? One look at everything; which queue or destination it is, others say.

use super::{RQ, S, SQ, and, common, quantile, queues, rate, sum};
use crate::{
    board::Board,
    panel::{Panel, Teach},
    settings::{Settings, number},
};

pub(super) fn board(settings: &Settings) -> Board {
    let mut variables = common(settings);
    variables.push(queues(settings));
    let mut panels = figures(settings);
    panels.extend(flow());
    panels.extend(times());
    panels.extend(burns(settings));
    Board {
        name: "overview",
        title: "Quebert / Overview",
        about: "Is all well, and since when not? Start here; the links at the top lead on, and keep what is chosen.",
        variables,
        panels,
    }
}

fn figures(settings: &Settings) -> Vec<Panel> {
    let done = |results: &str| rate("", "quebert_settlements_total", &and(SQ, results));
    let success =
        format!("{} / ({} > 0)", done(r#"result="succeeded""#), done(r#"result=~"succeeded|dead_lettered|expired""#));
    let o = &settings.objectives;
    let promised = 1.0 - o.delivery_budget();
    vec![
        Panel::stat("Tasks completed", "ops", Teach {
            shows: "tasks a second whose executor answered with success.",
            healthy: "about what producers add; see Tasks in and out.",
            act: "compare it with the backlog: a low figure with an empty backlog is just a quiet time.",
        })
        .query("completed", done(r#"result="succeeded""#)),
        Panel::stat("Success ratio", "percentunit", Teach {
            shows: "of the tasks that ended, the share that succeeded. Retries are no end.",
            healthy: "green: at or above the delivery objective.",
            act: "look at Dead letters by reason on the retries board; at which executor, the destination board says.",
        })
        .share()
        .worse_below(promised - 10.0 * o.delivery_budget(), promised)
        .query("succeeded", success),
        Panel::stat("Wait, p99", "s", Teach {
            shows: "99 of 100 tasks waited no longer for their first attempt, from the moment when they were due.",
            healthy: "green: below the wait objective.",
            act: "Backlog grows as well: slots or executors are too few (capacity board). It does not: one queue or \
                  destination is slow (queue board).",
        })
        .worse_above(o.wait_seconds, 10.0 * o.wait_seconds)
        .exemplars("p99", quantile(0.99, "", "quebert_task_wait_seconds", SQ)),
        Panel::stat("Backlog", "short", Teach {
            shows: "messages that wait in the work queues. Dispatchers at one RabbitMQ all see the same, so each queue \
                    counts once.",
            healthy: "near 0, or falling after a peak.",
            act: "see Time to drain: is it being worked off at all?",
        })
        .query("waiting", format!("sum(max by (queue) (quebert_queue_ready_messages{{{SQ}}}))")),
        Panel::stat("Time to drain", "s", Teach {
            shows: "how long the slowest queue takes for its backlog at the pace of the last 5 minutes.",
            healthy: "seconds. Empty means that nothing was finished at all.",
            act: "capacity board: are all slots in use, and does the executor have more to give?",
        })
        .worse_above(settings.thresholds.drain_seconds / 3.0, settings.thresholds.drain_seconds)
        .query("longest", format!("max(queue:quebert_drain:seconds{{{RQ}}})")),
        Panel::stat("Dispatchers ready", "none", Teach {
            shows: "dispatchers that are connected, have all queues open and are not draining.",
            healthy: "as many as you have started.",
            act: "runtime board: which one is not connected, or was started anew?",
        })
        .worse_below(1.0, 1.0)
        .query("ready", sum("", &format!("quebert_ready{{{S}}}"))),
    ]
}

fn flow() -> Vec<Panel> {
    vec![
        Panel::lines("Tasks in and out", "ops", Teach {
            shows: "deliveries taken from the broker, and what became of them, a second. A retried task is delivered again.",
            healthy: "the lines for deliveries and for all results together lie on each other; succeeded is nearly all.",
            act: "much retried: retries board. Deliveries without settlements: executors are slow, see Attempt duration.",
        })
        .size(12, 8)
        .colors(&RESULTS)
        .query("delivered", rate("", "quebert_deliveries_total", SQ))
        .query("{{result}}", rate("result", "quebert_settlements_total", SQ)),
        Panel::lines("Attempts by outcome", "reqps", Teach {
            shows: "HTTP requests to executors a second, by what came of them: a class of status, or why there was none.",
            healthy: "2xx, and little else.",
            act: "connect, dns or tls: the executor can't be reached. timeout: it is too slow. 429: it asks for less. 5xx: \
                  its own logs.",
        })
        .size(12, 8)
        .stacked()
        .colors(&OUTCOMES)
        .query("{{outcome}}", rate("outcome", "quebert_dispatch_attempts_total", SQ)),
    ]
}

fn times() -> Vec<Panel> {
    let three = |panel: Panel, metric: &str, of: &str| {
        [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)]
            .into_iter()
            .fold(panel, |panel, (name, q)| panel.exemplars(name, quantile(q, "", metric, of)))
    };
    let wait = Panel::lines(
        "Wait for the first attempt",
        "s",
        Teach {
            shows: "how long tasks waited from the moment when they were due until their first attempt.",
            healthy: "flat, and p99 below the objective. Dots are single tasks: their id leads to the logs.",
            act: "a rise with a rising backlog is too little capacity; without, a destination that holds its queue up.",
        },
    );
    let attempt = Panel::lines(
        "Attempt duration",
        "s",
        Teach {
            shows: "how long executors took for one attempt, failed ones included.",
            healthy: "flat; well below the queue's attempt_timeout.",
            act: "destination board: which one is slow? Slow executors use up slots.",
        },
    );
    let whole = Panel::lines(
        "From enqueue to completion",
        "s",
        Teach {
            shows: "how old tasks were when they succeeded, retries and chosen delays included.",
            healthy: "as your users expect. Tasks with a delay are as old as that at least.",
            act: "split it: Wait for the first attempt, Attempt duration, and the retries board.",
        },
    );
    vec![
        three(wait, "quebert_task_wait_seconds", SQ),
        three(attempt, "quebert_dispatch_duration_seconds", S),
        three(whole, "quebert_task_duration_seconds", &and(SQ, r#"result="succeeded""#)),
    ]
}

fn burns(settings: &Settings) -> Vec<Panel> {
    let o = &settings.objectives;
    let burn = |panel: Panel, slo: &str, budget: f64| {
        ["1h", "6h"].into_iter().fold(panel.size(12, 8), |panel, window| {
            let ratio = format!("queue:quebert_slo_{slo}_errors:ratio_rate{window}{{{RQ}}}");
            panel.query(&format!("{{{{queue}}}} {window}"), format!("{ratio} / {}", number(budget)))
        })
    };
    let delivery = Panel::lines(
        "Delivery budget burn",
        "none",
        Teach {
            shows: "how fast each queue uses up what its delivery objective allows to fail: 1 uses it up exactly in its period.",
            healthy: "below 1. Somebody is woken at 14.4 (1h) and at 6 (6h).",
            act: "the runbook QuebertDeliveryBudgetBurn tells causes apart.",
        },
    );
    let wait = Panel::lines(
        "Wait budget burn",
        "none",
        Teach {
            shows: "how fast each queue uses up what its wait objective allows to come late: 1 uses it up exactly in its period.",
            healthy: "below 1. Somebody is woken at 14.4 (1h) and at 6 (6h).",
            act: "the runbook QuebertWaitBudgetBurn tells causes apart.",
        },
    );
    vec![
        burn(delivery.worse_above(1.0, 6.0).to_queue(), "delivery", o.delivery_budget()),
        burn(wait.worse_above(1.0, 6.0).to_queue(), "wait", o.wait_budget()),
    ]
}

/// So that red is what is bad, whatever else there is.
const RESULTS: [(&str, &str); 5] = [
    ("delivered", "blue"),
    ("succeeded", "green"),
    ("retried", "yellow"),
    ("expired", "orange"),
    ("dead_lettered", "red"),
];

/// The same for attempts.
const OUTCOMES: [(&str, &str); 6] = [
    ("2xx", "green"),
    ("4xx", "orange"),
    ("429", "yellow"),
    ("5xx", "red"),
    ("timeout", "purple"),
    ("connect", "dark-red"),
];
