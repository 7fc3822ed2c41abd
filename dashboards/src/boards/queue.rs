//! What is the matter with this queue? Flow, backlog, times and slots of the queues that are chosen.

use super::{R, SQ, buckets, common, quantile, queues, rate, sum};
use crate::{
    board::Board,
    panel::{Panel, Teach},
    settings::Settings,
};

pub(super) fn board(settings: &Settings) -> Board {
    let mut variables = common(settings);
    variables.push(queues(settings));
    let mut panels = flow();
    panels.extend(waiting(settings));
    panels.extend(slots(settings));
    panels.extend(odd());
    Board {
        name: "queue",
        title: "Quebert / Queue",
        about: "What is the matter with this queue? Choose one above, or compare them all.",
        variables,
        panels,
    }
}

fn flow() -> Vec<Panel> {
    vec![
        Panel::lines("Deliveries", "ops", Teach {
            shows: "deliveries taken from each queue a second; redelivered ones had been handed out before.",
            healthy: "redelivered at 0, but for moments after a restart or a lost connection.",
            act: "lasting redeliveries: dispatchers die (runtime board), or the broker's consumer_timeout cuts attempts off.",
        })
        .query("{{queue}} redelivered={{redelivered}}", rate("queue, redelivered", "quebert_deliveries_total", SQ)),
        Panel::lines("Settlements", "ops", Teach {
            shows: "deliveries off our hands a second, by result.",
            healthy: "succeeded is nearly all. duplicate: a redelivery whose task was done already.",
            act: "retried or dead_lettered: retries board. requeued: a drain, a pause, or slots that nobody has.",
        })
        .size(16, 8)
        .stacked()
        .query("{{queue}} {{result}}", rate("queue, result", "quebert_settlements_total", SQ)),
    ]
}

fn waiting(settings: &Settings) -> Vec<Panel> {
    vec![
        Panel::lines("Ready", "short", Teach {
            shows: "messages that wait in the work queue, as the broker says.",
            healthy: "near 0, or falling after a peak.",
            act: "rising with all slots in use: capacity. Rising with free slots: Consumers and Open, below.",
        })
        .query("{{queue}}", format!("max by (queue) (quebert_queue_ready_messages{{{SQ}}})")),
        Panel::lines("Waiting for their moment", "short", Teach {
            shows: "tasks that are delayed, or wait for their next attempt. Only the embedded broker can tell; RabbitMQ's \
                    delay queues are shared by all work queues, see the RabbitMQ board.",
            healthy: "what producers delay, and a few retries.",
            act: "a rise that nobody planned is a retry storm: retries board.",
        })
        .query("{{queue}}", format!("sum by (queue) (quebert_retry_pending_messages{{{SQ}}})")),
        Panel::lines("Age of the oldest", "s", Teach {
            shows: "age of the oldest message that is ready. RabbitMQ does not tell, so there it is an upper bound: the \
                    time since the queue was empty, or since the task that was sent last had come in.",
            healthy: "below the wait objective.",
            act: "it grows second by second: nothing is taken, see Open and Consumers.",
        })
        .query("{{queue}}", format!("max by (queue) (quebert_queue_head_age_seconds{{{SQ}}})")),
        Panel::lines("Wait, p99", "s", Teach {
            shows: "99 of 100 tasks waited no longer for their first attempt.",
            healthy: "below the dashed line, which is the wait objective.",
            act: "read it with Ready and Slots in use: waiting without a backlog means that one destination holds others up.",
        })
        .worse_above(settings.objectives.wait_seconds, 10.0 * settings.objectives.wait_seconds)
        .exemplars("{{queue}}", quantile(0.99, "queue", "quebert_task_wait_seconds", SQ)),
        Panel::heatmap("Wait", "s", Teach {
            shows: "how many tasks waited how long. Points are single tasks: their id leads to the logs.",
            healthy: "one dark band at the bottom.",
            act: "two bands: two kinds of tasks or destinations. A band that climbs: too little capacity.",
        })
        .size(16, 8)
        .exemplars("{{le}}", buckets("quebert_task_wait_seconds", SQ)),
        Panel::lines("Schedule lag, p99", "s", Teach {
            shows: "how much later than due attempts start, retries and delayed tasks included.",
            healthy: "milliseconds; some more while slots are scarce.",
            act: "slots free and lag high: the dispatcher itself is slow (runtime board), or the broker hands out late.",
        })
        .worse_above(settings.thresholds.schedule_lag_seconds / 5.0, settings.thresholds.schedule_lag_seconds)
        .exemplars("{{queue}}", quantile(0.99, "queue", "quebert_schedule_lag_seconds", SQ)),
    ]
}

fn slots(settings: &Settings) -> Vec<Panel> {
    let by = |metric: &str| sum("queue", &format!("{metric}{{{SQ}}}"));
    let held = format!("({} + {})", by("quebert_tasks_in_flight"), by("quebert_tasks_buffered"));
    vec![
        Panel::lines("Slots in use", "percentunit", Teach {
            shows: "attempts under way, as a share of the most that the queue may have.",
            healthy: "below 1 most of the time.",
            act: "at 1 with a backlog: raise slots_max if the executors can take more, or start another dispatcher.",
        })
        .share()
        .worse_above(0.8, settings.thresholds.utilization)
        .query("{{queue}}", format!("{} / {}", by("quebert_tasks_in_flight"), by("quebert_queue_concurrency_limit"))),
        Panel::lines("Window in use", "percentunit", Teach {
            shows: "deliveries held, as a share of the most that the queue may hold (the broker's prefetch).",
            healthy: "high under load, low otherwise.",
            act: "at 1 with free slots: what is held waits for one slow destination (destination board).",
        })
        .share()
        .query("{{queue}}", format!("{held} / {}", by("quebert_queue_prefetch_limit"))),
        Panel::lines("Consumers", "none", Teach {
            shows: "consumers of the work queue, of all dispatchers, as the broker says.",
            healthy: "one for each dispatcher.",
            act: "0: nobody takes. Paused, or no dispatcher is connected.",
        })
        .query("{{queue}}", format!("max by (queue) (quebert_queue_consumers{{{SQ}}})")),
        Panel::states("Open", Teach {
            shows: "whether the broker hands out deliveries of the queue, for each dispatcher.",
            healthy: "open.",
            act: "closed on all: somebody paused it (`quebert queues`). On one: that dispatcher's logs say why.",
        })
        .means(&[("0", "closed", "red"), ("1", "open", "green")])
        .size(16, 8)
        .query("{{queue}} at {{instance}}", format!("quebert_queue_open{{{SQ}}}")),
        Panel::lines("Bytes that wait", "bytes", Teach {
            shows: "bytes of the messages that wait in the work queue. Only the embedded broker can tell.",
            healthy: "follows Ready.",
            act: "it grows faster than Ready: tasks have become larger, see Body size.",
        })
        .query("{{queue}}", format!("sum by (queue) (quebert_queue_ready_bytes{{{SQ}}})")),
        Panel::lines("Body size, p95", "bytes", Teach {
            shows: "size of the bodies of requests to executors.",
            healthy: "flat, and far below limits.body_bytes.",
            act: "large bodies cost memory in broker and dispatcher: send a reference instead.",
        })
        .query("{{queue}}", quantile(0.95, "queue", "quebert_task_body_bytes", SQ)),
    ]
}

fn odd() -> Vec<Panel> {
    let more = |metric: &str| sum("queue", &format!("increase({metric}{{{SQ}}}{R})"));
    vec![
        Panel::lines("From the future", "short", Teach {
            shows: "tasks that were enqueued later than now, by the dispatcher's clock; their wait counts as 0.",
            healthy: "0.",
            act: "the clocks of producers and dispatchers differ: mend NTP, or waits are wrong and delayed tasks early or late.",
        })
        .query("{{queue}}", more("quebert_clock_skew_total")),
        Panel::lines("Expired", "short", Teach {
            shows: "tasks whose time was over, by where they were then.",
            healthy: "0, unless your tasks are meant to expire.",
            act: "received or before_dispatch: they waited too long. in_flight: the executor took too long. before_retry: \
                  the next attempt would have come too late.",
        })
        .size(16, 8)
        .query("{{queue}} {{stage}}", sum("queue, stage", &format!("increase(quebert_tasks_expired_total{{{SQ}}}{R})"))),
        Panel::lines("Unknown fields", "short", Teach {
            shows: "messages with fields that no envelope has.",
            healthy: "0; for a while above it during a rolling upgrade.",
            act: "a producer spells a field wrong, and it has no effect. limits.bury_unknown_fields makes it an error.",
        })
        .query("{{queue}}", more("quebert_unknown_fields_total")),
    ]
}
