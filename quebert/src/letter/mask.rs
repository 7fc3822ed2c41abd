//! Hides what looks like a secret in tasks that are shown: values of headers such as `Authorization`. It doesn't look
//! into request bodies or URLs, which only their owner understands.

use quebert_wire::{HeaderValue, header};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, fmt, ops::Range};

/// What stands in the place of a secret.
pub(super) const MASK: &str = "***";

/// A header whose name contains one of these, in any case, holds a secret.
const SECRET_WORDS: [&str; 11] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "credential",
    "signature",
    "api-key",
    "apikey",
    "access-key",
];

/// Whether the value of a header of that name is hidden: `Authorization`, `Proxy-Authorization`, `Cookie`, `X-Api-Key`,
/// and names that contain words such as `token`, `secret` or `password`. Of a message's headers those are meant that
/// become the request's (`quebert-h-*`), and others by their whole name.
pub fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let name = name.strip_prefix(header::FORWARD_PREFIX).unwrap_or(&name);
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// A JSON envelope with the values of secret headers replaced by `"***"`, and not a byte else changed. What is no JSON
/// object comes back as it is.
pub fn without_secrets(envelope: &str) -> Cow<'_, str> {
    let mut secret = Vec::new();
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(envelope) else { return Cow::Borrowed(envelope) };
    for (_, headers) in fields.0.iter().filter(|(name, _)| name == "headers") {
        let Ok(headers) = serde_json::from_str::<Fields<'_>>(headers.get()) else { continue };
        let values = headers.0.iter().filter(|(name, _)| is_secret_header(name));
        secret.extend(values.map(|(_, value)| place_of(value.get(), envelope)));
    }
    if secret.is_empty() {
        return Cow::Borrowed(envelope);
    }
    let mut masked = String::with_capacity(envelope.len());
    let mut shown_to = 0;
    for Range { start, end } in secret {
        masked.push_str(&envelope[shown_to..start]);
        masked.push('"');
        masked.push_str(MASK);
        masked.push('"');
        shown_to = end;
    }
    masked.push_str(&envelope[shown_to..]);
    Cow::Owned(masked)
}

/// A message header's value as JSON, masked if it is secret. AMQP has values that JSON has not: bytes become text,
/// moments become epoch milliseconds.
pub(super) fn header_value(name: &str, value: &HeaderValue) -> Value {
    if is_secret_header(name) { Value::from(MASK) } else { plain_value(value) }
}

fn plain_value(value: &HeaderValue) -> Value {
    match value {
        HeaderValue::Null => Value::Null,
        HeaderValue::Bool(b) => Value::from(*b),
        HeaderValue::Int(n) => Value::from(*n),
        HeaderValue::Float(n) => Value::from(*n),
        HeaderValue::Text(text) => Value::from(&**text),
        HeaderValue::Bytes(bytes) => Value::from(String::from_utf8_lossy(bytes)),
        HeaderValue::Timestamp(at) => Value::from(at.as_millis()),
        HeaderValue::List(all) => all.iter().map(plain_value).collect(),
        HeaderValue::Table(table) => {
            Value::Object(table.iter().map(|(name, value)| (name.clone(), header_value(name, value))).collect())
        }
    }
}

/// Where a part of a text lies within it.
fn place_of(part: &str, whole: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// The fields of a JSON object in their order, repeated ones too, each value as it was written.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((Cow::Owned(name), value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_headers_are_hidden_and_nothing_else_is_touched() {
        let envelope = r#"{ "url":"http://h/", "headers": {"Accept" : "a/b", "AUTHORIZATION":"Bearer hunter2",
            "X-Api-Key": ["hunter2", "hunter2"], "Set-Cookie":"hunter2"},"body":{"headers":{"Authorization":1.50}} }"#;
        let expect = r#"{ "url":"http://h/", "headers": {"Accept" : "a/b", "AUTHORIZATION":"***",
            "X-Api-Key": "***", "Set-Cookie":"***"},"body":{"headers":{"Authorization":1.50}} }"#;
        assert_eq!(without_secrets(envelope), expect);
    }

    #[test]
    fn a_name_written_with_escapes_or_twice_hides_as_well() {
        let envelope = r#"{"headers":{"\u0041uthorization":"hunter2"},"head\u0065rs":{"x_auth_token":"hunter2"}}"#;
        let masked = without_secrets(envelope);
        assert!(!masked.contains("hunter2"), "{masked}");
        assert_eq!(masked.matches(MASK).count(), 2);
    }

    #[test]
    fn what_is_no_envelope_stays() {
        for text in ["", "junk", "[1]", r#"{"headers": 5}"#, r#"{"headers": {"A": "b"}}"#] {
            assert!(matches!(without_secrets(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn secret_names_are_known_in_any_writing() {
        for name in ["authorization", "Proxy-Authorization", "quebert-h-cookie", "X_API_KEY", "x-amz-security-token"] {
            assert!(is_secret_header(name), "{name}");
        }
        for name in ["accept", "quebert-attempts", "traceparent", "content-type", "idempotency-key"] {
            assert!(!is_secret_header(name), "{name}");
        }
    }

    #[test]
    fn message_headers_hide_at_any_depth() {
        let table = HeaderValue::Table([("password".to_owned(), HeaderValue::Text("hunter2".into()))].into());
        assert_eq!(header_value("mine", &HeaderValue::List(vec![table])).to_string(), r#"[{"password":"***"}]"#);
        assert_eq!(header_value("quebert-h-authorization", &HeaderValue::Int(5)), MASK);
    }
}
