//! What does RabbitMQ itself say? Its own metrics beside Quebert's, joined by queue. They come from its plugin
//! `rabbitmq_prometheus`: the node's from `/metrics`, the queues' from `/metrics/detailed`.

use super::{R, S, SQ, common, queues, sum, variable};
use crate::{
    board::Board,
    panel::{Panel, Teach},
    settings::Settings,
};

/// The metrics of RabbitMQ's that are asked for; they are in no list of ours.
pub(crate) const METRICS: &[&str] = &[
    "rabbitmq_build_info",
    "rabbitmq_detailed_queue_messages_ready",
    "rabbitmq_detailed_queue_messages_unacked",
    "rabbitmq_detailed_queue_consumers",
    "rabbitmq_connections",
    "rabbitmq_channels",
    "rabbitmq_process_resident_memory_bytes",
    "rabbitmq_resident_memory_limit_bytes",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_disk_space_available_limit_bytes",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_global_messages_received_total",
    "rabbitmq_global_messages_confirmed_total",
    "rabbitmq_global_messages_redelivered_total",
    "rabbitmq_global_messages_unroutable_returned_total",
];

/// Matchers of RabbitMQ's: another job than ours.
const B: &str = r#"job=~"$rabbitmq""#;

pub(super) fn board(settings: &Settings) -> Board {
    let mut variables = common(settings);
    variables.push(queues(settings));
    variables.push(variable("rabbitmq", "RabbitMQ job", "label_values(rabbitmq_build_info, job)"));
    let mut panels = joined(&settings.queue_prefix);
    panels.extend(node());
    Board {
        name: "rabbitmq",
        title: "Quebert / RabbitMQ",
        about: "What does RabbitMQ itself say? Needs its plugin rabbitmq_prometheus; empty for the embedded broker.",
        variables,
        panels,
    }
}

fn joined(prefix: &str) -> Vec<Panel> {
    let prefix = prefix.replace('.', "[.]");
    let of = |metric: &str, queue: &str| format!("rabbitmq_detailed_queue_{metric}{{{B},queue=~\"{queue}\"}}");
    // Their `quebert.high` is our `high`.
    let ours = |metric: &str| {
        let work = of(metric, &format!("{prefix}[.][^.]+"));
        let by = sum("queue", &format!(r#"label_replace({work}, "queue", "$1", "queue", "{prefix}[.](.+)")"#));
        // Not those of delays and of what no queue wanted.
        format!("({by} and on (queue) quebert_queue_concurrency_limit{{{SQ}}})")
    };
    let held = |metric: &str| sum("queue", &format!("{metric}{{{SQ}}}"));
    vec![
        Panel::lines("Ready, as both say", "short", Teach {
            shows: "messages that wait in each work queue: what RabbitMQ says, and what Quebert last heard.",
            healthy: "the same, a few seconds apart.",
            act: "Quebert's line is flat and RabbitMQ's is not: the dispatcher's own connection for questions hangs.",
        })
        .query("{{queue}} RabbitMQ", ours("messages_ready"))
        .query("{{queue}} Quebert", format!("max by (queue) (quebert_queue_ready_messages{{{SQ}}})")),
        Panel::lines("Unacked and not held", "short", Teach {
            shows: "deliveries that RabbitMQ counts as unacked, less those that dispatchers hold.",
            healthy: "near 0; up to a window for a moment, since both are asked at different times.",
            act: "lasting and above 0: somebody else consumes these queues, or a dispatcher has lost track of deliveries. \
                  Below 0: a dispatcher works on what RabbitMQ has handed to another one.",
        })
        .signed()
        .query(
            "{{queue}}",
            format!(
                "{} - on (queue) ({} + {})",
                ours("messages_unacked"),
                held("quebert_tasks_in_flight"),
                held("quebert_tasks_buffered")
            ),
        ),
        Panel::lines("Consumers, as both say", "none", Teach {
            shows: "consumers of each work queue.",
            healthy: "the same, and one for each dispatcher.",
            act: "RabbitMQ says more than there are dispatchers: a connection whose end it has not noticed yet.",
        })
        .query("{{queue}} RabbitMQ", ours("consumers"))
        .query("{{queue}} Quebert", format!("max by (queue) (quebert_queue_consumers{{{SQ}}})")),
        Panel::lines("Delayed, by length", "short", Teach {
            shows: "messages in the delay queues, each of which holds one length of delay, in milliseconds. All work \
                    queues share them.",
            healthy: "what producers delay, and a few retries.",
            act: "a rise that nobody planned is a retry storm: retries board.",
        })
        .size(12, 8)
        .query("{{queue}}", sum("queue", &of("messages_ready", &format!("{prefix}[.]delay[.].+")))),
        Panel::lines("Dead letters, as RabbitMQ says", "short", Teach {
            shows: "messages in the queues of dead letters.",
            healthy: "0, or a number that somebody knows of.",
            act: "`quebert dead list`.",
        })
        .size(12, 8)
        .query("{{queue}}", sum("queue", &of("messages_ready", &format!("{prefix}([.].+)?[.]dead")))),
    ]
}

fn node() -> Vec<Panel> {
    let each = |metric: &str| format!("rabbitmq_{metric}{{{B}}}");
    let count = |metric: &str| format!("sum(rate(rabbitmq_global_messages_{metric}_total{{{B}}}{R}))");
    vec![
        Panel::states("Alarms", Teach {
            shows: "whether a node has run into its limit of memory or disk; then it takes no publishes.",
            healthy: "no.",
            act: "work off or delete what waits, or give the node more. Until then no retry can be stored.",
        })
        .means(&[("0", "no", "green"), ("1", "yes", "red")])
        .query("{{instance}} memory", each("alarms_memory_used_watermark"))
        .query("{{instance}} disk", each("alarms_free_disk_space_watermark")),
        Panel::lines("Memory", "bytes", Teach {
            shows: "resident memory of each node, and the limit at which it blocks publishers.",
            healthy: "well below the limit.",
            act: "long queues of large bodies: see Ready.",
        })
        .query("{{instance}}", each("process_resident_memory_bytes"))
        .query("{{instance}} limit", each("resident_memory_limit_bytes")),
        Panel::lines("Free disk", "bytes", Teach {
            shows: "free disk space of each node, and the limit at which it blocks publishers.",
            healthy: "well above the limit.",
            act: "quorum queues keep segments until their oldest message is gone: a forgotten dead letter can hold much.",
        })
        .query("{{instance}}", each("disk_space_available_bytes"))
        .query("{{instance}} limit", each("disk_space_available_limit_bytes")),
        Panel::lines("Connections and channels", "short", Teach {
            shows: "connections and channels of each node, other programs' included.",
            healthy: "flat.",
            act: "saw teeth: somebody reconnects in a loop; Sessions ended on the runtime board says if it is a dispatcher.",
        })
        .query("{{instance}} connections", each("connections"))
        .query("{{instance}} channels", each("channels")),
        Panel::lines("Messages", "ops", Teach {
            shows: "messages published to RabbitMQ, confirmed, redelivered and returned a second, by everybody.",
            healthy: "confirmed follows received; the other two are 0.",
            act: "returned: a queue is gone. redelivered: dispatchers die or lose their connection.",
        })
        .query("received", count("received"))
        .query("confirmed", count("confirmed"))
        .query("redelivered", count("redelivered"))
        .query("returned", count("unroutable_returned")),
        Panel::lines("Sessions of dispatchers", "none", Teach {
            shows: "dispatchers that have a session with the broker.",
            healthy: "all of them.",
            act: "runtime board, Sessions ended.",
        })
        .query("connected", sum("", &format!("quebert_broker_connected{{{S}}}"))),
    ]
}
