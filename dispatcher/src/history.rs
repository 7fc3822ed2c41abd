//! What came of a task's last attempts, as one line each in the header `quebert-history`: written when an attempt has
//! failed, read by whoever shows a task or a dead letter. It decides nothing; attempts are counted elsewhere.
//!
//! A line is the attempt's number, when it ended (epoch milliseconds), what came of it (a status, or a failure's label),
//! and how long it took: `3 1795424400000 503 12ms`. The newest is last.

use quebert_wire::Timestamp;
use std::{fmt, time::Duration};

/// So many are kept.
pub const KEPT: usize = 10;

/// One attempt of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Counted from 1.
    pub number: u32,
    /// When it ended.
    pub at: Timestamp,
    /// A status such as `503`, or a [label](crate::outcome::FailureKind::label) such as `timeout`.
    pub outcome: String,
    /// How long it took.
    pub duration: Duration,
}

impl fmt::Display for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, took) = (self.at.as_millis(), self.duration.as_millis());
        write!(f, "{} {at} {} {took}ms", self.number, self.outcome)
    }
}

/// Reads the header, newest last. What is no line of ours is left out, and of more than [`KEPT`] only the last count:
/// whoever can publish can write anything there.
///
/// ```
/// use quebert_dispatcher::history;
///
/// let past = history::parse("1 1795424400000 503 12ms\n2 1795424402000 timeout 30000ms");
/// assert_eq!(past[1].outcome, "timeout");
/// assert_eq!(past[1].duration.as_secs(), 30);
/// ```
pub fn parse(header: &str) -> Vec<Past> {
    let mut past: Vec<Past> = header.lines().rev().filter_map(parse_line).take(KEPT).collect();
    past.reverse();
    past
}

/// The header with one more attempt, the oldest beyond [`KEPT`] left out.
pub(crate) fn push(header: &str, past: &Past) -> String {
    let line = past.to_string();
    let before: Vec<&str> = header.lines().filter(|line| !line.is_empty()).collect();
    let first = (before.len() + 1).saturating_sub(KEPT);
    let mut lines = before[first.min(before.len())..].to_vec();
    lines.push(&line);
    lines.join("\n")
}

fn parse_line(line: &str) -> Option<Past> {
    let mut words = line.split(' ');
    let past = Past {
        number: words.next()?.parse().ok()?,
        at: Timestamp::from_millis(words.next()?.parse().ok()?),
        outcome: words.next().filter(|word| !word.is_empty())?.to_owned(),
        duration: Duration::from_millis(words.next()?.strip_suffix("ms")?.parse().ok()?),
    };
    words.next().is_none().then_some(past)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(number: u32, outcome: &str) -> Past {
        let at = Timestamp::from_millis(1_795_424_400_000 + i64::from(number));
        Past { number, at, outcome: outcome.to_owned(), duration: Duration::from_millis(12) }
    }

    #[test]
    fn what_is_written_is_read_and_only_the_last_ten() {
        let mut header = String::new();
        for number in 1..=12 {
            header = push(&header, &past(number, if number % 2 == 0 { "503" } else { "timeout" }));
        }
        let read = parse(&header);
        assert_eq!(read.len(), KEPT);
        assert_eq!(read.first(), Some(&past(3, "timeout")));
        assert_eq!(read.last(), Some(&past(12, "503")));
        assert_eq!(header.lines().count(), KEPT);
    }

    #[test]
    fn what_is_no_line_of_ours_is_left_out() {
        for junk in
            ["", "1 500", "x 1 500 1ms", "1 x 500 1ms", "1 1 500 1s", "1 1  1ms", "1 1 500 1ms more", "-1 1 2 3ms"]
        {
            assert_eq!(parse(junk), [], "{junk:?}");
        }
        let mixed = format!("junk\n{}\n\nmore junk", past(1, "500"));
        assert_eq!(parse(&mixed), [past(1, "500")]);
    }
}
