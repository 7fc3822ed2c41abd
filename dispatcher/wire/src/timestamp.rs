//! A moment of wall-clock time, in whole milliseconds since the Unix epoch. It never asks what time it is now.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};
use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// On the wire it is RFC 3339 text or an integer of epoch milliseconds; both are read, RFC 3339 is written.
///
/// ```
/// use quebert_wire::Timestamp;
/// let t: Timestamp = "2026-11-23T10:00:00.250+01:00".parse()?;
/// assert_eq!(t, Timestamp::from_millis(1_795_424_400_250));
/// assert_eq!(t.to_string(), "2026-11-23T09:00:00.250Z");
/// # Ok::<(), quebert_wire::TimestampError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The text is no RFC 3339 date and time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 date and time such as 2026-11-23T09:00:00Z")]
pub struct TimestampError;

impl Timestamp {
    /// 9999-12-31T23:59:59.999Z, the last moment that RFC 3339 can write.
    pub const MAX_RFC3339: Self = Self(253_402_300_799_999);

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment plus `d`, held at the largest value instead of wrapping around. Parts of a millisecond round up.
    pub fn saturating_add(self, d: Duration) -> Self {
        let ms = d.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// How long from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339 text. Parts of a millisecond round up, as "not before" needs it; `from_str` rounds them down.
    pub fn parse_rounding_up(text: &str) -> Result<Self, TimestampError> {
        let nanos = nanoseconds(text)?;
        Self::from_nanos_floor(nanos + 999_999)
    }

    fn from_nanos_floor(nanos: i128) -> Result<Self, TimestampError> {
        i64::try_from(nanos.div_euclid(1_000_000)).map(Self).map_err(|_| TimestampError)
    }
}

fn nanoseconds(text: &str) -> Result<i128, TimestampError> {
    text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_nanosecond).map_err(|_| TimestampError)
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        Self::from_nanos_floor(nanoseconds(text)?)
    }
}

/// RFC 3339 in UTC with milliseconds; the bare number for years that RFC 3339 can't write.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(_) => serializer.collect_str(self),
            Err(_) => serializer.serialize_i64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimestampVisitor { round_up: false })
    }
}

/// A timestamp that was read with parts of a millisecond rounded up.
pub(crate) struct RoundedUp(pub(crate) Timestamp);

impl<'de> Deserialize<'de> for RoundedUp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimestampVisitor { round_up: true }).map(Self)
    }
}

struct TimestampVisitor {
    round_up: bool,
}

impl Visitor<'_> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RFC 3339 text or a whole number of epoch milliseconds")
    }

    fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Timestamp, E> {
        Ok(Timestamp(ms))
    }

    fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Timestamp, E> {
        i64::try_from(ms).map(Timestamp).map_err(|_| E::custom("too many milliseconds"))
    }

    fn visit_f64<E: de::Error>(self, ms: f64) -> Result<Timestamp, E> {
        // Lua, PHP and others write whole numbers as 1000.0; up to 2^53 that is exact.
        if ms.fract() == 0.0 && ms.abs() <= 9_007_199_254_740_992.0 {
            return Ok(Timestamp(ms as i64));
        }
        Err(E::invalid_type(de::Unexpected::Float(ms), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        if self.round_up { Timestamp::parse_rounding_up(text) } else { text.parse() }.map_err(E::custom)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "RFC 3339 text, or an integer of milliseconds since the Unix epoch.",
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "integer", "minimum": 0, "maximum": Timestamp::MAX_RFC3339.as_millis()},
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_millisecond_round_down_or_up_as_asked() {
        let text = "2026-01-01T00:00:00.0005Z";
        let down: Timestamp = text.parse().unwrap();
        assert_eq!(Timestamp::parse_rounding_up(text).unwrap().as_millis(), down.as_millis() + 1);
        let exact = "2026-01-01T00:00:00.001Z";
        assert_eq!(Timestamp::parse_rounding_up(exact).unwrap(), exact.parse().unwrap());
    }

    #[test]
    fn text_and_number_mean_the_same_moment() {
        let text: Timestamp = serde_json::from_str(r#""1970-01-01T01:00:01+01:00""#).unwrap();
        let number: Timestamp = serde_json::from_str("1000").unwrap();
        let float: Timestamp = serde_json::from_str("1000.0").unwrap();
        assert_eq!([text, float], [number, number]);
        assert_eq!(serde_json::to_string(&text).unwrap(), r#""1970-01-01T00:00:01.000Z""#);
    }

    #[test]
    fn junk_is_no_moment() {
        for junk in ["\"\"", "\"1000\"", "\"2026-01-01\"", "1.5", "true", "1e300", "[]"] {
            assert!(serde_json::from_str::<Timestamp>(junk).is_err(), "{junk}");
        }
    }
}
