//! A message as a broker keeps it: properties, headers and an opaque body. No broker's own types appear here.

use crate::Timestamp;
use bytes::Bytes;
use std::{collections::BTreeMap, fmt};

/// Message headers, by name. Names are compared as they are (AMQP headers are case-sensitive).
pub type Headers = BTreeMap<String, HeaderValue>;

/// The value of one message header, as far as AMQP 0-9-1 field tables go.
#[derive(Debug, Clone, PartialEq)]
pub enum HeaderValue {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any of AMQP's integers.
    Int(i64),
    /// Any of AMQP's floating-point numbers.
    Float(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes that are not UTF-8, or were sent as bytes.
    Bytes(Bytes),
    /// A moment, in whole seconds on the AMQP wire.
    Timestamp(Timestamp),
    /// A list of values.
    List(Vec<HeaderValue>),
    /// A nested table.
    Table(Headers),
}

/// A message: what is published to a broker, and what a broker delivers.
#[derive(Clone, PartialEq, Default)]
pub struct Message {
    /// AMQP `message_id`: the task's id where the envelope names none.
    pub id: Option<String>,
    /// AMQP `content_type`: picks the codec.
    pub content_type: Option<String>,
    /// AMQP `timestamp`, which has a resolution of one second.
    pub timestamp: Option<Timestamp>,
    /// AMQP `priority`, 0 to 255.
    pub priority: Option<u8>,
    /// AMQP `correlation_id`, carried along unread.
    pub correlation_id: Option<String>,
    /// AMQP `type`, carried along unread.
    pub kind: Option<String>,
    /// AMQP `app_id`, carried along unread.
    pub app_id: Option<String>,
    /// AMQP `reply_to`, carried along unread.
    pub reply_to: Option<String>,
    /// AMQP `content_encoding`, carried along unread.
    pub content_encoding: Option<String>,
    /// Headers, the dispatcher's own bookkeeping (`quebert-*`) among them.
    pub headers: Headers,
    /// The body, as it was published. Cloning a message shares it.
    pub body: Bytes,
}

impl Message {
    /// About how many bytes properties and headers take on the AMQP wire, where they must fit into one frame.
    pub fn head_bytes(&self) -> usize {
        let properties = [
            &self.id,
            &self.content_type,
            &self.correlation_id,
            &self.kind,
            &self.app_id,
            &self.reply_to,
            &self.content_encoding,
        ];
        let properties: usize = properties.into_iter().flatten().map(|text| text.len() + 1).sum();
        properties + table_bytes(&self.headers)
    }

    /// Takes off headers, the largest first, until [`head_bytes`](Self::head_bytes) is at most `limit`, and returns
    /// their names. Properties stay.
    pub fn shed_headers(&mut self, limit: usize) -> Vec<String> {
        let mut shed = Vec::new();
        while self.head_bytes() > limit {
            let largest = self.headers.iter().max_by_key(|(name, value)| name.len() + value_bytes(value));
            let Some(name) = largest.map(|(name, _)| name.clone()) else { break };
            self.headers.remove(&name);
            shed.push(name);
        }
        shed
    }

    /// Takes off what brokers add on the way and must not be published again.
    ///
    /// `x-death` and its kin: RabbitMQ before 4.0 takes them for a cycle and silently drops the message at its next
    /// dead-lettering. `CC` and `BCC` would route it a second time. The delivery counts belong to the old copy, `x-delay`
    /// and `x-opt-*` would delay or annotate the new one.
    pub fn strip_broker_headers(&mut self) {
        self.headers.retain(|name, _| !is_broker_header(name));
    }
}

fn table_bytes(table: &Headers) -> usize {
    4 + table.iter().map(|(name, value)| 1 + name.len() + value_bytes(value)).sum::<usize>()
}

/// With the octet that tells the type.
fn value_bytes(value: &HeaderValue) -> usize {
    match value {
        HeaderValue::Null => 1,
        HeaderValue::Bool(_) => 2,
        HeaderValue::Int(_) | HeaderValue::Float(_) | HeaderValue::Timestamp(_) => 9,
        HeaderValue::Text(text) => 5 + text.len(),
        HeaderValue::Bytes(bytes) => 5 + bytes.len(),
        HeaderValue::List(list) => 5 + list.iter().map(value_bytes).sum::<usize>(),
        HeaderValue::Table(table) => 1 + table_bytes(table),
    }
}

fn is_broker_header(name: &str) -> bool {
    const NAMES: [&str; 6] = ["x-death", "x-delivery-count", "x-acquired-count", "x-delay", "CC", "BCC"];
    const PREFIXES: [&str; 3] = ["x-first-death-", "x-last-death-", "x-opt-"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Without header values and body: they may hold secrets.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("content_type", &self.content_type)
            .field("timestamp", &self.timestamp)
            .field("priority", &self.priority)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_headers_go_and_all_others_stay() {
        let names = |list: &[&str]| list.iter().map(|n| ((*n).to_owned(), HeaderValue::Int(1))).collect::<Headers>();
        let stay = ["quebert-attempts", "traceparent", "x-deaths", "cc", "x-mine"];
        let go = [
            "x-death",
            "x-first-death-queue",
            "x-first-death-exchange",
            "x-last-death-reason",
            "x-delivery-count",
            "x-acquired-count",
            "x-opt-delivery-time",
            "x-delay",
            "CC",
            "BCC",
        ];
        let mut message = Message { headers: names(&[&stay[..], &go[..]].concat()), ..Message::default() };
        message.strip_broker_headers();
        assert_eq!(message.headers, names(&stay));
    }

    #[test]
    fn the_largest_headers_are_shed_until_the_rest_fits() {
        let text = |n: usize| HeaderValue::Text("x".repeat(n));
        let headers =
            Headers::from([("a".to_owned(), text(50)), ("b".to_owned(), text(500)), ("c".to_owned(), text(70))]);
        let mut message = Message { headers, ..Message::default() };
        let whole = message.clone();
        assert_eq!((message.shed_headers(whole.head_bytes()), &message), (vec![], &whole));
        assert_eq!(message.shed_headers(100), ["b", "c"]);
        assert_eq!(message.headers, Headers::from([("a".to_owned(), text(50))]));
        assert!(message.head_bytes() <= 100);
    }

    #[test]
    fn debug_output_hides_values_and_body() {
        let headers = Headers::from([("quebert-h-authorization".to_owned(), HeaderValue::Text("hunter2".into()))]);
        let message = Message { headers, body: Bytes::from_static(b"hunter2"), ..Message::default() };
        let text = format!("{message:?}");
        assert!(text.contains("quebert-h-authorization") && !text.contains("hunter2"), "{text}");
    }
}
