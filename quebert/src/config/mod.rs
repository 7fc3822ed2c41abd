//! The config: one TOML file, read once as typed ([`file::ConfigFile`]) and checked once ([`Config`]). Nothing here
//! connects anywhere.

mod check;
mod current;
pub mod file;
pub mod layers;
pub mod problem;
pub mod value;

#[cfg(test)]
mod tests;

pub use check::Sources;
pub use current::Current;
pub use file::{ApiRole, Format, Level, QueueType};
pub use problem::{Origin, Problem, Problems};
pub use value::{Secret, Span};

use layers::Layers;
use quebert_broker_adapter::http::{AddressGuard, HttpConfig};
use quebert_dispatcher::config::CoreConfig;
use quebert_wire::Destination;
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// The config, checked: after this no value can be wrong by itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// The broker's addresses and limits.
    pub broker: Broker,
    /// What the HTTP API goes by.
    pub api: Api,
    /// What is declared at the broker, and how.
    pub topology: Topology,
    /// What the dispatcher goes by.
    pub core: CoreConfig,
    /// Limits of the requests to executors.
    pub http: Http,
    /// Standard Webhooks keys; empty signs nothing.
    pub signing_keys: Vec<Secret>,
    /// Time limit of each call of a mediator.
    pub hook_timeout: Duration,
    /// Where the admin server listens; `None` is nowhere.
    pub admin: Option<SocketAddr>,
    /// Destinations with a metric label of their own.
    pub metrics_max_destinations: usize,
    /// How often the broker is asked how much waits.
    pub depth_interval: Duration,
    /// Thresholds of service levels, which become buckets of histograms.
    pub metrics_slo: Vec<Duration>,
    /// Where spans go; `None` is nowhere.
    pub otlp: Option<OtlpConfig>,
    /// Most detailed log line that is written.
    pub log_level: Level,
    /// For people or machines.
    pub log_format: Format,
    /// How long attempts under way may take after a stop signal.
    pub drain_grace: Duration,
    /// As typed, all layers in one; what a reload compares.
    pub typed: file::ConfigFile,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The collector's address for traces, such as `http://127.0.0.1:4318/v1/traces`.
    pub url: http::Uri,
    /// Its origin.
    pub destination: Destination,
    /// What the spans are said to come from.
    pub service: String,
    /// Percent of the tasks that came without a trace for which one is begun.
    pub begin_percent: u8,
}

/// The broker's addresses and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// The folder of the embedded broker; `None` is RabbitMQ.
    pub embedded: Option<PathBuf>,
    /// AMQP addresses, tried in turn; at least one, unless the broker is embedded.
    pub urls: Vec<Secret>,
    /// Limit for connection and login.
    pub connect_timeout: Duration,
    /// Heartbeat.
    pub heartbeat: Duration,
    /// Limit for a confirmation.
    pub confirm_timeout: Duration,
    /// PEM file of certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// PEM files of a client's certificate and key.
    pub client_files: Option<(PathBuf, PathBuf)>,
}

/// What the HTTP API goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Where it listens; `None` is nowhere.
    pub listen: Option<SocketAddr>,
    /// Whether the console is served.
    pub console: bool,
    /// Most bytes of a request that is no batch.
    pub request_bytes_max: usize,
    /// Most items of a batch.
    pub batch_items_max: usize,
    /// Most bytes of a batch.
    pub batch_bytes_max: usize,
    /// How long an `Idempotency-Key` is remembered.
    pub idempotency_window: Duration,
    /// Who may do what; empty is everybody, on loopback only.
    pub tokens: Vec<ApiToken>,
}

/// A bearer token, or several of one bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Whose; for logs.
    pub name: String,
    /// What it allows.
    pub roles: Vec<ApiRole>,
    /// Each of these is as good as the others.
    pub tokens: Vec<Secret>,
}

/// What is declared at the broker, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Whether work queues are declared.
    pub declare: bool,
    /// Of which type.
    pub queue_type: QueueType,
    /// What names of ours begin with.
    pub prefix: String,
    /// The broker's own limit of deliveries.
    pub delivery_limit: u32,
    /// The broker's limit of how long a delivery may stay unsettled.
    pub consumer_timeout: Duration,
    /// Bindings of the work queues, by lane.
    pub bindings: BTreeMap<Arc<str>, Binding>,
}

/// How a work queue is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The broker's name of the queue.
    pub queue: Arc<str>,
    /// The exchange; `None` is the default exchange, where nothing needs binding.
    pub exchange: Option<String>,
    /// The routing key.
    pub routing_key: String,
}

/// Limits of the requests to executors.
#[derive(Debug, Clone)]
pub struct Http {
    /// The transport's limits.
    pub client: HttpConfig,
    /// Which addresses are refused.
    pub guard: AddressGuard,
    /// PEM file of certificates to trust.
    pub ca_file: Option<PathBuf>,
}

impl Config {
    /// Reads and checks a config: the defaults, `sources.file`, `sources.env` and `sources.set` over each other.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let mut layers = Layers::defaults();
        if let Some((name, text)) = &sources.file {
            layers.file(name, text);
        }
        layers.env(sources.env.iter().filter(|(k, _)| k.starts_with(layers::ENV_PREFIX)).cloned());
        for (flag, assignment) in &sources.set {
            layers.set(flag, assignment);
        }
        let (typed, origins, problems) = layers.read();
        check::check(typed, &origins, problems, sources)
    }

    /// A config from TOML text, as a file would say it; the environment stays out of it. For programs that bring their
    /// own.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn from_toml(text: &str) -> Result<Self, Problems> {
        Self::load(&Sources { file: Some(("config".to_owned(), text.to_owned())), ..Sources::default() })
    }

    /// The keys whose values differ between `self` and `next`: those that a running dispatcher takes over, and those
    /// that need a restart. Values are not told, since some are secret.
    pub fn changes(&self, next: &Self) -> Changes {
        let mut changes = Changes::default();
        let (old, new) = (as_json(&self.typed), as_json(&next.typed));
        differing(&old, &new, &mut Vec::new(), &mut |path| {
            // What lanes take from there shows in the lanes.
            if path.first().is_some_and(|section| section == "lane_defaults") {
                return;
            }
            let key = path.join(".");
            if reloadable(path) { changes.taken_over.push(key) } else { changes.need_restart.push(key) }
        });
        for (old, new) in
            self.core.lanes.iter().filter_map(|o| Some((o, next.core.lanes.iter().find(|n| n.name == o.name)?)))
        {
            let key = format!("lanes.{}.window", old.name);
            // A window that is derived from the slots changes with them, but belongs to the broker all the same.
            if old.window != new.window && !changes.need_restart.contains(&key) {
                changes.need_restart.push(key);
            }
            // No attempt may outlast the consumer timeout that the broker has been told.
            if new.attempt_timeout_max > self.core.attempt_timeout_longest() {
                let key = format!("lanes.{}.attempt_timeout_max", old.name);
                changes.taken_over.retain(|taken| *taken != key);
                changes.need_restart.push(key);
            }
        }
        if self.broker.urls != next.broker.urls {
            changes.need_restart.push("broker.url".to_owned());
        }
        if self.api != next.api && !changes.need_restart.iter().any(|key| key.starts_with("api.")) {
            changes.need_restart.push("api.tokens".to_owned());
        }
        if self.signing_keys != next.signing_keys {
            changes.need_restart.push("signing.keys".to_owned());
        }
        changes
    }
}

/// What differs between two configs, by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Taken over while running.
    pub taken_over: Vec<String>,
    /// Only a restart takes these over.
    pub need_restart: Vec<String>,
}

fn as_json(file: &file::ConfigFile) -> serde_json::Value {
    serde_json::to_value(file).expect("a config is plain data")
}

fn differing(
    old: &serde_json::Value,
    new: &serde_json::Value,
    path: &mut Vec<String>,
    tell: &mut impl FnMut(&[String]),
) {
    match (old, new) {
        (serde_json::Value::Object(a), serde_json::Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                path.push(key.clone());
                let null = serde_json::Value::Null;
                differing(a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null), path, tell);
                path.pop();
            }
        }
        _ if old != new => tell(path),
        _ => {}
    }
}

/// Limits, policies and the log level can change while running; names, addresses, windows and the set of lanes can't.
fn reloadable(path: &[String]) -> bool {
    match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["retry" | "status" | "pool" | "destinations" | "limits" | "drain", ..] => true,
        ["log", "level"] | ["hooks", "on_error"] => true,
        ["lanes", _, key, ..] => !matches!(*key, "queue" | "routing_key" | "exchange" | "window"),
        _ => false,
    }
}
