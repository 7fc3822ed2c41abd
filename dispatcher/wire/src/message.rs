//! A message as a broker keeps it: properties, headers and an opaque body. No broker's own types appear here.

use crate::Timestamp;
use bytes::Bytes;
use std::collections::BTreeMap;

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
#[derive(Debug, Clone, PartialEq, Default)]
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
