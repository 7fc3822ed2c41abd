//! A profile as typed, in a file or by flags: every field is text that somebody wrote. What it means is checked once, in
//! [`Config`](super::Config).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a run is to be. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// When tasks come: the grammar of arrivals.
    pub arrivals: String,
    /// Which tasks come: a line of words for each class.
    pub mix: Vec<String>,
    /// The executors: a line of words for each.
    pub executors: Vec<String>,
    /// Whether the executors are asked over TLS, with a certificate that is made for the run.
    pub tls: bool,
    /// Instead of that, for dispatchers that run: a file with a certificate that they trust.
    pub tls_cert: Option<String>,
    /// And one with its key.
    pub tls_key: Option<String>,
    /// The queues: a line of words for each. Those that only the mix names get the defaults.
    pub queues: Vec<String>,
    /// Where tasks wait: `private-rabbitmq`, `embedded`, an `amqp://` address, or the `http://` address of an API.
    pub broker: String,
    /// Dispatchers to start.
    pub dispatchers: u32,
    /// Admin addresses of dispatchers that run; then none is started.
    pub external: Vec<String>,
    /// The program to start; without it, the `quebert` beside this program.
    pub quebert: Option<String>,
    /// Names of queues begin with this.
    pub prefix: String,
    /// `quorum` or `classic`.
    pub queue_type: String,
    /// Further settings of the dispatchers, `key=value`. What requests are judged by (`retry.*`) has fields here.
    pub set: Vec<String>,
    /// Attempts of a task in all; 0 is without limit.
    pub max_attempts: u32,
    /// The shortest delay between two attempts.
    pub backoff_min: String,
    /// The longest.
    pub backoff_max: String,
    /// Requests under way to one executor, of one dispatcher; 0 is as many as there are slots.
    pub destination_slots: u32,
    /// Unconfirmed publishes at a time, into RabbitMQ.
    pub publish_window: u16,
    /// Everything random is drawn from this.
    pub seed: u64,
    /// Tasks intended before this are left out of the latencies.
    pub warm_up: String,
    /// How long to wait after the plan until nothing is open.
    pub settle: String,
    /// How late the tester may be itself: the 99th percentile, unless that is less than a tenth of the waits'.
    pub start_lag_max: String,
    /// How much later than its expiry an attempt may reach the executor's code.
    pub late_grace: String,
    /// Whether a run that did not become steady is invalid.
    pub require_steady: bool,
    /// Demands on the report.
    pub thresholds: Vec<String>,
    /// What is done to the system, and when: a line for each.
    pub faults: Vec<String>,
}

impl Profile {
    /// The same for dispatchers of its own: without those that run, and what they trust.
    #[must_use]
    pub fn without_external(self) -> Self {
        Self { external: Vec::new(), tls_cert: None, tls_key: None, ..self }
    }

    /// The same without the password of the broker's address: for reports.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        if let Some((scheme, rest)) = self.broker.split_once("://")
            && let Some((user, host)) = rest.rsplit_once('@')
        {
            let user = user.split_once(':').map_or(user, |(name, _)| name);
            shown.broker = format!("{scheme}://{user}:***@{host}");
        }
        shown
    }
}

impl Default for Profile {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            arrivals: text("constant 100/s 10s"),
            mix: Vec::new(),
            executors: Vec::new(),
            tls: false,
            tls_cert: None,
            tls_key: None,
            queues: Vec::new(),
            broker: text("embedded"),
            dispatchers: 1,
            external: Vec::new(),
            quebert: None,
            prefix: text("quebert-loadtest"),
            queue_type: text("quorum"),
            set: Vec::new(),
            max_attempts: 20,
            backoff_min: text("1s"),
            backoff_max: text("1m"),
            destination_slots: 0,
            publish_window: 256,
            seed: 1,
            warm_up: text("0s"),
            settle: text("60s"),
            start_lag_max: text("5ms"),
            late_grace: text("100ms"),
            require_steady: false,
            thresholds: Vec::new(),
            faults: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_no_password() {
        let shown = |broker: &str| Profile { broker: broker.into(), ..Profile::default() }.without_secrets().broker;
        assert_eq!(shown("amqp://me:p@ss:word@host:5672/v"), "amqp://me:***@host:5672/v");
        assert_eq!(shown("amqp://host/"), "amqp://host/");
        assert_eq!(shown("embedded"), "embedded");
    }
}
