//! Codecs: how an envelope is written as bytes. Which one reads a message is picked by its content type, never guessed
//! from the bytes.

mod json;
pub(crate) mod msgpack;

pub use json::JsonCodec;
pub use msgpack::MessagePackCodec;

use crate::Envelope;
use bytes::Bytes;
use std::{fmt, sync::Arc};

/// Reads and writes envelopes in one format.
pub trait Codec: Send + Sync {
    /// Its name for people, such as `json`.
    fn name(&self) -> &'static str;

    /// The content types that it reads, in lower case and without parameters; the first one is what it writes. One `*`
    /// stands for any text: `application/*+json`.
    fn content_types(&self) -> &[&'static str];

    /// Reads an envelope. The error names the field and holds no text of the message.
    fn decode(&self, bytes: &Bytes) -> Result<Envelope, CodecError>;

    /// Writes an envelope.
    fn encode(&self, envelope: &Envelope) -> Result<Bytes, CodecError>;
}

/// Bytes that a codec can't read, or an envelope that it can't write. A lowercase fragment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

/// The codecs that are known, in order: the first one that takes a content type reads it.
#[derive(Clone)]
pub struct Codecs(Vec<Arc<dyn Codec>>);

/// JSON and MessagePack.
impl Default for Codecs {
    fn default() -> Self {
        Self(vec![Arc::new(JsonCodec), Arc::new(MessagePackCodec)])
    }
}

impl Codecs {
    /// Adds a codec in front of the others, so that it may also take over one of their content types.
    #[must_use]
    pub fn with(mut self, codec: impl Codec + 'static) -> Self {
        self.0.insert(0, Arc::new(codec));
        self
    }

    /// The codec for a content type. None at all, or an empty one, is JSON; parameters don't matter.
    pub fn find(&self, content_type: Option<&str>) -> Option<&dyn Codec> {
        let content_type = content_type.unwrap_or_default();
        // Almost every message says what the first codec is called, to the letter.
        if let Some(first) = self.0.first().filter(|first| first.content_types().contains(&content_type)) {
            return Some(&**first);
        }
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let essence = if essence.is_empty() { "application/json" } else { essence };
        self.0.iter().find(|c| c.content_types().iter().any(|pattern| matches(pattern, essence))).map(|c| &**c)
    }

    /// Every content type that can be read.
    pub fn content_types(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().flat_map(|c| c.content_types().iter().copied())
    }
}

fn matches(pattern: &str, essence: &str) -> bool {
    let Some((start, end)) = pattern.split_once('*') else { return pattern.eq_ignore_ascii_case(essence) };
    let (pattern, essence) = ([start.as_bytes(), end.as_bytes()], essence.as_bytes());
    essence.len() > pattern[0].len() + pattern[1].len()
        && essence[..pattern[0].len()].eq_ignore_ascii_case(pattern[0])
        && essence[essence.len() - pattern[1].len()..].eq_ignore_ascii_case(pattern[1])
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|c| c.name())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_type_picks_the_codec() {
        let codecs = Codecs::default();
        let name = |content_type| codecs.find(content_type).map(Codec::name);
        for json in [
            None,
            Some(""),
            Some("application/json; charset=utf-8"),
            Some("Application/JSON"),
            Some("application/x+json"),
        ] {
            assert_eq!(name(json), Some("json"), "{json:?}");
        }
        for msgpack in ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"] {
            assert_eq!(name(Some(msgpack)), Some("msgpack"));
        }
        for other in ["text/plain", "application/+json", "application/jsonx", "+json", "é"] {
            assert_eq!(name(Some(other)), None, "{other}");
        }
    }
}
