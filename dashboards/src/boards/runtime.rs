//! Is a dispatcher itself not well? Sessions, versions, config, event loop, mediators, and the conservation law.

use super::{R, S, SQ, common, of_dispatchers, quantile, queues, sum};
use crate::{
    board::Board,
    panel::{Panel, Teach},
    settings::Settings,
};

pub(super) fn board(settings: &Settings) -> Board {
    let mut variables = common(settings);
    variables.push(queues(settings));
    let mut panels = states();
    panels.extend(lives());
    panels.extend(event_loop(settings));
    panels.extend(mediators());
    panels.extend(accounts());
    Board { name: "runtime", title: "Quebert / Runtime", about: "Is a dispatcher itself not well?", variables, panels }
}

fn states() -> Vec<Panel> {
    const YES_IS_GOOD: [(&str, &str, &str); 2] = [("0", "no", "red"), ("1", "yes", "green")];
    const NO_IS_GOOD: [(&str, &str, &str); 2] = [("0", "no", "green"), ("1", "yes", "red")];
    vec![
        Panel::states(
            "Connected",
            Teach {
                shows: "whether there is a session with the broker.",
                healthy: "yes.",
                act: "all at once: the broker. One: its network or its credentials; its log names the error.",
            },
        )
        .means(&YES_IS_GOOD)
        .query("{{instance}}", format!("quebert_broker_connected{{{S}}}")),
        Panel::states(
            "Blocked",
            Teach {
                shows: "whether the broker takes no publishes for now.",
                healthy: "no.",
                act: "the broker has run into its limit of memory or disk: RabbitMQ board.",
            },
        )
        .means(&NO_IS_GOOD)
        .query("{{instance}}", format!("quebert_broker_blocked{{{S}}}")),
        Panel::states(
            "Ready",
            Teach {
                shows: "whether /readyz says yes: connected, all queues open, not draining.",
                healthy: "yes, but for starts and stops.",
                act: "ask /readyz: it says in words what is missing.",
            },
        )
        .means(&YES_IS_GOOD)
        .query("{{instance}}", format!("quebert_ready{{{S}}}")),
    ]
}

fn lives() -> Vec<Panel> {
    vec![
        Panel::lines("Versions", "none", Teach {
            shows: "dispatchers by version and revision.",
            healthy: "one line, or two during a rollout.",
            act: "two for long: a rollout has stopped half-way.",
        })
        .query("{{version}} {{revision}}", format!("count by (version, revision) (quebert_build_info{{{S}}})")),
        Panel::lines("Age of the config", "s", Teach {
            shows: "time since each dispatcher last read its config without errors.",
            healthy: "the same for all.",
            act: "one is older: it missed a reload, or could not read it.",
        })
        .query("{{instance}}", format!("time() - quebert_config_last_reload_success_timestamp_seconds{{{S}}}")),
        Panel::lines("Reloads", "short", Teach {
            shows: "reloads of the config, by result.",
            healthy: "ok when you meant it; never error.",
            act: "`quebert check` says what is wrong with the file.",
        })
        .query("{{result}}", sum("result", &format!("increase(quebert_config_reloads_total{{{S}}}{R})"))),
        Panel::lines("Up since", "s", Teach {
            shows: "time since each dispatcher was started.",
            healthy: "rising lines.",
            act: "saw teeth: it dies again and again. Its last log lines, and its memory limit, say why.",
        })
        .query("{{instance}}", format!("time() - {}", of_dispatchers(&format!("process_start_time_seconds{{{S}}}")))),
        Panel::lines("Sessions ended", "short", Teach {
            shows: "sessions with the broker that ended, by reason.",
            healthy: "0.",
            act: "heartbeat, io: the network, or a frozen broker. channel, consumer: the broker refused something; the log \
                  has its words. closed: it was stopped.",
        })
        .query("{{reason}}", sum("reason", &format!("increase(quebert_broker_reconnects_total{{{S}}}{R})"))),
        Panel::lines("Open files", "percentunit", Teach {
            shows: "open file descriptors, as a share of how many there may be.",
            healthy: "far below 1. Each connection is one.",
            act: "raise the limit (`ulimit -n`, LimitNOFILE), or lower destinations.slots.",
        })
        .share()
        .worse_above(0.6, 0.8)
        .query("{{instance}}", of_dispatchers(&format!("process_open_fds{{{S}}} / process_max_fds{{{S}}}"))),
    ]
}

fn event_loop(settings: &Settings) -> Vec<Panel> {
    vec![
        Panel::lines(
            "Worker busy",
            "percentunit",
            Teach {
                shows: "how much of its time each worker thread of the runtime is busy.",
                healthy: "below 0.8.",
                act: "near 1: start another dispatcher. `quebert run` works on one thread by design.",
            },
        )
        .share()
        .worse_above(0.8, 0.95)
        .query("{{instance}} {{worker}}", format!("rate(quebert_runtime_worker_busy_seconds_total{{{S}}}{R})")),
        Panel::lines(
            "Workers",
            "none",
            Teach {
                shows: "worker threads of the runtime.",
                healthy: "1 for `quebert run`; what you chose for a program of your own.",
                act: "more threads make a dispatcher dearer, not faster: see docs/performance.md.",
            },
        )
        .query("{{instance}}", format!("quebert_runtime_workers{{{S}}}")),
        Panel::lines(
            "Timer lag, p99",
            "s",
            Teach {
                shows: "how late a timer of the runtime fires.",
                healthy: "a few milliseconds.",
                act: "something blocks the event loop: a mediator that blocks, a starved machine, swapping.",
            },
        )
        .worse_above(settings.thresholds.timer_lag_seconds / 2.0, settings.thresholds.timer_lag_seconds)
        .query("{{instance}}", quantile(0.99, "instance", "quebert_runtime_timer_lag_seconds", S)),
        Panel::lines(
            "Live tasks",
            "short",
            Teach {
                shows: "tasks of the async runtime that are alive.",
                healthy: "follows what is under way.",
                act: "a rise without load is a leak: worth a report.",
            },
        )
        .query("{{instance}}", format!("quebert_runtime_alive_tasks{{{S}}}")),
    ]
}

fn mediators() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Mediator errors",
            "short",
            Teach {
                shows: "calls of your mediators that failed or took too long. Empty if there are none.",
                healthy: "0.",
                act: "hooks.on_error says what becomes of the task; the log names the error.",
            },
        )
        .query("{{hook}} {{phase}}", sum("hook, phase", &format!("increase(quebert_hook_errors_total{{{S}}}{R})"))),
        Panel::lines(
            "Mediator time, p99",
            "s",
            Teach {
                shows: "how long calls of your mediators take. Empty if there are none.",
                healthy: "milliseconds: each attempt waits for them.",
                act: "give slow work to a task of its own, or to a queue.",
            },
        )
        .query("{{hook}} {{phase}}", quantile(0.99, "hook, phase", "quebert_hook_duration_seconds", S)),
    ]
}

fn accounts() -> Vec<Panel> {
    let each = |metric: &str| sum("instance, queue", &format!("{metric}{{{SQ}}}"));
    vec![
        Panel::lines("Unaccounted for", "short", Teach {
            shows: "deliveries less settlements less what is held: the conservation law. Single points off 0 come from \
                    counters that are read one after the other.",
            healthy: "0.",
            act: "a lasting difference is a bug: a task that nobody holds and nobody settled. The runbook \
                  QuebertAccountingLeak says what to save.",
        })
        .signed()
        .size(16, 8)
        .query(
            "{{instance}} {{queue}}",
            // Counters as they are: a rate would hide what is missing.
            format!(
                "{} - {} - {} - {}",
                each("quebert_deliveries_total"),
                each("quebert_settlements_total"),
                each("quebert_tasks_in_flight"),
                each("quebert_tasks_buffered")
            ),
        ),
        Panel::lines("Held", "short", Teach {
            shows: "deliveries with an attempt under way (in flight) and those that wait for a slot, a destination or a \
                    moment (buffered).",
            healthy: "in flight below the slots, buffered below the window.",
            act: "buffered high with free slots: one destination holds its tasks up.",
        })
        .query("in flight", now("quebert_tasks_in_flight"))
        .query("buffered", now("quebert_tasks_buffered")),
    ]
}

fn now(metric: &str) -> String {
    sum("", &format!("{metric}{{{SQ}}}"))
}
