//! The config file of the dispatchers that are started, and the RabbitMQ adapter's of the tester itself.

use super::spec::TargetSpec;
use quebert_broker_adapter::amqp::{LaneTopology, QueueType, RabbitConfig, Topology};
use std::{fmt::Write as _, path::Path};

/// The file's text. `broker` is the address of the broker, `ca` the file with the executors' certificate authority.
pub(super) fn file(spec: &TargetSpec, broker: &str, ca: Option<&Path>) -> String {
    let slots = spec.queues.iter().map(|queue| queue.slots).sum::<u32>();
    let (prefix, kind, retry) = (&spec.prefix, &spec.queue_type, &spec.retry);
    let mut text = format!(
        "[broker]\nurl = {broker:?}\n\n[admin]\nlisten = \"127.0.0.1:0\"\n\n[api]\nlisten = \"127.0.0.1:0\"\nconsole = false\n\n\
         [topology]\nprefix = {prefix:?}\nqueue_type = {kind:?}\n\n[pool]\nslots = {slots}\n\n\
         [destinations]\nslots = {}\n\n[retry]\nmax_attempts = {}\nbackoff_min = \"{}ms\"\nbackoff_max = \"{}ms\"\n\n\
         [http.guard]\nallow = [\"127.0.0.1\"]\n\n[metrics]\ndepth_interval = \"1s\"\n\n[log]\nformat = \"json\"\n",
        spec.destination_slots,
        retry.max_attempts,
        retry.backoff_min.as_millis(),
        retry.backoff_max.as_millis(),
    );
    if let Some(ca) = ca {
        write!(text, "\n[http]\nca_file = {:?}\n", ca.display().to_string()).expect("a string takes everything");
    }
    for queue in &spec.queues {
        let (name, priority, slots) = (&queue.name, queue.priority, queue.slots);
        let written =
            write!(text, "\n[lanes.{name}]\npriority = {priority}\nslots_max = {slots}\nwindow = {}\n", queue.window);
        written.expect("a string takes everything");
    }
    text
}

/// How the tester itself talks to RabbitMQ.
pub(super) fn rabbit(spec: &TargetSpec, url: &str) -> RabbitConfig {
    let lane = |name: &str| LaneTopology::of(format!("{}.{name}", spec.prefix));
    RabbitConfig {
        urls: vec![url.to_owned()],
        topology: Topology {
            declare: spec.external.is_empty(),
            queue_type: if spec.queue_type == "classic" { QueueType::Classic } else { QueueType::Quorum },
            lanes: spec.queues.iter().map(|queue| lane(&queue.name)).collect(),
            prefix: spec.prefix.clone(),
            ..Topology::default()
        },
        connection_name: "quebert-loadtest".to_owned(),
        publish_channels: spec.publish_window,
        ..RabbitConfig::default()
    }
}
