//! Reading an envelope: by hand, so that errors name the field, unknown fields are kept by name, and a JSON body is a
//! slice of what came. Whether the values make sense is not asked here.

use super::{Binary, Envelope, EnvelopeRetry, HeaderValues, Json};
use crate::{check::shown, codec::msgpack::BodySeed, limits::UNKNOWN_FIELDS_MAX, timestamp::RoundedUp};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor},
};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, fmt};

/// What an envelope is read from, since `body` is read differently from each.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// JSON by `serde_json::from_slice` over this buffer, which the body will share.
    Shared(&'a Bytes),
    /// JSON of any other kind; the body is copied.
    Json,
    /// MessagePack, and whatever else is binary and describes itself.
    Binary,
}

pub(crate) struct Seed<'a>(pub(crate) Source<'a>);

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = if deserializer.is_human_readable() { Source::Json } else { Source::Binary };
        Seed(source).deserialize(deserializer)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Envelope;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Envelope, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Url,
    Id,
    Method,
    Headers,
    Body,
    BodyText,
    BodyBase64,
    CreatedAt,
    NotBefore,
    DelayMs,
    ExpiresAt,
    TtlMs,
    TimeoutMs,
    Retry,
    Queue,
    FlowKey,
    Callback,
    Labels,
    Unknown(String),
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task envelope: a map with a \"url\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut e = Envelope::default();
        let (mut url, mut headers, mut labels, mut not_before, mut retry) = (None, None, None, None, None);
        let map = &mut map;
        while let Some(field) = map.next_key()? {
            match field {
                Field::Url => take(map, "url", &mut url)?,
                Field::Id => take(map, "id", &mut e.id)?,
                Field::Method => take(map, "method", &mut e.method)?,
                Field::Headers => take::<_, HeaderFields>(map, "headers", &mut headers)?,
                Field::Body => self.take_body(map, &mut e)?,
                Field::BodyText => take(map, "body_text", &mut e.body_text)?,
                Field::BodyBase64 => take(map, "body_base64", &mut e.body_base64)?,
                Field::CreatedAt => take(map, "created_at", &mut e.created_at)?,
                Field::NotBefore => take::<_, RoundedUp>(map, "not_before", &mut not_before)?,
                Field::DelayMs => take_number(map, "delay_ms", &mut e.delay_ms)?,
                Field::ExpiresAt => take(map, "expires_at", &mut e.expires_at)?,
                Field::TtlMs => take_number(map, "ttl_ms", &mut e.ttl_ms)?,
                Field::TimeoutMs => take_number(map, "timeout_ms", &mut e.timeout_ms)?,
                Field::Retry => take::<_, RetryFields>(map, "retry", &mut retry)?,
                Field::Queue => take(map, "queue", &mut e.queue)?,
                Field::FlowKey => take(map, "flow_key", &mut e.flow_key)?,
                Field::Callback => take(map, "callback", &mut e.callback)?,
                Field::Labels => take(map, "labels", &mut labels)?,
                Field::Unknown(name) => {
                    map.next_value::<IgnoredAny>()?;
                    keep_unknown(&mut e.unknown_fields, &name);
                }
            }
        }
        e.url = url.ok_or_else(|| A::Error::custom("field \"url\": missing"))?;
        e.headers = headers.unwrap_or_default().0;
        e.labels = labels.unwrap_or_default();
        e.not_before = not_before.map(|t| t.0);
        e.retry = retry.map(|RetryFields { retry, unknown }| {
            unknown.into_iter().for_each(|name| keep_unknown(&mut e.unknown_fields, &format!("retry.{name}")));
            retry
        });
        Ok(e)
    }
}

impl Seed<'_> {
    fn take_body<'de, A: MapAccess<'de>>(&self, map: &mut A, e: &mut Envelope) -> Result<(), A::Error> {
        if e.body.is_some() {
            return Err(duplicate("body"));
        }
        match self.0 {
            Source::Shared(source) => {
                e.body = Some(Json::part_of(source, map.next_value::<&RawValue>().map_err(in_field("body"))?));
            }
            Source::Json => e.body = Some(map.next_value::<Box<RawValue>>().map_err(in_field("body"))?.into()),
            Source::Binary => {
                let mut out = Vec::new();
                if map.next_value_seed(BodySeed(&mut out)).map_err(in_field("body"))? {
                    if e.body_base64.is_some() {
                        return Err(duplicate("body_base64"));
                    }
                    e.body_base64 = Some(Binary(out.into()));
                } else {
                    e.body = Some(Json::written(out));
                }
            }
        }
        Ok(())
    }
}

/// Reads a value into its slot; `null` counts as not given.
fn take<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
    slot: &mut Option<T>,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(duplicate(name));
    }
    *slot = map.next_value().map_err(in_field(name))?;
    Ok(())
}

fn take_number<'de, A: MapAccess<'de>, N: TryFrom<u64>>(
    map: &mut A,
    name: &str,
    slot: &mut Option<N>,
) -> Result<(), A::Error> {
    let mut number: Option<Whole> = None;
    if slot.is_some() {
        return Err(duplicate(name));
    }
    take(map, name, &mut number)?;
    let narrow =
        |Whole(n)| N::try_from(n).map_err(|_| in_field(name)(A::Error::custom(format_args!("{n} is too large"))));
    *slot = number.map(narrow).transpose()?;
    Ok(())
}

fn duplicate<E: de::Error>(name: &str) -> E {
    E::custom(format_args!("field \"{name}\": given twice"))
}

/// Names the field, and takes texts out of the message: a header or a body in the wrong place may be a secret.
fn in_field<E: de::Error>(name: &str) -> impl Fn(E) -> E + '_ {
    move |error| {
        let text = error.to_string();
        let text = match (text.find("string \""), text.rfind("\", expected ")) {
            (Some(from), Some(to)) if from < to => format!("{}text{}", &text[..from], &text[to + 1..]),
            _ => text,
        };
        match text.strip_prefix("field \"") {
            Some(inner) => E::custom(format_args!("field \"{name}.{inner}")),
            None => E::custom(format_args!("field \"{name}\": {text}")),
        }
    }
}

fn keep_unknown(names: &mut Vec<String>, name: &str) {
    if names.len() < UNKNOWN_FIELDS_MAX {
        names.push(shown(name));
    }
}

/// A whole number from 0; also when written as `1000.0`, as some languages do.
struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Whole, E> {
                Ok(Whole(n))
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Whole, E> {
                u64::try_from(n).map(Whole).map_err(|_| E::invalid_value(Unexpected::Signed(n), &self))
            }

            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Whole, E> {
                // Up to 2^53 a float is an exact whole number.
                if n.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&n) {
                    return Ok(Whole(n as u64));
                }
                Err(E::invalid_value(Unexpected::Float(n), &self))
            }
        }
        deserializer.deserialize_any(WholeVisitor)
    }
}

#[derive(Default)]
struct HeaderFields(BTreeMap<String, HeaderValues>);

impl<'de> Deserialize<'de> for HeaderFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;
        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = HeaderFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of header names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderFields, A::Error> {
                let mut headers = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let values = match map.next_value() {
                        Ok(values) => values,
                        Err(e) => return Err(in_field(&shown(&name))(e)),
                    };
                    if headers.insert(name, values).is_some() {
                        return Err(A::Error::custom("a name is given twice"));
                    }
                }
                Ok(HeaderFields(headers))
            }
        }
        deserializer.deserialize_map(HeadersVisitor)
    }
}

impl<'de> Deserialize<'de> for HeaderValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValuesVisitor;
        impl<'de> Visitor<'de> for ValuesVisitor {
            type Value = HeaderValues;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<HeaderValues, E> {
                Ok(HeaderValues::One(value.to_owned()))
            }

            fn visit_string<E: de::Error>(self, value: String) -> Result<HeaderValues, E> {
                Ok(HeaderValues::One(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<HeaderValues, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(HeaderValues::Many(values))
            }
        }
        deserializer.deserialize_any(ValuesVisitor)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum RetryField {
    MaxAttempts,
    MaxAgeMs,
    BackoffMinMs,
    BackoffMaxMs,
    ScheduleMs,
    Unknown(String),
}

struct RetryFields {
    retry: EnvelopeRetry,
    unknown: Vec<String>,
}

impl<'de> Deserialize<'de> for RetryFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RetryVisitor;
        impl<'de> Visitor<'de> for RetryVisitor {
            type Value = RetryFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of retry settings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RetryFields, A::Error> {
                let (mut r, mut unknown) = (EnvelopeRetry::default(), Vec::new());
                let mut schedule: Option<Vec<Whole>> = None;
                let map = &mut map;
                while let Some(field) = map.next_key()? {
                    match field {
                        RetryField::MaxAttempts => take_number(map, "max_attempts", &mut r.max_attempts)?,
                        RetryField::MaxAgeMs => take_number(map, "max_age_ms", &mut r.max_age_ms)?,
                        RetryField::BackoffMinMs => take_number(map, "backoff_min_ms", &mut r.backoff_min_ms)?,
                        RetryField::BackoffMaxMs => take_number(map, "backoff_max_ms", &mut r.backoff_max_ms)?,
                        RetryField::ScheduleMs => take(map, "schedule_ms", &mut schedule)?,
                        RetryField::Unknown(name) => {
                            map.next_value::<IgnoredAny>()?;
                            keep_unknown(&mut unknown, &name);
                        }
                    }
                }
                r.schedule_ms = schedule.map(|list| list.into_iter().map(|Whole(n)| n).collect());
                Ok(RetryFields { retry: r, unknown })
            }
        }
        deserializer.deserialize_map(RetryVisitor)
    }
}
