//! Quantities as people type them: durations (`250ms`, `1m30s`), rates (`500/s`), sizes (`4KiB`), shares (`3%`), counts.
//! Signs, and units that nobody asked for, are refused.

use std::{fmt, time::Duration};

/// What is wrong with a text, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at {at:?}")]
pub struct Unclear {
    /// What was expected.
    pub what: String,
    /// The part that was found instead.
    pub at: String,
}

impl Unclear {
    pub(crate) fn new(what: impl Into<String>, at: impl Into<String>) -> Self {
        Self { what: what.into(), at: at.into() }
    }
}

/// A duration: one or more numbers, each with `us`, `ms`, `s`, `m`, `h` or `d`. At most 400 days.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<Duration, Unclear> {
    let seconds = sum(text, "a duration such as 250ms, 30s or 1m30s", |unit| {
        Some(match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        })
    })?;
    if seconds > 400.0 * 86_400.0 {
        return Err(Unclear::new("at most 400 days", text));
    }
    Ok(Duration::from_nanos((seconds * 1e9).round() as u64))
}

/// A rate: a number with `/s`, `/m` or `/h`, in events a second.
///
/// # Errors
/// When it is none.
pub fn rate(text: &str) -> Result<f64, Unclear> {
    let wanted = || Unclear::new("a rate such as 500/s or 30/m", text);
    let (figure, unit) = text.split_once('/').ok_or_else(wanted)?;
    let per = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wanted()),
    };
    Ok(number(figure).map_err(|_| wanted())? / per)
}

/// Bytes: a number, or numbers with `B`, `KB`, `MB`, `KiB`, `MiB`, `GiB`.
///
/// # Errors
/// When it is none.
pub fn bytes(text: &str) -> Result<f64, Unclear> {
    if let Ok(plain) = number(text) {
        return Ok(plain);
    }
    sum(text, "a size such as 300, 4KiB or 1MB", |unit| {
        Some(match unit {
            "B" => 1.0,
            "KB" | "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "KiB" => 1024.0,
            "MiB" => 1_048_576.0,
            "GiB" => 1_073_741_824.0,
            _ => return None,
        })
    })
}

/// A share: `3%`, or a number from 0 to 1.
///
/// # Errors
/// When it is none.
pub fn share(text: &str) -> Result<f64, Unclear> {
    let wanted = || Unclear::new("a share such as 3% or 0.03, at most 100%", text);
    let value = match text.strip_suffix('%') {
        Some(percent) => number(percent).map_err(|_| wanted())? / 100.0,
        None => number(text).map_err(|_| wanted())?,
    };
    if value > 1.0 { Err(wanted()) } else { Ok(value) }
}

/// A whole number, with `k` or `M` for thousands and millions.
///
/// # Errors
/// When it is none.
pub fn count(text: &str) -> Result<u64, Unclear> {
    let wanted = || Unclear::new("a whole number such as 64, 10k or 2M", text);
    let (digits, times) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number = digits.replace('_', "").parse::<u64>().map_err(|_| wanted())?;
    number.checked_mul(times).ok_or_else(wanted)
}

/// A number that is not negative.
///
/// # Errors
/// When it is none.
pub fn number(text: &str) -> Result<f64, Unclear> {
    let wanted = || Unclear::new("a number such as 4 or 0.5", text);
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'_');
    if text.is_empty() || !text.bytes().all(plain) {
        return Err(wanted());
    }
    text.replace('_', "").parse().map_err(|_| wanted())
}

fn sum(text: &str, wanted: &str, unit_of: impl Fn(&str) -> Option<f64>) -> Result<f64, Unclear> {
    let expected = || Unclear::new(wanted, text);
    let mut rest = text;
    let mut total = 0.0;
    if rest.is_empty() {
        return Err(expected());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(expected)?;
        let (figure, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        total += number(figure).map_err(|_| expected())? * unit_of(unit).ok_or_else(expected)?;
        rest = tail;
    }
    Ok(total)
}

/// A duration for people: `1.40 s`, `12.3 ms`, `85 us`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0.as_secs_f64();
        let text = match s {
            s if s >= 100.0 => format!("{s:.0} s"),
            s if s >= 1.0 => format!("{s:.2} s"),
            s if s >= 0.1 => format!("{:.0} ms", s * 1e3),
            s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
            s => format!("{:.0} us", s * 1e6),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_read() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0.5ms"), Ok(Duration::from_micros(500)));
        assert_eq!(rate("30/m"), Ok(0.5));
        assert_eq!(bytes("4KiB"), Ok(4096.0));
        assert_eq!((bytes("300"), share("3%"), count("10k")), (Ok(300.0), Ok(0.03), Ok(10_000)));
    }

    #[test]
    fn what_is_unclear_is_refused_with_its_text() {
        for text in ["", "5", "s", "5x", "-5s", "5s3", "500d"] {
            assert_eq!(duration(text).map_err(|e| e.at), Err(text.to_owned()));
        }
        assert_eq!(rate("5").unwrap_err().to_string(), "a rate such as 500/s or 30/m, at \"5\"");
        assert!(share("101%").is_err() && share("-1%").is_err() && count("1.5").is_err() && number("1e9").is_err());
    }

    #[test]
    fn spans_are_told_with_three_digits() {
        let told = |us| Span(Duration::from_micros(us)).to_string();
        assert_eq!([told(85), told(12_340), told(250_000), told(1_400_000)], ["85 us", "12.3 ms", "250 ms", "1.40 s"]);
    }
}
