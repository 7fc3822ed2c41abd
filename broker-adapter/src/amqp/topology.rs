//! What RabbitMQ should hold for us: queues, exchanges, bindings, as data.
//!
//! Talks to no broker; `apply` does.

use super::config::ConfigError;
use lapin::{
    ExchangeKind,
    types::{AMQPValue, FieldTable},
};
use quebert_dispatcher::grid::Step;
use std::{collections::BTreeMap, time::Duration};

/// For queues whose messages must never be dropped by counting deliveries: browsing dead letters and handing heads back
/// both count. Given explicitly, since brokers from 4.0 on have a default of 20, and so that 3.x and 4.x agree.
const DELIVERY_LIMIT_NEVER: i64 = 2_000_000_000;

/// Queues, exchanges and bindings.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Whether work queues, exchanges and bindings are declared. If not, they must be there; delay queues and dead
    /// letters are declared all the same. Default: true.
    pub declare: bool,
    /// The type of each queue that doesn't say otherwise. Default: quorum.
    pub queue_type: QueueType,
    /// Deliveries after which the broker itself gives up a task of a quorum work queue: the last net under crash loops,
    /// since attempts are counted by the dispatcher. Default: 50.
    pub delivery_limit: u32,
    /// The exchange that lanes bind to if they name none; `None` binds nothing, as the default exchange reaches every queue.
    pub exchange: Option<Exchange>,
    /// The work queues.
    pub lanes: Vec<LaneTopology>,
    /// Begins the names of delay queues, the common dead letters and the announcements. Default: `quebert`.
    pub prefix: String,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            declare: true,
            queue_type: QueueType::Quorum,
            delivery_limit: 50,
            exchange: None,
            lanes: Vec::new(),
            prefix: "quebert".into(),
        }
    }
}

/// How a queue is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueType {
    /// Replicated, and dead-lettered at least once.
    #[default]
    Quorum,
    /// On one node; the broker's own dead-lettering can lose a task.
    Classic,
}

/// An exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// `direct`, `topic`, `fanout`, `headers`, or one of a plugin.
    pub kind: String,
}

/// One work queue.
#[derive(Debug, Clone, Default)]
pub struct LaneTopology {
    /// The queue's name.
    pub queue: String,
    /// Binds to this exchange instead of the topology's. It is declared only if it is the topology's.
    pub exchange: Option<String>,
    /// The binding's key; the queue's name if `None`.
    pub routing_key: Option<String>,
    /// The queue's type, if not the topology's.
    pub queue_type: Option<QueueType>,
    /// Its dead letters; `<queue>.dead` if `None`.
    pub dead_queue: Option<String>,
    /// Further queue arguments; these win over ours.
    pub arguments: BTreeMap<String, Argument>,
}

/// The value of a queue argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// Text.
    Text(String),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
}

/// One thing that the broker should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    Exchange(Exchange),
    Queue(Queue),
    Binding { queue: String, exchange: String, key: String },
}

/// A queue to declare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) arguments: BTreeMap<String, Argument>,
}

impl LaneTopology {
    /// A lane of this queue, with the topology's defaults.
    pub fn of(queue: impl Into<String>) -> Self {
        Self { queue: queue.into(), ..Self::default() }
    }

    /// The name of its dead letters.
    pub fn dead_queue(&self) -> String {
        self.dead_queue.clone().unwrap_or_else(|| format!("{}.dead", self.queue))
    }
}

impl Topology {
    /// Everything as a RabbitMQ definitions file, for an administrator to import where the dispatcher may declare
    /// nothing. Holds the delay queues up to `longest_delay`.
    pub fn definitions_json(&self, vhost: &str, longest_delay: Duration) -> String {
        let delays = Step::all().filter(|step| step.length() <= longest_delay).map(|step| self.delay(step));
        let always = self.kept().into_iter().chain(delays).chain([self.announcements()]).map(Object::Queue);
        let (mut queues, mut exchanges, mut bindings) = (Vec::new(), Vec::new(), Vec::new());
        for object in self.work().into_iter().chain(always) {
            match object {
                Object::Exchange(exchange) => exchanges.push(serde_json::json!({
                    "name": exchange.name, "vhost": vhost, "type": exchange.kind,
                    "durable": true, "auto_delete": false, "internal": false, "arguments": {},
                })),
                Object::Queue(queue) => queues.push(serde_json::json!({
                    "name": queue.name, "vhost": vhost, "durable": true, "auto_delete": false,
                    "arguments": queue.arguments.iter().map(|(k, v)| (k.clone(), v.to_json())).collect::<serde_json::Map<_, _>>(),
                })),
                Object::Binding { queue, exchange, key } => bindings.push(serde_json::json!({
                    "source": exchange, "vhost": vhost, "destination": queue, "destination_type": "queue",
                    "routing_key": key, "arguments": {},
                })),
            }
        }
        let all = serde_json::json!({ "queues": queues, "exchanges": exchanges, "bindings": bindings });
        serde_json::to_string_pretty(&all).expect("plain JSON values")
    }

    /// The queue of a work queue's dead letters; the common one if the work queue isn't ours.
    pub fn dead_queue_of(&self, queue: &str) -> String {
        let own = self.lanes.iter().find(|lane| lane.queue == queue);
        own.map_or_else(|| self.common_dead_queue(), LaneTopology::dead_queue)
    }

    /// The queue of the dead letters that no lane claims.
    pub fn common_dead_queue(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// The queue of one length of delay.
    pub fn delay_queue(&self, step: Step) -> String {
        format!("{}.delay.{}", self.prefix, step.length().as_millis())
    }

    /// The stream in which dispatchers tell each other of delay queues.
    pub fn announcement_stream(&self) -> String {
        format!("{}.delays", self.prefix)
    }

    /// What an administrator may want to own: work queues, their exchange, their bindings. The exchange comes first.
    pub(crate) fn work(&self) -> Vec<Object> {
        let exchange = self.exchange.iter().cloned().map(Object::Exchange);
        exchange.chain(self.lanes.iter().flat_map(|lane| self.lane(lane))).collect()
    }

    /// A work queue and its binding, if it is one of ours.
    pub(crate) fn lane_of(&self, queue: &str) -> Vec<Object> {
        self.lanes.iter().filter(|lane| lane.queue == queue).flat_map(|lane| self.lane(lane)).collect()
    }

    /// The dead letters, declared whatever `declare` says.
    pub(crate) fn kept(&self) -> Vec<Queue> {
        let mut names: Vec<_> = self.lanes.iter().map(LaneTopology::dead_queue).collect();
        names.push(self.common_dead_queue());
        names.sort();
        names.dedup();
        names.into_iter().map(|name| self.dead(name)).collect()
    }

    /// A queue of dead letters.
    pub(crate) fn dead(&self, name: String) -> Queue {
        let mut arguments = typed(self.queue_type);
        if self.queue_type == QueueType::Quorum {
            arguments.insert("x-delivery-limit".into(), Argument::Int(DELIVERY_LIMIT_NEVER));
        }
        Queue { name, arguments }
    }

    /// The delay queue of one length. No TTL, and no `x-expires`: an expiring queue takes its messages with it.
    pub(crate) fn delay(&self, step: Step) -> Queue {
        let mut arguments = typed(self.queue_type);
        dead_letters(&mut arguments, self.queue_type, self.common_dead_queue(), DELIVERY_LIMIT_NEVER);
        Queue { name: self.delay_queue(step), arguments }
    }

    /// The stream of announcements.
    pub(crate) fn announcements(&self) -> Queue {
        let arguments = BTreeMap::from([("x-queue-type".into(), Argument::Text("stream".into()))]);
        Queue { name: self.announcement_stream(), arguments }
    }

    /// # Errors
    /// The first field that is wrong.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let name = |field: String, name: &str, limit: usize| match name.len() {
            0 => Err(ConfigError::new(field, "must not be empty")),
            n if n > limit => Err(ConfigError::new(field, format!("is {n} bytes long, at most {limit} are possible"))),
            _ if name.starts_with("amq.") => {
                Err(ConfigError::new(field, "names beginning with `amq.` are the broker's"))
            }
            _ => Ok(()),
        };
        // AMQP's limit is 255; what we append must fit.
        name("topology.prefix".into(), &self.prefix, 200)?;
        if let Some(exchange) = &self.exchange {
            name("topology.exchange.name".into(), &exchange.name, 255)?;
            name("topology.exchange.kind".into(), &exchange.kind, 255)?;
        }
        for (i, lane) in self.lanes.iter().enumerate() {
            let field = |field: &str| format!("topology.lanes[{i}].{field}");
            name(field("queue"), &lane.queue, 200)?;
            if let Some(dead) = &lane.dead_queue {
                name(field("dead_queue"), dead, 255)?;
            }
            if let Some(exchange) = &lane.exchange {
                name(field("exchange"), exchange, 255)?;
            }
            if lane.routing_key.as_ref().is_some_and(|key| key.len() > 255) {
                return Err(ConfigError::new(field("routing_key"), "at most 255 bytes are possible"));
            }
            if lane.arguments.keys().any(|key| key.len() > 255) {
                return Err(ConfigError::new(field("arguments"), "names of at most 255 bytes are possible"));
            }
            if self.lanes[..i].iter().any(|other| other.queue == lane.queue) {
                return Err(ConfigError::new(field("queue"), format!("{:?} is named twice", lane.queue)));
            }
        }
        Ok(())
    }

    fn lane(&self, lane: &LaneTopology) -> Vec<Object> {
        let queue_type = lane.queue_type.unwrap_or(self.queue_type);
        let mut arguments = typed(queue_type);
        dead_letters(&mut arguments, queue_type, lane.dead_queue(), i64::from(self.delivery_limit));
        arguments.extend(lane.arguments.clone());
        let mut objects = vec![Object::Queue(Queue { name: lane.queue.clone(), arguments })];
        if let Some(exchange) = lane.exchange.clone().or_else(|| self.exchange.as_ref().map(|e| e.name.clone())) {
            let key = lane.routing_key.clone().unwrap_or_else(|| lane.queue.clone());
            objects.push(Object::Binding { queue: lane.queue.clone(), exchange, key });
        }
        objects
    }
}

fn typed(queue_type: QueueType) -> BTreeMap<String, Argument> {
    let name = match queue_type {
        QueueType::Quorum => "quorum",
        QueueType::Classic => "classic",
    };
    BTreeMap::from([("x-queue-type".into(), Argument::Text(name.into()))])
}

fn dead_letters(arguments: &mut BTreeMap<String, Argument>, queue_type: QueueType, to: String, limit: i64) {
    arguments.insert("x-dead-letter-exchange".into(), Argument::Text(String::new()));
    arguments.insert("x-dead-letter-routing-key".into(), Argument::Text(to));
    if queue_type == QueueType::Quorum {
        arguments.insert("x-delivery-limit".into(), Argument::Int(limit));
        // At-least-once works with reject-publish only, and is silently something less without it.
        arguments.insert("x-dead-letter-strategy".into(), Argument::Text("at-least-once".into()));
        arguments.insert("x-overflow".into(), Argument::Text("reject-publish".into()));
    }
}

impl Argument {
    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.clone().into(),
            Self::Int(n) => (*n).into(),
            Self::Bool(b) => (*b).into(),
        }
    }
}

impl Queue {
    /// The arguments as AMQP wants them.
    pub(crate) fn table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in &self.arguments {
            let value = match value {
                Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
                Argument::Int(n) => AMQPValue::LongLongInt(*n),
                Argument::Bool(b) => AMQPValue::Boolean(*b),
            };
            table.insert(name.as_str().into(), value);
        }
        table
    }
}

impl Exchange {
    pub(crate) fn amqp_kind(&self) -> ExchangeKind {
        match self.kind.as_str() {
            "direct" => ExchangeKind::Direct,
            "fanout" => ExchangeKind::Fanout,
            "headers" => ExchangeKind::Headers,
            "topic" => ExchangeKind::Topic,
            other => ExchangeKind::Custom(other.to_owned()),
        }
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exchange(exchange) => write!(f, "exchange {:?}", exchange.name),
            Self::Queue(queue) => write!(f, "queue {:?}", queue.name),
            Self::Binding { queue, exchange, key } => {
                write!(f, "binding of queue {queue:?} to exchange {exchange:?} with key {key:?}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(queue: &Queue, name: &str) -> Option<String> {
        match queue.arguments.get(name) {
            Some(Argument::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    fn queue_of(topology: &Topology, lane: &LaneTopology) -> Queue {
        match topology.lane(lane).remove(0) {
            Object::Queue(queue) => queue,
            other => panic!("the queue comes first, not {other}"),
        }
    }

    #[test]
    fn a_quorum_work_queue_dead_letters_at_least_once_and_has_a_limit() {
        let queue = queue_of(&Topology::default(), &LaneTopology::of("work"));
        assert_eq!(text(&queue, "x-dead-letter-routing-key").as_deref(), Some("work.dead"));
        assert_eq!(text(&queue, "x-dead-letter-strategy").as_deref(), Some("at-least-once"));
        assert_eq!(text(&queue, "x-overflow").as_deref(), Some("reject-publish"));
        assert_eq!(queue.arguments.get("x-delivery-limit"), Some(&Argument::Int(50)));
    }

    #[test]
    fn a_classic_queue_has_no_quorum_arguments() {
        let lane = LaneTopology { queue_type: Some(QueueType::Classic), ..LaneTopology::of("work") };
        let queue = queue_of(&Topology::default(), &lane);
        assert_eq!(text(&queue, "x-dead-letter-strategy"), None);
        assert_eq!(queue.arguments.get("x-delivery-limit"), None);
    }

    #[test]
    fn nothing_that_waits_or_is_dead_ever_expires() {
        let topology = Topology::default();
        for queue in topology.kept().into_iter().chain(Step::all().map(|s| topology.delay(s))) {
            assert!(!queue.arguments.contains_key("x-expires") && !queue.arguments.contains_key("x-message-ttl"));
            assert_eq!(queue.arguments.get("x-delivery-limit"), Some(&Argument::Int(DELIVERY_LIMIT_NEVER)));
        }
    }

    #[test]
    fn dead_letters_of_unknown_queues_go_to_the_common_queue() {
        let topology = Topology { lanes: vec![LaneTopology::of("work")], ..Topology::default() };
        assert_eq!(topology.dead_queue_of("work"), "work.dead");
        assert_eq!(topology.dead_queue_of("elsewhere"), "quebert.dead");
    }

    #[test]
    fn the_definitions_name_every_object() {
        let topology = Topology {
            exchange: Some(Exchange { name: "flow".into(), kind: "direct".into() }),
            lanes: vec![LaneTopology {
                routing_key: Some("tasks.high".into()),
                ..LaneTopology::of("high-priority-queue")
            }],
            ..Topology::default()
        };
        let json: serde_json::Value =
            serde_json::from_str(&topology.definitions_json("/", Duration::from_secs(2))).unwrap();
        let names: Vec<_> = json["queues"].as_array().unwrap().iter().map(|q| q["name"].as_str().unwrap()).collect();
        for name in
            ["high-priority-queue", "high-priority-queue.dead", "quebert.dead", "quebert.delay.1250", "quebert.delays"]
        {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert_eq!(json["bindings"][0]["routing_key"], "tasks.high");
        assert_eq!(json["exchanges"][0]["name"], "flow");
    }

    #[test]
    fn a_queue_named_twice_is_refused() {
        let topology = Topology { lanes: vec![LaneTopology::of("a"), LaneTopology::of("a")], ..Topology::default() };
        assert_eq!(topology.check().unwrap_err().field, "topology.lanes[1].queue");
    }
}
