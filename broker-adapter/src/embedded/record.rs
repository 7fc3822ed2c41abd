//! A message as the store keeps it: a head of fixed length, which start-up reads, and behind it the message, which is
//! read when it is delivered. Compact, and with a version of its own; what it means is not decided here.

use super::text::{Cursor, Writer};
use bytes::Bytes;
use quebert_wire::{HeaderValue, Headers, Message, Timestamp, header};

/// The first byte of every record.
const VERSION: u8 = 1;

/// Version, moment, hash, home.
const HEAD: usize = 1 + 8 + 8 + 4;

/// Where in a record its home stands.
const HOME_AT: usize = 1 + 8 + 8;

/// How deep header values may be nested. Deeper ones come from nobody sane, and must not overflow the stack.
const DEPTH_MAX: usize = 32;

/// A message on its way into the store.
#[derive(Debug, Clone)]
pub(super) struct Record {
    bytes: Vec<u8>,
    /// Of the task's id; 0 is none.
    pub(super) id: u64,
    /// When it was encoded.
    pub(super) at_ms: i64,
    /// The work queue that it returns to, by name.
    pub(super) return_to: Option<String>,
}

/// What start-up reads of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) at_ms: i64,
    pub(super) id: u64,
    /// The number of the queue that it returns to; 0 is none.
    pub(super) home: u32,
}

/// A record can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a record of {bytes} bytes can't be read: {what}")]
pub(super) struct Unreadable {
    pub(super) bytes: usize,
    pub(super) what: &'static str,
}

impl Record {
    /// `None` if header values are nested too deep.
    pub(super) fn new(message: &Message, at: Timestamp) -> Option<Self> {
        let id = id_of(message).map_or(0, hash);
        let return_to = match message.headers.get(header::RETURN_TO) {
            Some(HeaderValue::Text(name)) => Some(name.clone()),
            _ => None,
        };
        let mut writer = Writer(Vec::with_capacity(HEAD + 64 + message.head_bytes() + message.body.len()));
        writer.0.push(VERSION);
        writer.0.extend_from_slice(&at.as_millis().to_le_bytes());
        writer.0.extend_from_slice(&id.to_le_bytes());
        writer.0.extend_from_slice(&0u32.to_le_bytes());
        write_message(&mut writer, message)?;
        Some(Self { bytes: writer.0, id, at_ms: at.as_millis(), return_to })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The record's bytes, with its home filled in.
    pub(super) fn seal(mut self, home: u32) -> Bytes {
        self.bytes[HOME_AT..HEAD].copy_from_slice(&home.to_le_bytes());
        self.bytes.into()
    }
}

/// Reads a record's head.
pub(super) fn head(record: &[u8]) -> Result<Head, Unreadable> {
    let fault = |what| Unreadable { bytes: record.len(), what };
    if record.first() != Some(&VERSION) {
        return Err(fault("it is of another version"));
    }
    let array = |from: usize| record.get(from..from + 8).and_then(|bytes| bytes.try_into().ok());
    let short = || fault("it is too short");
    Ok(Head {
        at_ms: i64::from_le_bytes(array(1).ok_or_else(short)?),
        id: u64::from_le_bytes(array(9).ok_or_else(short)?),
        home: record
            .get(HOME_AT..HEAD)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_le_bytes)
            .ok_or_else(short)?,
    })
}

/// Reads a record's message. The body shares the record's memory.
pub(super) fn message(record: &Bytes) -> Result<Message, Unreadable> {
    head(record)?;
    let mut cursor = Cursor { bytes: record, at: HEAD };
    read_message(&mut cursor).ok_or(Unreadable { bytes: record.len(), what: "its fields don't fit its length" })
}

/// The id that a task is looked up by: the dispatcher's note, or the message's own id.
pub(super) fn id_of(message: &Message) -> Option<&str> {
    match message.headers.get(header::ID) {
        Some(HeaderValue::Text(id)) => Some(id.as_str()),
        _ => message.id.as_deref(),
    }
    .filter(|id| !id.is_empty())
}

/// FNV-1a, 64 bits. Never 0. Collisions cost a look at the message, no more.
pub(super) fn hash(id: &str) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    id.bytes().fold(0xcbf2_9ce4_8422_2325, fnv).max(1)
}

fn write_message(writer: &mut Writer, message: &Message) -> Option<()> {
    let texts = texts(message);
    let mut present: u16 = 0;
    for (bit, text) in texts.iter().enumerate() {
        present |= u16::from(text.is_some()) << bit;
    }
    present |= u16::from(message.timestamp.is_some()) << 7;
    present |= u16::from(message.priority.is_some()) << 8;
    writer.0.extend_from_slice(&present.to_le_bytes());
    texts.into_iter().flatten().for_each(|text| writer.text(text));
    if let Some(timestamp) = message.timestamp {
        writer.signed(timestamp.as_millis());
    }
    writer.0.extend(message.priority);
    write_table(writer, &message.headers, 0)?;
    writer.0.extend_from_slice(&message.body);
    Some(())
}

fn texts(message: &Message) -> [Option<&String>; 7] {
    [
        message.id.as_ref(),
        message.content_type.as_ref(),
        message.correlation_id.as_ref(),
        message.kind.as_ref(),
        message.app_id.as_ref(),
        message.reply_to.as_ref(),
        message.content_encoding.as_ref(),
    ]
}

fn read_message(cursor: &mut Cursor<'_>) -> Option<Message> {
    let present = u16::from_le_bytes(cursor.take(2)?.try_into().ok()?);
    let has = |bit: u16| present >> bit & 1 == 1;
    let mut text = |bit: u16| if has(bit) { cursor.text().map(Some) } else { Some(None) };
    Some(Message {
        id: text(0)?,
        content_type: text(1)?,
        correlation_id: text(2)?,
        kind: text(3)?,
        app_id: text(4)?,
        reply_to: text(5)?,
        content_encoding: text(6)?,
        timestamp: if has(7) { Some(Timestamp::from_millis(cursor.signed()?)) } else { None },
        priority: if has(8) { Some(cursor.byte()?) } else { None },
        headers: read_table(cursor, 0)?,
        body: cursor.rest(),
    })
}

fn write_table(writer: &mut Writer, table: &Headers, depth: usize) -> Option<()> {
    writer.unsigned(table.len() as u64);
    for (name, value) in table {
        writer.text(name);
        write_value(writer, value, depth)?;
    }
    Some(())
}

fn read_table(cursor: &mut Cursor<'_>, depth: usize) -> Option<Headers> {
    let mut table = Headers::new();
    for _ in 0..cursor.unsigned()? {
        let name = cursor.text()?;
        table.insert(name, read_value(cursor, depth)?);
    }
    Some(table)
}

fn write_value(writer: &mut Writer, value: &HeaderValue, depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    match value {
        HeaderValue::Null => writer.0.push(0),
        HeaderValue::Bool(truth) => writer.0.extend([1, u8::from(*truth)]),
        HeaderValue::Int(n) => {
            writer.0.push(2);
            writer.signed(*n);
        }
        HeaderValue::Float(n) => {
            writer.0.push(3);
            writer.0.extend_from_slice(&n.to_le_bytes());
        }
        HeaderValue::Text(text) => {
            writer.0.push(4);
            writer.text(text);
        }
        HeaderValue::Bytes(bytes) => {
            writer.0.push(5);
            writer.bytes(bytes);
        }
        HeaderValue::Timestamp(at) => {
            writer.0.push(6);
            writer.signed(at.as_millis());
        }
        HeaderValue::List(list) => {
            writer.0.push(7);
            writer.unsigned(list.len() as u64);
            list.iter().try_for_each(|value| write_value(writer, value, depth + 1))?;
        }
        HeaderValue::Table(table) => {
            writer.0.push(8);
            write_table(writer, table, depth + 1)?;
        }
    }
    Some(())
}

fn read_value(cursor: &mut Cursor<'_>, depth: usize) -> Option<HeaderValue> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match cursor.byte()? {
        0 => HeaderValue::Null,
        1 => HeaderValue::Bool(cursor.byte()? != 0),
        2 => HeaderValue::Int(cursor.signed()?),
        3 => HeaderValue::Float(f64::from_le_bytes(cursor.take(8)?.try_into().ok()?)),
        4 => HeaderValue::Text(cursor.text()?),
        5 => HeaderValue::Bytes(Bytes::copy_from_slice(cursor.slice()?)),
        6 => HeaderValue::Timestamp(Timestamp::from_millis(cursor.signed()?)),
        7 => {
            let length = cursor.unsigned()?;
            HeaderValue::List((0..length).map(|_| read_value(cursor, depth + 1)).collect::<Option<_>>()?)
        }
        8 => HeaderValue::Table(read_table(cursor, depth + 1)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = HeaderValue> {
        let leaf = prop_oneof![
            Just(HeaderValue::Null),
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i64>().prop_map(HeaderValue::Int),
            prop::num::f64::NORMAL.prop_map(HeaderValue::Float),
            ".{0,20}".prop_map(HeaderValue::Text),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| HeaderValue::Bytes(bytes.into())),
            any::<i64>().prop_map(|ms| HeaderValue::Timestamp(Timestamp::from_millis(ms))),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(HeaderValue::List),
                prop::collection::btree_map(".{0,5}", inner, 0..4).prop_map(HeaderValue::Table),
            ]
        })
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let text = || prop::option::of(".{0,10}");
        let headers = prop::collection::btree_map(".{0,10}", value(), 0..6);
        let body = prop::collection::vec(any::<u8>(), 0..300);
        let rest = (prop::option::of(any::<i64>()), prop::option::of(any::<u8>()), headers, body);
        ((text(), text(), text(), text(), text(), text(), text()), rest).prop_map(|(texts, rest)| Message {
            id: texts.0,
            content_type: texts.1,
            correlation_id: texts.2,
            kind: texts.3,
            app_id: texts.4,
            reply_to: texts.5,
            content_encoding: texts.6,
            timestamp: rest.0.map(Timestamp::from_millis),
            priority: rest.1,
            headers: rest.2,
            body: rest.3.into(),
        })
    }

    proptest! {
        #[test]
        fn a_message_comes_out_as_it_went_in(given in any_message(), at in any::<i64>(), home in any::<u32>()) {
            let record = Record::new(&given, Timestamp::from_millis(at)).unwrap();
            let id = record.id;
            let bytes = record.seal(home);
            prop_assert_eq!(head(&bytes), Ok(Head { at_ms: at, id, home }));
            prop_assert_eq!(message(&bytes), Ok(given));
        }

        #[test]
        fn junk_is_refused_and_never_panics(mut junk in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = junk.first_mut() {
                *first = VERSION;
            }
            let _ = message(&junk.into());
        }
    }

    #[test]
    fn a_task_is_known_by_the_dispatchers_note_first() {
        let mut task = Message { id: Some("mine".into()), ..Message::default() };
        assert_eq!(id_of(&task), Some("mine"));
        task.headers.insert(header::ID.into(), HeaderValue::Text("noted".into()));
        assert_eq!(id_of(&task), Some("noted"));
    }

    #[test]
    fn values_nested_too_deep_are_refused() {
        let deep = (0..100).fold(HeaderValue::Null, |inner, _| HeaderValue::List(vec![inner]));
        let task = Message { headers: Headers::from([("deep".into(), deep)]), ..Message::default() };
        assert!(Record::new(&task, Timestamp::from_millis(0)).is_none());
    }
}
