//! What the system under test is to be like, checked. It starts nothing.

use crate::{
    quantity::{self, Unclear},
    words::Words,
};
use std::{path::PathBuf, time::Duration};

/// Where tasks wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerSpec {
    /// A RabbitMQ node that is started for the run and ends with it.
    PrivateRabbit,
    /// A RabbitMQ that runs, by its address.
    Rabbit(String),
    /// The embedded broker of a dispatcher that is started for the run, in a folder that ends with it.
    Embedded,
    /// The embedded broker of a dispatcher that runs, by the address of its API.
    Api(String),
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// The lane's name.
    pub name: String,
    /// Higher goes first.
    pub priority: u8,
    /// Most requests under way, of one dispatcher.
    pub slots: u32,
    /// The prefetch window; 0 lets the dispatcher derive it.
    pub window: u32,
}

/// How failed tasks are tried again. Requests are judged by this, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySpec {
    /// Attempts in all; 0 is without limit.
    pub max_attempts: u32,
    /// No delay is shorter.
    pub backoff_min: Duration,
    /// No delay is longer.
    pub backoff_max: Duration,
}

/// The system under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSpec {
    /// Where tasks wait.
    pub broker: BrokerSpec,
    /// Dispatchers to start; none if they are external.
    pub dispatchers: u32,
    /// Admin addresses of dispatchers that run.
    pub external: Vec<String>,
    /// The program to start.
    pub program: PathBuf,
    /// Names of queues begin with this.
    pub prefix: String,
    /// `quorum` or `classic`.
    pub queue_type: String,
    /// The queues.
    pub queues: Vec<QueueSpec>,
    /// How failed tasks are tried again.
    pub retry: RetrySpec,
    /// Most requests under way to one executor, of one dispatcher.
    pub destination_slots: u32,
    /// Further settings of the dispatchers, `key=value`.
    pub settings: Vec<String>,
    /// Publishes under way at a time, into RabbitMQ.
    pub publish_window: u16,
    /// Whether each dispatcher reaches RabbitMQ by a link that can be cut.
    pub links: bool,
    /// The certificate authority of the executors, PEM, which the dispatchers are to trust.
    pub ca_pem: Option<String>,
}

impl QueueSpec {
    /// With 64 slots.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), priority: 0, slots: 64, window: 0 }
    }

    /// The window, or what the dispatcher derives where there is none: half as many again as there are slots, and one.
    pub fn window_or_derived(&self) -> u32 {
        if self.window > 0 { self.window } else { self.slots + self.slots.div_ceil(2) + 1 }
    }

    /// Reads words such as `name=high priority=2 slots=64 window=80`.
    ///
    /// # Errors
    /// Which word is unclear.
    pub fn parse(line: &str) -> Result<Self, Unclear> {
        let mut words = Words::parse(line)?;
        let mut queue = Self::new(words.one("name")?.ok_or_else(|| Unclear::new("name=NAME", line))?);
        if !is_lane_name(&queue.name) {
            return Err(Unclear::new("a name of letters, digits, - and _", queue.name));
        }
        let at_most = |text, most: u32| {
            let n = u32::try_from(quantity::count(text)?).ok().filter(|n| *n <= most);
            n.ok_or_else(|| Unclear::new(format!("at most {most}"), text))
        };
        if let Some(priority) = words.read("priority", |text| at_most(text, 255))? {
            queue.priority = u8::try_from(priority).expect("at most 255");
        }
        queue.slots = words.read("slots", |text| at_most(text, 65_535))?.unwrap_or(queue.slots);
        queue.window = words.read("window", |text| at_most(text, 65_535))?.unwrap_or(0);
        if queue.slots == 0 {
            return Err(Unclear::new("at least one slot", line));
        }
        words.end("name, priority, slots, window")?;
        Ok(queue)
    }
}

fn is_lane_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_read_and_what_is_unclear_is_refused() {
        let queue = QueueSpec::parse("name=high priority=2 slots=8").unwrap();
        assert_eq!(queue, QueueSpec { name: "high".into(), priority: 2, slots: 8, window: 0 });
        for line in ["priority=1", "name=a.b", "name=a slots=0", "name=a priority=300", "name=a lots=1"] {
            assert!(QueueSpec::parse(line).is_err(), "{line}");
        }
    }
}
