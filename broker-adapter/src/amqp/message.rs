//! Messages to and from AMQP 0-9-1 properties and field tables.
//!
//! Never writes `expiration`: a message that the broker drops by itself is a lost task.

use lapin::{
    BasicProperties,
    types::{AMQPValue, ByteArray, FieldArray, FieldTable, LongString, ShortString},
};
use quebert_wire::{HeaderValue, Headers, Message, Timestamp};

/// Why a message can't be put on the AMQP wire. It would close the channel or the whole connection, for all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// A property or a header name is longer than AMQP's short strings can be.
    #[error("{what} is {length} bytes long, at most 255 are possible")]
    TooLong {
        /// Which property; of a header, its beginning.
        what: String,
        /// Its length in bytes.
        length: usize,
    },
    /// Properties and headers don't fit into one frame, which they must.
    #[error("properties and headers take about {size} bytes, at most {limit} are possible")]
    HeadersTooLarge {
        /// About their size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Headers that mean something to the broker and must not be carried from one message to the next: brokers before 4.0
/// drop a second round through a queue as a cycle, and CC would deliver twice.
fn is_brokers_own(name: &str) -> bool {
    matches!(name, "CC" | "BCC" | "x-death" | "x-delivery-count" | "x-acquired-count" | "x-opt-deaths")
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
}

/// Persistent properties for a publish. `limit` is how many bytes properties and headers may take.
///
/// # Errors
/// When the message can't be put on the wire.
pub(crate) fn to_properties(message: &Message, limit: usize) -> Result<BasicProperties, Unfit> {
    let mut properties = BasicProperties::default().with_delivery_mode(2);
    let mut size = 64;
    let mut short = |what: &str, value: &Option<String>| -> Result<Option<ShortString>, Unfit> {
        let Some(value) = value else { return Ok(None) };
        size += value.len() + 1;
        short_string(what, value).map(Some)
    };
    if let Some(id) = short("message_id", &message.id)? {
        properties = properties.with_message_id(id);
    }
    if let Some(content_type) = short("content_type", &message.content_type)? {
        properties = properties.with_content_type(content_type);
    }
    if let Some(correlation_id) = short("correlation_id", &message.correlation_id)? {
        properties = properties.with_correlation_id(correlation_id);
    }
    if let Some(kind) = short("type", &message.kind)? {
        properties = properties.with_type(kind);
    }
    if let Some(app_id) = short("app_id", &message.app_id)? {
        properties = properties.with_app_id(app_id);
    }
    if let Some(reply_to) = short("reply_to", &message.reply_to)? {
        properties = properties.with_reply_to(reply_to);
    }
    if let Some(encoding) = short("content_encoding", &message.content_encoding)? {
        properties = properties.with_content_encoding(encoding);
    }
    if let Some(timestamp) = message.timestamp {
        properties = properties.with_timestamp(to_seconds(timestamp));
    }
    if let Some(priority) = message.priority {
        properties = properties.with_priority(priority);
    }
    let kept = message.headers.iter().filter(|(name, _)| !is_brokers_own(name));
    if message.headers.keys().any(|name| !is_brokers_own(name)) {
        size += kept.clone().map(|(name, value)| name.len() + 1 + size_of(value)).sum::<usize>();
        properties = properties.with_headers(to_table(kept)?);
    }
    if size > limit { Err(Unfit::HeadersTooLarge { size, limit }) } else { Ok(properties) }
}

/// A message as it was delivered.
pub(crate) fn from_delivery(properties: &BasicProperties, body: Vec<u8>) -> Message {
    let text = |value: &Option<ShortString>| value.as_ref().map(|s| s.as_str().to_owned());
    Message {
        id: text(properties.message_id()),
        content_type: text(properties.content_type()),
        timestamp: properties.timestamp().map(from_seconds),
        priority: *properties.priority(),
        correlation_id: text(properties.correlation_id()),
        kind: text(properties.kind()),
        app_id: text(properties.app_id()),
        reply_to: text(properties.reply_to()),
        content_encoding: text(properties.content_encoding()),
        headers: properties.headers().as_ref().map(from_table).unwrap_or_default(),
        body: body.into(),
    }
}

/// A checked short string.
pub(crate) fn short_string(what: &str, value: &str) -> Result<ShortString, Unfit> {
    ShortString::try_new(value).map_err(|_| Unfit::TooLong { what: what.to_owned(), length: value.len() })
}

fn to_table<'a>(headers: impl Iterator<Item = (&'a String, &'a HeaderValue)>) -> Result<FieldTable, Unfit> {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        let name = ShortString::try_new(name.as_str()).map_err(|_| Unfit::TooLong {
            what: format!("name of header {:?}..", name.chars().take(32).collect::<String>()),
            length: name.len(),
        })?;
        table.insert(name, to_value(value)?);
    }
    Ok(table)
}

fn to_value(value: &HeaderValue) -> Result<AMQPValue, Unfit> {
    Ok(match value {
        HeaderValue::Null => AMQPValue::Void,
        HeaderValue::Bool(b) => AMQPValue::Boolean(*b),
        HeaderValue::Int(n) => AMQPValue::LongLongInt(*n),
        HeaderValue::Float(x) => AMQPValue::Double(*x),
        HeaderValue::Text(s) => AMQPValue::LongString(LongString::from(s.as_str())),
        HeaderValue::Bytes(bytes) => AMQPValue::ByteArray(ByteArray::from(bytes.to_vec())),
        HeaderValue::Timestamp(t) => AMQPValue::Timestamp(to_seconds(*t)),
        HeaderValue::List(items) => {
            let mut array = FieldArray::default();
            for item in items {
                array.push(to_value(item)?);
            }
            AMQPValue::FieldArray(array)
        }
        HeaderValue::Table(headers) => AMQPValue::FieldTable(to_table(headers.iter())?),
    })
}

fn from_table(table: &FieldTable) -> Headers {
    table.inner().iter().map(|(name, value)| (name.as_str().to_owned(), from_value(value))).collect()
}

fn from_value(value: &AMQPValue) -> HeaderValue {
    match value {
        AMQPValue::Boolean(b) => HeaderValue::Bool(*b),
        AMQPValue::ShortShortInt(n) => HeaderValue::Int((*n).into()),
        AMQPValue::ShortShortUInt(n) => HeaderValue::Int((*n).into()),
        AMQPValue::ShortInt(n) => HeaderValue::Int((*n).into()),
        AMQPValue::ShortUInt(n) => HeaderValue::Int((*n).into()),
        AMQPValue::LongInt(n) => HeaderValue::Int((*n).into()),
        AMQPValue::LongUInt(n) => HeaderValue::Int((*n).into()),
        AMQPValue::LongLongInt(n) => HeaderValue::Int(*n),
        AMQPValue::Float(x) => HeaderValue::Float((*x).into()),
        AMQPValue::Double(x) => HeaderValue::Float(*x),
        AMQPValue::DecimalValue(d) => HeaderValue::Float(f64::from(d.value) / 10f64.powi(i32::from(d.scale))),
        AMQPValue::ShortString(s) => HeaderValue::Text(s.as_str().to_owned()),
        AMQPValue::LongString(s) => match std::str::from_utf8(s.as_bytes()) {
            Ok(text) => HeaderValue::Text(text.to_owned()),
            Err(_) => HeaderValue::Bytes(s.as_bytes().to_vec().into()),
        },
        AMQPValue::ByteArray(bytes) => HeaderValue::Bytes(bytes.as_slice().to_vec().into()),
        AMQPValue::FieldArray(items) => HeaderValue::List(items.as_slice().iter().map(from_value).collect()),
        AMQPValue::Timestamp(seconds) => HeaderValue::Timestamp(from_seconds(*seconds)),
        AMQPValue::FieldTable(table) => HeaderValue::Table(from_table(table)),
        AMQPValue::Void => HeaderValue::Null,
    }
}

/// AMQP knows whole seconds from the epoch on; parts are cut off, and moments before it become it.
fn to_seconds(t: Timestamp) -> u64 {
    u64::try_from(t.as_millis().div_euclid(1000)).unwrap_or(0)
}

fn from_seconds(seconds: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
}

/// Bytes on the wire, the type's letter included (AMQP 0-9-1, 4.2.5.5 and RabbitMQ's errata).
fn size_of(value: &HeaderValue) -> usize {
    1 + match value {
        HeaderValue::Null => 0,
        HeaderValue::Bool(_) => 1,
        HeaderValue::Int(_) | HeaderValue::Float(_) | HeaderValue::Timestamp(_) => 8,
        HeaderValue::Text(s) => 4 + s.len(),
        HeaderValue::Bytes(b) => 4 + b.len(),
        HeaderValue::List(items) => 4 + items.iter().map(size_of).sum::<usize>(),
        HeaderValue::Table(headers) => 4 + headers.iter().map(|(k, v)| 1 + k.len() + size_of(v)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 100_000;

    fn value() -> impl Strategy<Value = HeaderValue> {
        let leaf = prop_oneof![
            Just(HeaderValue::Null),
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i64>().prop_map(HeaderValue::Int),
            any::<f64>().prop_filter("NaN is not equal to itself", |x| !x.is_nan()).prop_map(HeaderValue::Float),
            ".{0,20}".prop_map(HeaderValue::Text),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|b| HeaderValue::Bytes(b.into())),
            (0..4_000_000_000i64).prop_map(|s| HeaderValue::Timestamp(Timestamp::from_millis(s * 1000))),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(HeaderValue::List),
                proptest::collection::btree_map("[a-z-]{1,8}", inner, 0..4).prop_map(HeaderValue::Table),
            ]
        })
    }

    fn text() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[ -~é]{0,60}")
    }

    prop_compose! {
        fn message()(
            id in text(), content_type in text(), correlation_id in text(), kind in text(), app_id in text(),
            reply_to in text(), content_encoding in text(), priority in proptest::option::of(any::<u8>()),
            timestamp in proptest::option::of(0..4_000_000_000i64),
            headers in proptest::collection::btree_map("quebert-[a-z]{1,8}", value(), 0..5),
            body in proptest::collection::vec(any::<u8>(), 0..64),
        ) -> Message {
            Message {
                id, content_type, correlation_id, kind, app_id, reply_to, content_encoding, priority, headers,
                timestamp: timestamp.map(|s| Timestamp::from_millis(s * 1000)),
                body: body.into(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_goes_out_comes_back_as_it_was(message in message()) {
            let properties = to_properties(&message, LIMIT).unwrap();
            prop_assert_eq!(from_delivery(&properties, message.body.to_vec()), message);
        }

        #[test]
        fn no_message_expires_or_is_kept_in_memory_only(message in message()) {
            let properties = to_properties(&message, LIMIT).unwrap();
            prop_assert!(properties.expiration().is_none());
            prop_assert_eq!(*properties.delivery_mode(), Some(2));
        }
    }

    #[test]
    fn headers_of_the_brokers_own_are_not_carried_on() {
        let names = ["CC", "BCC", "x-death", "x-first-death-queue", "x-last-death-reason", "x-delivery-count"];
        let mut message = Message::default();
        for name in names {
            message.headers.insert(name.into(), HeaderValue::Int(1));
        }
        assert_eq!(*to_properties(&message, LIMIT).unwrap().headers(), None);
        message.headers.insert("x-mine".into(), HeaderValue::Int(1));
        let headers = to_properties(&message, LIMIT).unwrap().headers().clone().unwrap();
        assert_eq!(headers.inner().len(), 1);
    }

    #[test]
    fn what_would_close_the_connection_is_refused_before() {
        let long = Message { id: Some("x".repeat(256)), ..Message::default() };
        assert!(matches!(to_properties(&long, LIMIT), Err(Unfit::TooLong { length: 256, .. })));
        let mut wide = Message::default();
        wide.headers.insert("h".into(), HeaderValue::Text("x".repeat(LIMIT)));
        assert!(matches!(to_properties(&wide, LIMIT), Err(Unfit::HeadersTooLarge { .. })));
        let mut named = Message::default();
        named.headers.insert("n".repeat(300), HeaderValue::Null);
        assert!(matches!(to_properties(&named, LIMIT), Err(Unfit::TooLong { length: 300, .. })));
    }
}
