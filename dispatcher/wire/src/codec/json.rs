//! The JSON codec. It checks the envelope's shape, not its values.

use super::{Codec, CodecError};
use crate::{
    Envelope,
    envelope::{Seed, Source},
};
use bytes::Bytes;
use serde::de::DeserializeSeed;

/// Reads and writes `application/json`. The body is a slice of what was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonCodec;

impl Codec for JsonCodec {
    fn name(&self) -> &'static str {
        "json"
    }

    fn content_types(&self) -> &[&'static str] {
        &["application/json", "application/*+json"]
    }

    fn decode(&self, bytes: &Bytes) -> Result<Envelope, CodecError> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let envelope = Seed(Source::Shared(bytes)).deserialize(&mut deserializer).map_err(error)?;
        deserializer.end().map_err(error)?;
        Ok(envelope)
    }

    fn encode(&self, envelope: &Envelope) -> Result<Bytes, CodecError> {
        serde_json::to_vec(envelope).map(Bytes::from).map_err(error)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn error(error: serde_json::Error) -> CodecError {
    CodecError(format!("json: {error}"))
}
