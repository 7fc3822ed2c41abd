//! How much more can it take? Slots, the work that needs them, and what a dispatcher costs.

use super::{R, RQ, S, SQ, common, of_dispatchers, queues, rate, sum};
use crate::{
    board::Board,
    panel::{Panel, Teach},
    settings::Settings,
};

pub(super) fn board(settings: &Settings) -> Board {
    let mut variables = common(settings);
    variables.push(queues(settings));
    let mut panels = queues_load(settings);
    panels.extend(dispatchers());
    Board {
        name: "capacity",
        title: "Quebert / Capacity",
        about: "How much more can it take, and what does it cost?",
        variables,
        panels,
    }
}

fn queues_load(settings: &Settings) -> Vec<Panel> {
    vec![
        Panel::lines("Slots in use", "percentunit", Teach {
            shows: "attempts under way, as a share of the slots, at all dispatchers together.",
            healthy: "below the dashed line; above it nothing is left for peaks.",
            act: "raise slots_max if the executors can take more, or start another dispatcher.",
        })
        .share()
        .worse_above(0.8, settings.thresholds.utilization)
        .query("{{queue}}", format!("queue:quebert_concurrency:utilization{{{RQ}}}")),
        Panel::lines("Backlog", "short", Teach {
            shows: "messages that wait, by queue.",
            healthy: "near 0, or falling.",
            act: "rising over hours: more comes in than capacity can take, whatever the peaks do.",
        })
        .query("{{queue}}", format!("queue:quebert_ready:max{{{RQ}}}")),
        Panel::lines("Time to drain", "s", Teach {
            shows: "how long the backlog takes at the pace of the last 5 minutes.",
            healthy: "below the dashed line.",
            act: "it grows while slots are free: executors or destination caps hold it back.",
        })
        .worse_above(settings.thresholds.drain_seconds / 3.0, settings.thresholds.drain_seconds)
        .query("{{queue}}", format!("queue:quebert_drain:seconds{{{RQ}}}")),
        Panel::lines("Slots needed and there", "short", Teach {
            shows: "by Little's law, attempts a second times their duration is how many are under way: the slots needed. \
                    Beside it the slots that there are.",
            healthy: "needed is at most two thirds of what there is.",
            act: "they meet: faster executors, or more slots.",
        })
        .size(12, 8)
        .query("needed", rate("", "quebert_dispatch_duration_seconds_sum", S))
        .query("there", sum("", &format!("quebert_queue_concurrency_limit{{{S}}}"))),
        Panel::lines("Wait, p99", "s", Teach {
            shows: "the recorded 99th percentile of the wait for the first attempt over 5 minutes.",
            healthy: "below the wait objective.",
            act: "it bends upwards when slots in use pass four fifths: that is where capacity ends.",
        })
        .size(12, 8)
        .worse_above(settings.objectives.wait_seconds, 10.0 * settings.objectives.wait_seconds)
        .query("{{queue}}", format!("queue:quebert_task_wait_seconds:p99_5m{{{RQ}}}")),
        Panel::lines("In by queue", "ops", Teach {
            shows: "deliveries a second over 5 minutes, by queue.",
            healthy: "as your business goes.",
            act: "compare with last week: is it growth, or a producer gone wild?",
        })
        .query("{{queue}}", format!("queue:quebert_deliveries:rate5m{{{RQ}}}")),
        Panel::lines("Results by queue", "ops", Teach {
            shows: "settlements a second over 5 minutes, by queue and result.",
            healthy: "succeeded is nearly all.",
            act: "retries take capacity as well: see the retries board.",
        })
        .size(16, 8)
        .stacked()
        .query("{{queue}} {{result}}", format!("queue_result:quebert_settlements:rate5m{{{RQ}}}")),
    ]
}

fn cpu() -> String {
    of_dispatchers(&format!("rate(process_cpu_seconds_total{{{S}}}{R})"))
}

fn dispatchers() -> Vec<Panel> {
    vec![
        Panel::lines("CPU for 1000 attempts", "s", Teach {
            shows: "CPU time of all dispatchers for a thousand attempts.",
            healthy: "flat. It is high while there is little to do, since a quiet dispatcher costs something, too.",
            act: "a step after a release is a regression; a step with larger bodies or TLS is not.",
        })
        .query(
            "CPU",
            format!(
                "1000 * {} / ({} > 0)",
                sum("", &cpu()),
                rate("", "quebert_dispatch_attempts_total", SQ)
            ),
        ),
        Panel::lines("CPU by dispatcher", "percentunit", Teach {
            shows: "cores that each dispatcher uses: 1 is one core.",
            healthy: "below 0.8; one dispatcher does its work on one core, the API has a thread of its own.",
            act: "near 1: start another dispatcher, nothing else is needed.",
        })
        .query("{{instance}}", cpu()),
        Panel::lines("Memory by dispatcher", "bytes", Teach {
            shows: "resident memory of each dispatcher.",
            healthy: "flat after warm-up; it follows windows times body sizes.",
            act: "a steady rise is worth a report. Lower lane windows or limits.body_bytes to bound it.",
        })
        .query("{{instance}}", of_dispatchers(&format!("process_resident_memory_bytes{{{S}}}"))),
        Panel::lines("Attempts by dispatcher", "reqps", Teach {
            shows: "requests to executors a second, by dispatcher.",
            healthy: "about the same for all at one RabbitMQ.",
            act: "one at 0: it is paused, not connected, or draining (runtime board).",
        })
        .query("{{instance}}", rate("instance", "quebert_dispatch_attempts_total", SQ)),
        Panel::lines("Size of the store", "bytes", Teach {
            shows: "size of the embedded broker's file.",
            healthy: "flat: it grows with the largest backlog, and its space is used again.",
            act: "near embedded.total_bytes_max enqueueing is refused: work the backlog off, or delete dead letters.",
        })
        .query("{{instance}}", format!("quebert_store_file_bytes{{{S}}}")),
        Panel::lines("Threads", "none", Teach {
            shows: "threads of each dispatcher.",
            healthy: "flat.",
            act: "a rise means blocking work, such as a mediator of yours that blocks.",
        })
        .query("{{instance}}", of_dispatchers(&format!("process_threads{{{S}}}"))),
    ]
}
