//! From the config as typed to the config as it is gone by. Every rule names the key that broke it; this file sets no
//! defaults.

use super::{
    Api, ApiToken, Binding, Broker, Config, Http, OtlpConfig, Problems, Secret, Topology,
    file::{self, ConfigFile},
    layers::{Origins, verdict},
    problem::Problem,
    value::{Secrets, Span},
};
use quebert_broker_adapter::http::{AddressGuard, Cidr, HttpConfig};
use quebert_dispatcher::{
    backoff::{Curve, Jitter, RetryPolicy},
    config::{CoreConfig, DestinationConfig, HookErrorRule, LaneConfig, SETTLE_MARGIN, Schedule},
    verdict::StatusRules,
};
use quebert_wire::{Destination, limits::MESSAGE_HEAD_BYTES_MAX};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// What a config is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file's name (for errors) and its text.
    pub file: Option<(String, String)>,
    /// Environment variables: overrides, and what `${NAME}` in secrets means.
    pub env: Vec<(String, String)>,
    /// `key=value` overrides, each with the flag that said so.
    pub set: Vec<(String, String)>,
}

/// Delays up to this are waited for in the dispatcher: the shortest length of the delay grid.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// Heads of each delay queue that a dispatcher holds. Small, since a head that is held is a head that another
/// dispatcher can't move.
const DELAY_WINDOW: u16 = 64;

/// Each is one more bucket in every histogram of a task's or a request's time.
const SLOS_MAX: usize = 8;

pub(super) fn check(
    file: ConfigFile,
    origins: &Origins,
    problems: Vec<Problem>,
    sources: &Sources,
) -> Result<Config, Problems> {
    let mut check = Check { origins, problems, sources };
    let broker = check.broker(&file.broker);
    let api = check.api(&file.api);
    check.embedded(&file, broker.embedded.is_some() && api.listen.is_some());
    let (topology, lanes) = check.lanes(&file);
    let destinations = check.destinations(&file.destinations);
    let http = check.http(&file.http);
    let signing_keys = check.secrets(&["signing", "keys"], &file.signing.keys, &file.signing.keys_file);
    for key in &signing_keys {
        if let Err(e) = key.expose().parse::<quebert_dispatcher::signing::Secret>() {
            check.fault(&["signing", "keys"], e.to_string());
        }
    }
    if file.pool.slots == 0 && lanes.iter().all(|l| l.slots_own == 0) {
        check.fault(&["pool", "slots"], "is 0, and no lane has slots of its own: nothing could ever be sent");
    }
    check.at_least_one(&["limits", "body_bytes"], file.limits.body_bytes);
    check.at_least_one(&["limits", "url_bytes"], file.limits.url_bytes);
    check.not_zero(&["hooks", "timeout"], file.hooks.timeout);
    check.not_zero(&["metrics", "depth_interval"], file.metrics.depth_interval);
    if file.metrics.slo.len() > SLOS_MAX {
        check.fault(&["metrics", "slo"], format!("has more than {SLOS_MAX} thresholds"));
    }
    if file.metrics.slo.iter().any(|threshold| threshold.0.is_zero()) {
        check.fault(&["metrics", "slo"], "has a threshold of zero");
    }
    let admin = match file.admin.listen.as_str() {
        "" => None,
        text => check.parsed(&["admin", "listen"], text.parse().map_err(|_| "is no address such as 127.0.0.1:9464")),
    };
    let otlp = check.otlp(&file.otlp);
    verdict(check.problems)?;
    let core = CoreConfig {
        lanes,
        slots_shared: file.pool.slots,
        schedule: match file.pool.schedule {
            file::Schedule::Strict => {
                Schedule::Strict { pass_over_max: (file.pool.pass_over_max > 0).then_some(file.pool.pass_over_max) }
            }
            file::Schedule::Weighted => Schedule::Weighted,
        },
        destinations,
        limits: limits(&file.limits),
        hold_max: HOLD_MAX,
        consumer_timeout: file.topology.consumer_timeout.0,
        redeliveries_max: Some(file.topology.delivery_limit),
        delay_window: DELAY_WINDOW,
        bury_expired: file.limits.bury_expired,
        bury_unknown_fields: file.limits.bury_unknown_fields,
        hook_error: match file.hooks.on_error {
            file::OnError::Send => HookErrorRule::Send,
            file::OnError::PutOff => HookErrorRule::PutOff,
            file::OnError::Bury => HookErrorRule::Bury,
        },
        mediated: false,
        seed: rand::random(),
    };
    Ok(Config {
        broker,
        api,
        topology,
        core,
        http,
        signing_keys,
        hook_timeout: file.hooks.timeout.0,
        admin,
        metrics_max_destinations: file.metrics.max_destinations,
        depth_interval: file.metrics.depth_interval.0,
        otlp,
        metrics_slo: file.metrics.slo.iter().map(|threshold| threshold.0).collect(),
        log_level: file.log.level,
        log_format: file.log.format,
        drain_grace: file.drain.grace.0,
        typed: file,
    })
}

fn limits(file: &file::Limits) -> quebert_wire::Limits {
    quebert_wire::Limits {
        body_bytes: file.body_bytes,
        url_bytes: file.url_bytes,
        headers: file.headers,
        header_bytes: file.header_bytes,
    }
}

struct Check<'a> {
    origins: &'a Origins,
    problems: Vec<Problem>,
    sources: &'a Sources,
}

impl Check<'_> {
    fn fault(&mut self, path: &[&str], message: impl Into<String>) {
        let path: Vec<String> = path.iter().map(|s| (*s).to_owned()).collect();
        self.problems.push(Problem {
            origin: self.origins.of(&path),
            key: self.origins.key(&path),
            message: message.into(),
        });
    }

    /// Where spans go, if they go anywhere.
    fn otlp(&mut self, file: &file::Otlp) -> Option<OtlpConfig> {
        if file.begin_percent > 100 {
            self.fault(&["otlp", "begin_percent"], "is more than 100");
        }
        if file.url.is_empty() {
            return None;
        }
        let url = file.url.parse::<http::Uri>().ok().and_then(|url| Some((Destination::of(&url).ok()?, url)));
        let wrong = "is no URL such as http://127.0.0.1:4318/v1/traces";
        let (destination, url) = self.parsed(&["otlp", "url"], url.ok_or(wrong))?;
        if !cfg!(feature = "otlp") {
            self.fault(&["otlp", "url"], "is of no use: this program was built without the feature `otlp`");
        }
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            self.fault(&["otlp", "url"], "must not hold credentials");
        }
        Some(OtlpConfig { url, destination, service: file.service.clone(), begin_percent: file.begin_percent })
    }

    fn parsed<T>(&mut self, path: &[&str], result: Result<T, impl Into<String>>) -> Option<T> {
        result.map_err(|message| self.fault(path, message)).ok()
    }

    fn not_zero(&mut self, path: &[&str], span: Span) {
        if span.0.is_zero() {
            self.fault(path, "must be longer than 0s");
        }
    }

    fn at_least_one(&mut self, path: &[&str], n: usize) {
        if n == 0 {
            self.fault(path, "must be at least 1");
        }
    }

    fn broker(&mut self, file: &file::Broker) -> Broker {
        const URL: &[&str] = &["broker", "url"];
        let own = if file.url_file.is_some() { Secrets(Vec::new()) } else { file.url.clone() };
        let urls = self.secrets(URL, &own, &file.url_file);
        if urls.is_empty() && self.problems.is_empty() {
            self.fault(URL, "names no address");
        }
        let embedded = match urls.as_slice() {
            [url] => url.expose().strip_prefix("embedded:").map(|rest| PathBuf::from(rest.trim_start_matches("//"))),
            _ => None,
        };
        if embedded.as_ref().is_some_and(|folder| folder.as_os_str().is_empty()) {
            self.fault(URL, "names no folder: write it like embedded:./quebert-data");
        }
        for url in urls.iter().filter(|_| embedded.is_none()) {
            if url.expose().starts_with("embedded:") {
                self.fault(URL, "an embedded: address can't be one of several");
            } else if !(url.expose().starts_with("amqp://") || url.expose().starts_with("amqps://")) {
                self.fault(URL, "an address does not begin with amqp://, amqps:// or embedded:");
            }
        }
        self.not_zero(&["broker", "connect_timeout"], file.connect_timeout);
        self.not_zero(&["broker", "confirm_timeout"], file.confirm_timeout);
        if file.heartbeat.0 < Duration::from_secs(1) || file.heartbeat.0 > Duration::from_secs(600) {
            self.fault(&["broker", "heartbeat"], "must be 1s to 10m");
        }
        let client_files = match (&file.tls.cert_file, &file.tls.key_file) {
            (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
            (None, None) => None,
            (Some(_), None) => {
                self.fault(&["broker", "tls", "cert_file"], "needs broker.tls.key_file beside it");
                None
            }
            (None, Some(_)) => {
                self.fault(&["broker", "tls", "key_file"], "needs broker.tls.cert_file beside it");
                None
            }
        };
        Broker {
            urls: if embedded.is_some() { Vec::new() } else { urls },
            embedded,
            connect_timeout: file.connect_timeout.0,
            heartbeat: file.heartbeat.0,
            confirm_timeout: file.confirm_timeout.0,
            ca_file: file.tls.ca_file.as_ref().map(PathBuf::from),
            client_files,
        }
    }

    /// `asked`: the API gives it tasks.
    fn embedded(&mut self, file: &ConfigFile, asked: bool) {
        let (limit, request) = (file.embedded.message_bytes_max, file.api.request_bytes_max);
        self.at_least_one(&["embedded", "message_bytes_max"], limit);
        if asked && limit < request.saturating_add(MESSAGE_HEAD_BYTES_MAX) {
            let message = format!(
                "{limit} must be at least api.request_bytes_max = {request} and {MESSAGE_HEAD_BYTES_MAX} for headers: \
                 tasks that the API takes could not be stored"
            );
            self.fault(&["embedded", "message_bytes_max"], message);
        }
        if file.embedded.idempotency_keys_max == 0 {
            self.fault(&["embedded", "idempotency_keys_max"], "must be at least 1");
        }
    }

    fn api(&mut self, file: &file::Api) -> Api {
        const LISTEN: &[&str] = &["api", "listen"];
        /// Shorter ones could be guessed.
        const TOKEN_BYTES_MIN: usize = 16;
        let listen: Option<SocketAddr> = match file.listen.as_str() {
            "" => None,
            text => self.parsed(LISTEN, text.parse().map_err(|_| "is no address such as 127.0.0.1:9460")),
        };
        let mut tokens = Vec::new();
        for (name, token) in &file.tokens {
            let path = ["api", "tokens", name, "token"];
            let typed = token.token.clone().unwrap_or(Secrets(Vec::new()));
            let secrets = self.secrets(&path, &typed, &token.token_file);
            if secrets.is_empty() {
                self.fault(&path, "is missing: a token, or token_file beside it");
            }
            if secrets.iter().any(|secret| secret.expose().len() < TOKEN_BYTES_MIN) {
                self.fault(&path, format!("is too short: at least {TOKEN_BYTES_MIN} bytes"));
            }
            if !secrets.iter().all(can_be_sent) {
                self.fault(
                    &path,
                    "has a space at an end, or characters that are not visible ASCII: no request could send it",
                );
            }
            if token.roles.is_empty() {
                self.fault(&["api", "tokens", name, "roles"], "is empty: enqueue, read, operate");
            }
            tokens.push(ApiToken { name: name.clone(), roles: token.roles.clone(), tokens: secrets });
        }
        if tokens.is_empty() && listen.is_some_and(|address| !address.ip().is_loopback()) {
            self.fault(
                LISTEN,
                "is no loopback address, and there is no token in api.tokens: anybody could do anything",
            );
        }
        self.at_least_one(&["api", "request_bytes_max"], file.request_bytes_max);
        self.at_least_one(&["api", "batch_items_max"], file.batch_items_max);
        self.at_least_one(&["api", "batch_bytes_max"], file.batch_bytes_max);
        self.not_zero(&["api", "idempotency_window"], file.idempotency_window);
        Api {
            listen,
            console: file.console,
            request_bytes_max: file.request_bytes_max,
            batch_items_max: file.batch_items_max,
            batch_bytes_max: file.batch_bytes_max,
            idempotency_window: file.idempotency_window.0,
            tokens,
        }
    }

    fn lanes(&mut self, file: &ConfigFile) -> (Topology, Vec<LaneConfig>) {
        let top = &file.topology;
        if top.prefix.is_empty() {
            self.fault(&["topology", "prefix"], "is empty");
        }
        if top.consumer_timeout.0 <= SETTLE_MARGIN {
            self.fault(&["topology", "consumer_timeout"], "must be longer than 1m");
        }
        if file.lanes.is_empty() {
            self.fault(&["lanes"], "there is no lane");
        }
        let mut lanes = Vec::new();
        let mut bindings: BTreeMap<Arc<str>, Binding> = BTreeMap::new();
        for (name, lane) in &file.lanes {
            let config = self.lane(name, lane, top);
            if let Some(other) = bindings.iter().find(|(_, b)| b.queue == config.queue) {
                let message = format!("{:?} is the queue of lane {:?} already", config.queue, other.0);
                self.fault(&["lanes", name, "queue"], message);
            }
            let exchange = lane.exchange.as_ref().unwrap_or(&top.exchange);
            let binding = Binding {
                queue: config.queue.clone(),
                exchange: (!exchange.is_empty()).then(|| exchange.clone()),
                routing_key: lane.routing_key.clone().unwrap_or_else(|| config.queue.to_string()),
            };
            bindings.insert(config.name.clone(), binding);
            lanes.push(config);
        }
        lanes.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        let topology = Topology {
            declare: top.declare,
            queue_type: top.queue_type,
            prefix: top.prefix.clone(),
            delivery_limit: top.delivery_limit,
            consumer_timeout: top.consumer_timeout.0,
            bindings,
        };
        (topology, lanes)
    }

    fn lane(&mut self, name: &str, lane: &file::Lane, top: &file::Topology) -> LaneConfig {
        let key = |field: &'static str| ["lanes", name, field];
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            self.fault(&["lanes", name], "a lane's name is made of letters, digits, '-' and '_'");
        }
        let queue = lane.queue.clone().unwrap_or_else(|| format!("{}.{name}", top.prefix));
        if queue.is_empty() || queue.len() > 200 {
            self.fault(&key("queue"), "must have 1 to 200 bytes");
        }
        if lane.slots_max == 0 {
            self.fault(&key("slots_max"), "must be at least 1");
        }
        if lane.slots_own > lane.slots_max {
            self.fault(&key("slots_own"), format!("{} is more than slots_max = {}", lane.slots_own, lane.slots_max));
        }
        if lane.weight == 0 {
            self.fault(&key("weight"), "must be at least 1");
        }
        // P = ceil(C (1 + RTT/S)) + 1 with a round trip of half an attempt: more would bind tasks to a busy dispatcher.
        let derived = u64::from(lane.slots_max) + u64::from(lane.slots_max.div_ceil(2)) + 1;
        let window = if lane.window > 0 { lane.window } else { u16::try_from(derived).unwrap_or(u16::MAX) };
        if lane.window > 0 && u32::from(lane.window) < lane.slots_max {
            let message =
                format!("{} is less than slots_max = {}: slots would stay empty", lane.window, lane.slots_max);
            self.fault(&key("window"), message);
        }
        self.not_zero(&key("attempt_timeout"), lane.attempt_timeout);
        let longest = top.consumer_timeout.0.saturating_sub(SETTLE_MARGIN);
        for (field, span) in
            [("attempt_timeout", lane.attempt_timeout), ("attempt_timeout_max", lane.attempt_timeout_max)]
        {
            if span.0 > longest {
                let message =
                    format!("{span} must stay a minute below topology.consumer_timeout = {}", top.consumer_timeout);
                self.fault(&key(field), message);
            }
        }
        if lane.attempt_timeout > lane.attempt_timeout_max {
            let message =
                format!("{} is more than attempt_timeout_max = {}", lane.attempt_timeout, lane.attempt_timeout_max);
            self.fault(&key("attempt_timeout"), message);
        }
        let retry = lane.retry.as_ref().expect("every lane has one: the layers fill it in");
        let status = lane.status.as_ref().expect("every lane has one: the layers fill it in");
        LaneConfig {
            name: name.into(),
            queue: queue.into(),
            priority: lane.priority,
            weight: lane.weight,
            slots_own: lane.slots_own,
            slots_max: lane.slots_max,
            window,
            attempt_timeout: lane.attempt_timeout.0,
            attempt_timeout_max: lane.attempt_timeout_max.0,
            ttl_default: lane.ttl_default.limit(),
            retry: self.retry(name, retry),
            status: self.status(name, status),
        }
    }

    fn retry(&mut self, lane: &str, file: &file::Retry) -> RetryPolicy {
        let policy = RetryPolicy {
            curve: match file.curve {
                file::Curve::Exponential => Curve::Exponential { factor: file.factor },
                file::Curve::Doublings => Curve::Doublings { max_doublings: file.max_doublings },
                file::Curve::Schedule => Curve::Schedule(file.schedule.iter().map(|s| s.0).collect()),
            },
            jitter: match file.jitter {
                file::Jitter::None => Jitter::None,
                file::Jitter::Full => Jitter::Full,
                file::Jitter::Equal => Jitter::Equal,
            },
            backoff_min: file.backoff_min.0,
            backoff_max: file.backoff_max.0,
            max_attempts: (file.max_attempts > 0).then_some(file.max_attempts),
            max_age: file.max_age.limit(),
            retry_after_max: file.retry_after_max.0,
        };
        if let Err(e) = policy.check() {
            // The text begins with the field's name, which is the key's.
            let text = e.to_string();
            let (field, message) = text.split_once(": ").unwrap_or(("curve", &text));
            let key = field.split('[').next().unwrap_or(field);
            self.fault(&["lanes", lane, "retry", key], message);
        }
        policy
    }

    fn status(&mut self, lane: &str, file: &file::Status) -> StatusRules {
        for (field, list) in [("success", &file.success), ("permanent", &file.permanent)] {
            for status in list {
                if !(200..=599).contains(status) {
                    self.fault(&["lanes", lane, "status", field], format!("{status} is no final HTTP status"));
                }
            }
        }
        if let Some(both) = file.success.iter().find(|s| file.permanent.contains(s)) {
            self.fault(&["lanes", lane, "status", "permanent"], format!("{both} stands in status.success too"));
        }
        StatusRules {
            success: (!file.success.is_empty()).then(|| file.success.iter().copied().collect()),
            permanent: file.permanent.iter().copied().collect(),
        }
    }

    fn destinations(&mut self, file: &file::Destinations) -> DestinationConfig {
        self.at_least_one(&["destinations", "slots"], file.slots as usize);
        if !(1..=100).contains(&file.window_share) {
            self.fault(&["destinations", "window_share"], format!("{} is not 1 to 100", file.window_share));
        }
        if file.put_off_min > file.put_off_max {
            let message = format!("{} is more than put_off_max = {}", file.put_off_min, file.put_off_max);
            self.fault(&["destinations", "put_off_min"], message);
        }
        self.not_zero(&["destinations", "put_off_min"], file.put_off_min);
        let mut slots_of = BTreeMap::new();
        for (origin, slots) in &file.slots_of {
            self.at_least_one(&["destinations", "slots_of", origin], *slots as usize);
            if let Some(origin) = self.parsed(&["destinations", "slots_of", origin], destination(origin)) {
                slots_of.insert(origin, *slots);
            }
        }
        DestinationConfig {
            slots: file.slots,
            slots_of,
            window_share: file.window_share,
            patience: file.patience.0,
            put_off_min: file.put_off_min.0,
            put_off_max: file.put_off_max.0,
        }
    }

    fn http(&mut self, file: &file::Http) -> Http {
        self.not_zero(&["http", "connect_timeout"], file.connect_timeout);
        self.at_least_one(&["http", "response_header_bytes"], file.response_header_bytes);
        let mut allow = Vec::new();
        for range in &file.guard.allow {
            let parsed = range.parse::<Cidr>().map_err(|e| e.to_string());
            allow.extend(self.parsed(&["http", "guard", "allow"], parsed));
        }
        Http {
            client: HttpConfig {
                connect_timeout: file.connect_timeout.0,
                idle_timeout: file.idle_timeout.0,
                head_bytes_max: file.response_header_bytes,
                body_keep: file.response_body_bytes,
                body_read_max: file.response_body_bytes.max(HttpConfig::default().body_read_max),
                ..HttpConfig::default()
            },
            guard: if file.guard.enabled { AddressGuard::allowing(allow) } else { AddressGuard::off() },
            ca_file: file.ca_file.as_ref().map(PathBuf::from),
        }
    }

    /// Secrets as typed and from a file, with `${NAME}` filled in.
    fn secrets(&mut self, path: &[&str], typed: &Secrets, file: &Option<String>) -> Vec<Secret> {
        let mut all = typed.0.clone();
        if let Some(name) = file {
            match std::fs::read_to_string(name) {
                Ok(text) => all.extend(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(Secret::new)),
                Err(e) => {
                    let key = format!("{}_file", path[path.len() - 1]);
                    let path = [&path[..path.len() - 1], &[key.as_str()]].concat();
                    self.fault(&path, format!("read {name}: {e}"));
                }
            }
        }
        all.iter().filter_map(|s| self.parsed(path, expand(s, &self.sources.env))).collect()
    }
}

/// Fills in `${NAME}`.
fn expand(secret: &Secret, env: &[(String, String)]) -> Result<Secret, String> {
    let mut text = String::new();
    let mut rest = secret.expose();
    while let Some(start) = rest.find("${") {
        let Some(len) = rest[start..].find('}') else { return Err("has a \"${\" without \"}\"".to_owned()) };
        let name = &rest[start + 2..start + len];
        let value =
            env.iter().find(|(k, _)| k == name).ok_or_else(|| format!("${{{name}}} is not in the environment"))?;
        text.push_str(&rest[..start]);
        text.push_str(&value.1);
        rest = &rest[start + len + 1..];
    }
    text.push_str(rest);
    Ok(Secret::new(text))
}

/// Whether a token reaches the API as it is: spaces at its ends get lost on the way, and headers are read as ASCII.
fn can_be_sent(token: &Secret) -> bool {
    let text = token.expose();
    text.trim() == text && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

fn destination(text: &str) -> Result<Destination, String> {
    let wrong = || format!("{text:?} is no origin such as \"https://host:443\"");
    let url: http::Uri = text.parse().map_err(|_| wrong())?;
    Destination::of(&url).map_err(|_| wrong())
}
