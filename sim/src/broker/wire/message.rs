//! Messages as bytes. What is read is what was written; bodies are not copied when they are read.

use super::code::{Reader, Writer};
use bytes::{BufMut, BytesMut};
use quebert_wire::{HeaderValue, Headers, Message, Timestamp};

/// Appends a message.
pub(super) fn write(message: &Message, out: &mut BytesMut) {
    for text in texts(message) {
        out.maybe(text.as_ref(), |out, text| out.text(text));
    }
    out.maybe(message.timestamp, |out, at| out.put_i64(at.as_millis()));
    out.maybe(message.priority, BufMut::put_u8);
    table(&message.headers, out);
    out.bytes(&message.body);
}

/// Reads a message.
pub(super) fn read(frame: &mut Reader) -> Option<Message> {
    let mut texts = [const { None }; 7];
    for text in &mut texts {
        *text = frame.maybe(Reader::text)?;
    }
    let [id, content_type, correlation_id, kind, app_id, reply_to, content_encoding] = texts;
    Some(Message {
        id,
        content_type,
        correlation_id,
        kind,
        app_id,
        reply_to,
        content_encoding,
        timestamp: frame.maybe(moment)?,
        priority: frame.maybe(Reader::u8)?,
        headers: read_table(frame)?,
        body: frame.bytes()?,
    })
}

const fn texts(message: &Message) -> [&Option<String>; 7] {
    [
        &message.id,
        &message.content_type,
        &message.correlation_id,
        &message.kind,
        &message.app_id,
        &message.reply_to,
        &message.content_encoding,
    ]
}

fn table(headers: &Headers, out: &mut BytesMut) {
    out.put_u32(u32::try_from(headers.len()).expect("few"));
    for (name, header) in headers {
        out.text(name);
        value(header, out);
    }
}

fn value(value_: &HeaderValue, out: &mut BytesMut) {
    match value_ {
        HeaderValue::Null => out.put_u8(0),
        HeaderValue::Bool(truth) => {
            out.put_u8(1);
            out.put_u8(u8::from(*truth));
        }
        HeaderValue::Int(number) => {
            out.put_u8(2);
            out.put_i64(*number);
        }
        HeaderValue::Float(number) => {
            out.put_u8(3);
            out.put_u64(number.to_bits());
        }
        HeaderValue::Text(text) => {
            out.put_u8(4);
            out.text(text);
        }
        HeaderValue::Bytes(bytes) => {
            out.put_u8(5);
            out.bytes(bytes);
        }
        HeaderValue::Timestamp(at) => {
            out.put_u8(6);
            out.put_i64(at.as_millis());
        }
        HeaderValue::List(list) => {
            out.put_u8(7);
            out.put_u32(u32::try_from(list.len()).expect("few"));
            list.iter().for_each(|one| value(one, out));
        }
        HeaderValue::Table(headers) => {
            out.put_u8(8);
            table(headers, out);
        }
    }
}

fn read_table(frame: &mut Reader) -> Option<Headers> {
    let count = frame.u32()?;
    (0..count).map(|_| Some((frame.text()?, read_value(frame)?))).collect()
}

fn read_value(frame: &mut Reader) -> Option<HeaderValue> {
    Some(match frame.u8()? {
        0 => HeaderValue::Null,
        1 => HeaderValue::Bool(frame.bool()?),
        2 => HeaderValue::Int(frame.u64()?.cast_signed()),
        3 => HeaderValue::Float(f64::from_bits(frame.u64()?)),
        4 => HeaderValue::Text(frame.text()?),
        5 => HeaderValue::Bytes(frame.bytes()?),
        6 => HeaderValue::Timestamp(moment(frame)?),
        7 => {
            let count = frame.u32()?;
            HeaderValue::List((0..count).map(|_| read_value(frame)).collect::<Option<_>>()?)
        }
        8 => HeaderValue::Table(read_table(frame)?),
        _ => return None,
    })
}

fn moment(frame: &mut Reader) -> Option<Timestamp> {
    frame.u64().map(|ms| Timestamp::from_millis(ms.cast_signed()))
}
