//! The MessagePack codec, and how a MessagePack body becomes JSON. No extension types are read.

use super::{Codec, CodecError};
use crate::{
    Binary, Envelope,
    envelope::{Seed, Source},
};
use bytes::Bytes;
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use std::{fmt, io::Write};

/// Reads and writes `application/msgpack`.
///
/// A `body` of binary data is sent as it is; any other `body` is sent as the JSON of the same value. A JSON body is
/// written as binary data with its content type, so that it too arrives byte for byte.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagePackCodec;

/// As deep as JSON may be; bounds the stack.
const DEPTH_MAX: usize = 128;

impl Codec for MessagePackCodec {
    fn name(&self) -> &'static str {
        "msgpack"
    }

    fn content_types(&self) -> &[&'static str] {
        &["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"]
    }

    fn decode(&self, bytes: &Bytes) -> Result<Envelope, CodecError> {
        let error = |e: rmp_serde::decode::Error| CodecError(format!("msgpack: {e}"));
        let mut rest: &[u8] = bytes;
        let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
        deserializer.set_max_depth(DEPTH_MAX);
        let envelope = Seed(Source::Binary).deserialize(&mut deserializer).map_err(error)?;
        if !rest.is_empty() {
            return Err(CodecError("msgpack: bytes after the envelope".to_owned()));
        }
        Ok(envelope)
    }

    fn encode(&self, envelope: &Envelope) -> Result<Bytes, CodecError> {
        let mut envelope = envelope.clone();
        if let Some(body) = envelope.body.take() {
            if envelope.body_base64.is_some() {
                return Err(CodecError("msgpack: field \"body\": only one body is allowed".to_owned()));
            }
            envelope.body_base64 = Some(Binary(body.into_bytes()));
            if !envelope.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
                envelope.headers.insert("content-type".to_owned(), "application/json".into());
            }
        }
        rmp_serde::to_vec_named(&envelope).map(Bytes::from).map_err(|e| CodecError(format!("msgpack: {e}")))
    }
}

/// Reads any value into the buffer, and says whether it was binary data. If not, it is written as JSON.
pub(crate) struct BodySeed<'a>(pub(crate) &'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(ToJson { out: self.0, binary_allowed: true, key: false })
    }
}

struct ToJson<'a> {
    out: &'a mut Vec<u8>,
    /// At the top only: JSON has no binary data.
    binary_allowed: bool,
    /// A map's key: text, or a whole number that becomes text.
    key: bool,
}

impl ToJson<'_> {
    fn write<E: Error>(self, value: &impl serde::Serialize) -> Result<bool, E> {
        if self.key {
            return Err(E::custom("a map's key is neither text nor a whole number"));
        }
        serde_json::to_writer(self.out, value).map_err(E::custom)?;
        Ok(false)
    }

    fn write_integer<E: Error>(self, n: impl fmt::Display) -> Result<bool, E> {
        let quote = if self.key { "\"" } else { "" };
        write!(self.out, "{quote}{n}{quote}").map_err(E::custom)?;
        Ok(false)
    }

    fn inner(&mut self, key: bool) -> ToJson<'_> {
        ToJson { out: self.out, binary_allowed: false, key }
    }
}

impl<'de> DeserializeSeed<'de> for ToJson<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ToJson<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can say")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        self.write(&())
    }

    fn visit_none<E: Error>(self) -> Result<bool, E> {
        self.write(&())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        self.write(&value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        self.write_integer(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        self.write_integer(value)
    }

    fn visit_f32<E: Error>(self, value: f32) -> Result<bool, E> {
        if value.is_finite() { self.write(&value) } else { Err(E::custom("a number that is not finite")) }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        if value.is_finite() { self.write(&value) } else { Err(E::custom("a number that is not finite")) }
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<bool, E> {
        self.key = false;
        self.write(&value)
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<bool, E> {
        if !self.binary_allowed {
            return Err(E::custom("binary data within the body, which JSON can't say"));
        }
        self.out.extend_from_slice(value);
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<bool, A::Error> {
        if self.key {
            return Err(A::Error::custom("a map's key is a list"));
        }
        self.out.push(b'[');
        let mut separator = false;
        loop {
            let at = self.out.len();
            if separator {
                self.out.push(b',');
            }
            if seq.next_element_seed(self.inner(false))?.is_none() {
                self.out.truncate(at);
                break;
            }
            separator = true;
        }
        self.out.push(b']');
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        if self.key {
            return Err(A::Error::custom("a map's key is a map"));
        }
        self.out.push(b'{');
        let mut separator = false;
        loop {
            let at = self.out.len();
            if separator {
                self.out.push(b',');
            }
            if map.next_key_seed(self.inner(true))?.is_none() {
                self.out.truncate(at);
                break;
            }
            self.out.push(b':');
            map.next_value_seed(self.inner(false))?;
            separator = true;
        }
        self.out.push(b'}');
        Ok(false)
    }
}
