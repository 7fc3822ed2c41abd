//! How figures are written on a page. What is not finite has no figure.

use crate::quantity::Span;
use std::time::Duration;

/// Microseconds as a duration, such as `12.3 ms`.
pub(in crate::report) fn span(us: f64) -> String {
    Duration::try_from_secs_f64(us / 1e6).map_or("–".to_owned(), |span| Span(span).to_string())
}

/// The name of a tick of a logarithmic axis of microseconds: `1 ms`, `20 ms`.
pub(super) fn tick(us: f64) -> String {
    match us {
        us if us < 999.0 => format!("{us:.0} us"),
        us if us < 999_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.0} s", us / 1e6),
    }
}

/// A number with three digits, and `k`, `M` or `G` from ten thousand.
pub(in crate::report) fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "–".to_owned(),
        _ if size >= 1e10 => format!("{:.0}G", value / 1e9),
        _ if size >= 1e7 => format!("{:.1}M", value / 1e6),
        _ if size >= 1e4 => format!("{:.1}k", value / 1e3),
        _ if size >= 100.0 || value == value.round() => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A whole number with spaces between thousands.
pub(super) fn whole(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            // A narrow space that doesn't break.
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.0} %", share * 100.0) } else { "–".to_owned() }
}

/// Bytes in MiB.
pub(super) fn mib(bytes: f64) -> String {
    format!("{} MiB", short((bytes / 1_048_576.0 * 10.0).round() / 10.0))
}

/// A moment since the Unix epoch.
pub(super) fn moment(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    // The last second that the format can write: the end of the year 9999.
    let since = since.min(Duration::from_secs(253_402_300_799));
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([0.0, 0.25, 12.34, 730.4, 12_345.0, 3e7].map(short), ["0", "0.25", "12.3", "730", "12.3k", "30.0M"]);
        assert_eq!([200.0, 1e3, 2e4, 5e6].map(tick), ["200 us", "1 ms", "20 ms", "5 s"]);
        assert_eq!((whole(1_234_567), whole(12)), ("1\u{202f}234\u{202f}567".into(), "12".into()));
        assert_eq!(moment(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn what_is_not_finite_has_no_figure() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!((span(value), short(value), percent(value)), ("–".into(), "–".into(), "–".into()));
        }
        assert_eq!((moment(i64::MIN), moment(i64::MAX).contains("9999")), (moment(0), true));
    }
}
