//! What fails, why, and what becomes of it? Retries, dead letters, and the publishes that keep both.

use super::{R, S, SQ, and, common, quantile, queues, rate, sum};
use crate::{
    board::Board,
    panel::{Panel, Teach},
    rules::alerts::AFTER_ATTEMPT,
    settings::Settings,
};

pub(super) fn board(settings: &Settings) -> Board {
    let mut variables = common(settings);
    variables.push(queues(settings));
    let mut panels = figures(settings);
    panels.extend(reasons());
    panels.extend(publishes());
    Board {
        name: "retries",
        title: "Quebert / Retries and dead letters",
        about: "What fails, why, and what becomes of it?",
        variables,
        panels,
    }
}

fn figures(settings: &Settings) -> Vec<Panel> {
    let won = and(SQ, r#"result="succeeded""#);
    vec![
        Panel::stat(
            "Retry ratio",
            "percentunit",
            Teach {
                shows: "retries for each attempt; what was put off without one is not among them.",
                healthy: "a few percent.",
                act: "Retries by reason, below. Above one half, most of the work is in vain.",
            },
        )
        .size(6, 5)
        .share()
        .worse_above(settings.thresholds.retries / 5.0, settings.thresholds.retries)
        .query(
            "retries",
            format!(
                "{} / ({} > 0)",
                rate("", "quebert_retries_scheduled_total", &and(SQ, AFTER_ATTEMPT)),
                rate("", "quebert_dispatch_attempts_total", SQ)
            ),
        ),
        Panel::stat(
            "Dead letters",
            "short",
            Teach {
                shows: "dead letters that the broker keeps until somebody replays or deletes them.",
                healthy: "0, or a number that somebody knows of.",
                act: "`quebert dead list` shows them, `quebert dead replay` sends them again once the cause is mended.",
            },
        )
        .size(6, 5)
        .worse_above(1.0, 1000.0)
        .query("held", format!("sum(max by (queue) (quebert_dead_letter_messages{{{SQ}}}))")),
        Panel::stat(
            "Attempts for a success",
            "none",
            Teach {
                shows: "how many attempts tasks took that succeeded in the end, on average.",
                healthy: "just above 1.",
                act: "it rises first when an executor begins to fail: destination board.",
            },
        )
        .size(6, 5)
        .worse_above(1.2, 2.0)
        .query(
            "attempts",
            format!(
                "{} / ({} > 0)",
                rate("", "quebert_task_attempts_sum", &won),
                rate("", "quebert_task_attempts_count", &won)
            ),
        ),
        Panel::stat(
            "Given up",
            "short",
            Teach {
                shows: "tasks that became dead letters within the window.",
                healthy: "0.",
                act: "Dead letters by reason, below.",
            },
        )
        .size(6, 5)
        .worse_above(1.0, 100.0)
        .query("given up", sum("", &format!("increase(quebert_dead_lettered_total{{{SQ}}}{R})"))),
    ]
}

fn reasons() -> Vec<Panel> {
    vec![
        Panel::lines("Retries by reason", "ops", Teach {
            shows: "tasks that wait for another attempt or were put off, a second, by why.",
            healthy: "little. overload is a destination beyond its share, and uses up no attempt.",
            act: "5xx, timeout, connect: the executor. 429: it asks for less. hook: a mediator of yours.",
        })
        .stacked()
        .size(12, 8)
        .query("{{queue}} {{reason}}", rate("queue, reason", "quebert_retries_scheduled_total", SQ)),
        Panel::lines("Dead letters by reason", "short", Teach {
            shows: "tasks that were given up, by why.",
            healthy: "0.",
            act: "max_attempts: the executor failed for long. permanent: it refused for good. undecodable, not_allowed: \
                  the producer. max_deliveries: a task that kills dispatchers. expired: it waited too long.",
        })
        .stacked()
        .size(12, 8)
        .query("{{queue}} {{reason}}", sum("queue, reason", &format!("increase(quebert_dead_lettered_total{{{SQ}}}{R})"))),
        Panel::lines("Dead letters held", "short", Teach {
            shows: "dead letters that the broker keeps, by queue.",
            healthy: "flat at a number that somebody knows of.",
            act: "a steady rise has a cause that is still there: mend it before you replay.",
        })
        .query("{{queue}}", format!("max by (queue) (quebert_dead_letter_messages{{{SQ}}})")),
        Panel::lines("Attempts until the end, p95", "none", Teach {
            shows: "how many attempts tasks took until their end, by how they ended.",
            healthy: "1 for succeeded; the policy's max_attempts for dead_lettered.",
            act: "many attempts for successes: executors are shaky; a longer backoff_min may spare them.",
        })
        .query("{{queue}} {{result}}", quantile(0.95, "queue, result", "quebert_task_attempts", SQ)),
        Panel::lines("Age at the end, p95", "s", Teach {
            shows: "how old tasks were at their end, by how they ended.",
            healthy: "flat. Dead letters are as old as all their backoffs together.",
            act: "dead letters that are hours old tell how long nobody noticed: mind the alerts on attempts instead.",
        })
        .exemplars("{{queue}} {{result}}", quantile(0.95, "queue, result", "quebert_task_duration_seconds", SQ)),
    ]
}

fn publishes() -> Vec<Panel> {
    vec![
        Panel::lines("Publishes by answer", "ops", Teach {
            shows: "what the broker answered to copies for retry and dead letters, a second.",
            healthy: "ack only.",
            act: "nack: the queue is full or has lost its majority. returned: the queue is gone. timeout: the broker is \
                  slow. not_connected: the session ended; it is sent again.",
        })
        .size(16, 8)
        .query("{{purpose}} {{result}}", rate("purpose, result", "quebert_publish_confirms_total", S)),
        Panel::lines("Confirmation, p99", "s", Teach {
            shows: "how long the broker took to confirm a publish.",
            healthy: "milliseconds: it is a write to disk, on a quorum of nodes.",
            act: "the broker's disks, or a node that is away: RabbitMQ board.",
        })
        .query("{{purpose}}", quantile(0.99, "purpose", "quebert_publish_confirm_duration_seconds", S)),
    ]
}
