//! What a run runs on, as far as the system tells. What it doesn't tell is empty.

use super::Config;
use crate::{report::Environment, target::BrokerSpec};
use std::fs;

pub(super) fn environment(config: &Config) -> Environment {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kib = memory.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let load = read("/proc/loadavg");
    let target = &config.target;
    Environment {
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpu: field(&read("/proc/cpuinfo"), "model name"),
        cpus: cpus(),
        memory_bytes: kib * 1024,
        load_before: load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        broker: match target.broker {
            BrokerSpec::PrivateRabbit | BrokerSpec::Rabbit(_) => "rabbitmq",
            BrokerSpec::Embedded | BrokerSpec::Api(_) => "embedded",
        }
        .to_owned(),
        dispatchers: (target.dispatchers as usize + target.external.len()) as u64,
        quebert: String::new(),
    }
}

/// Processors that may be used.
pub(super) fn cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}
