//! The JSON Schema of the envelope, generated from the type. What a schema can't say (bytes, configured limits, moments
//! in order) is left to [`Envelope::check`](crate::Envelope::check).

use super::Envelope;
use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Value, json};

/// The JSON Schema (2020-12) of the envelope, as committed in `schema/envelope.schema.json`.
pub fn envelope_schema() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Envelope>().to_value()
}

/// Fields of which at most one may be given. `null` counts as not given, except for `body`, where it is a body.
pub(super) fn at_most_one_of_each(schema: &mut Schema) {
    let both = |a: &str, b: &str| {
        let given = |name: &str| if name == "body" { json!(true) } else { json!({"not": {"type": "null"}}) };
        json!({"not": {"required": [a, b], "properties": {a: given(a), b: given(b)}}})
    };
    schema.insert(
        "allOf".to_owned(),
        json!([
            both("body", "body_text"),
            both("body", "body_base64"),
            both("body_text", "body_base64"),
            both("not_before", "delay_ms"),
            both("expires_at", "ttl_ms"),
        ]),
    );
}

pub(super) fn bounded_labels(schema: &mut Schema) {
    schema.insert("maxProperties".to_owned(), json!(64));
    schema.insert("propertyNames".to_owned(), json!({"minLength": 1, "maxLength": 64}));
    schema.insert("additionalProperties".to_owned(), json!({"type": "string", "maxLength": 256}));
}
