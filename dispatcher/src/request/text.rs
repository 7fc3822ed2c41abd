//! Values of headers as text: numbers, moments, quoted ids.

use crate::wire::Timestamp;
use bytes::{BufMut, BytesMut};
use http::HeaderValue;
use std::borrow::Cow;

/// One buffer that all values of a request share, so that they take two allocations and not twenty.
pub(super) struct Values(BytesMut);

impl Values {
    pub(super) fn new() -> Self {
        Self(BytesMut::with_capacity(VALUES_BYTES))
    }

    /// What `write` writes; `None` if no header can hold that.
    pub(super) fn value(&mut self, write: impl FnOnce(&mut BytesMut)) -> Option<HeaderValue> {
        write(&mut self.0);
        HeaderValue::from_maybe_shared(self.0.split().freeze()).ok()
    }

    pub(super) fn copy(&mut self, text: &str) -> Option<HeaderValue> {
        self.value(|out| out.put_slice(text.as_bytes()))
    }

    pub(super) fn number(&mut self, n: i64) -> HeaderValue {
        /// What attempts are counted with, mostly.
        const SMALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        match usize::try_from(n).ok().and_then(|n| SMALL.get(n)) {
            Some(text) => HeaderValue::from_static(text),
            None => self.copy(Digits::default().write(n)).expect("digits can stand in a header"),
        }
    }
}

/// Room for the digits of one number.
#[derive(Default)]
pub(super) struct Digits([u8; 20]);

impl Digits {
    pub(super) fn write(&mut self, n: i64) -> &str {
        let (mut rest, mut at) = (n.unsigned_abs(), self.0.len());
        loop {
            at -= 1;
            self.0[at] = digit(rest % 10);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if n < 0 {
            at -= 1;
            self.0[at] = b'-';
        }
        std::str::from_utf8(&self.0[at..]).expect("ASCII digits")
    }
}

/// A task's id as it stands in `webhook-id`: the signed text is `id.timestamp.body`, so the id may hold no `.`, which
/// becomes `%2E`. So that no two ids look alike, `%` becomes `%25`. Any other character stays.
pub fn webhook_id(id: &str) -> Cow<'_, str> {
    if id.bytes().any(|b| matches!(b, b'.' | b'%')) {
        id.replace('%', "%25").replace('.', "%2E").into()
    } else {
        id.into()
    }
}

/// Whether an id stands in every header as it is, as almost all do. Looks at each character, without a branch for each.
pub(super) fn is_plain(id: &str) -> bool {
    !id.bytes().fold(false, |special, b| special | matches!(b, b'.' | b'%' | b'"' | b'\\'))
}

/// A structured string (RFC 9651, section 3.3.3). Ids are visible ASCII, which it can hold.
pub(super) fn put_quoted(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|b| matches!(b, b'"' | b'\\')) {
        out.put_slice(&rest[..at]);
        out.put_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
    out.put_u8(b'"');
}

/// Writes moments like `2026-11-23T22:30:00.123Z`, and keeps the text of the last: the next is mostly in the same second.
#[derive(Debug, Clone)]
pub(super) struct Dates {
    second: i64,
    text: [u8; 24],
}

impl Default for Dates {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000Z" }
    }
}

impl Dates {
    /// The moment's text. Moments outside of the years 0 to 9999 are held at the nearest of these.
    pub(super) fn text(&mut self, at: Timestamp) -> &[u8; 24] {
        /// 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z.
        const YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;
        let ms = at.as_millis().clamp(*YEARS.start(), *YEARS.end());
        let second = ms.div_euclid(1000);
        if second != self.second {
            self.second = second;
            self.write_second(second);
        }
        self.put(20..23, ms.rem_euclid(1000));
        &self.text
    }

    fn write_second(&mut self, second: i64) {
        let (days, of_day) = (second.div_euclid(86_400), second.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        self.put(0..4, year);
        self.put(5..7, month);
        self.put(8..10, day);
        self.put(11..13, of_day / 3600);
        self.put(14..16, of_day / 60 % 60);
        self.put(17..19, of_day % 60);
    }

    fn put(&mut self, place: std::ops::Range<usize>, value: i64) {
        let mut rest = value.unsigned_abs();
        for at in self.text[place].iter_mut().rev() {
            *at = digit(rest % 10);
            rest /= 10;
        }
    }
}

fn digit(n: u64) -> u8 {
    b'0' + u8::try_from(n).expect("a digit")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Bytes of a request's values in the common case: ids 3 x 40, times 4 x 24, trace 55, a signature 47, numbers.
const VALUES_BYTES: usize = 384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_moment_and_no_number_breaks_the_format() {
        let mut dates = Dates::default();
        for (ms, expect) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (-1000, "1969-12-31T23:59:59.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_709_164_800_999, "2024-02-29T00:00:00.999Z"),
            (1_709_164_801_000, "2024-02-29T00:00:01.000Z"),
            (-2_203_891_200_000, "1900-03-01T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(dates.text(Timestamp::from_millis(ms)), expect.as_bytes(), "{ms}");
        }
        for n in [0, 7, 9, -7, 10, i64::MIN, i64::MAX] {
            assert_eq!(Digits::default().write(n), n.to_string());
            assert_eq!(Values::new().number(n), n.to_string());
        }
    }

    #[test]
    fn an_id_is_plain_if_no_header_changes_it() {
        for plain in ["t-1", "0193a5e2-7c1b-7e10-9a55-000000000000", "a:b/c~"] {
            assert!(is_plain(plain), "{plain}");
        }
        for special in ["a.b", "a%b", "a\"b", "a\\b", "."] {
            assert!(!is_plain(special), "{special}");
        }
    }
}
