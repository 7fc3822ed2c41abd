//! Arrivals that were recorded: a CSV file with a time in seconds, and optionally a queue and a body size, in each line.
//! The times are kept as they are, counted from the first one.

use crate::quantity::Unclear;
use std::{path::Path, sync::Arc, time::Duration};

/// The most lines of a file.
const ROWS_MAX: usize = 10_000_000;

/// One line of a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// From the start of the phase.
    pub at: Duration,
    /// The queue, if the file says one that the mix has.
    pub queue: Option<Arc<str>>,
    /// Bytes of the body, if the file says so.
    pub size: Option<u32>,
}

/// Rows, and how long they last.
pub(super) fn read(path: &Path) -> Result<(Arc<[Row]>, Duration), Unclear> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path);
    parse(&text.map_err(|e| Unclear::new(format!("a file that can be read ({e})"), shown))?)
}

/// `time[,queue[,size]]`; lines that begin with `#`, and a first line of names, are left out.
fn parse(text: &str) -> Result<(Arc<[Row]>, Duration), Unclear> {
    let mut rows = Vec::<Row>::new();
    let mut first = None;
    let mut names = std::collections::BTreeSet::<Arc<str>>::new();
    for (line, n) in text.lines().map(str::trim).zip(1..) {
        let mut fields = line.split(',').map(str::trim);
        let time = fields.next().unwrap_or_default();
        if line.is_empty() || line.starts_with('#') || (n == 1 && time.starts_with(|c: char| c.is_alphabetic())) {
            continue;
        }
        let wrong = |what: &str, at: &str| Unclear::new(format!("line {n}: {what}"), at);
        let seconds = time.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0);
        let seconds = seconds.ok_or_else(|| wrong("a time in seconds", time))?;
        let from_first = seconds - *first.get_or_insert(seconds);
        let at = Duration::try_from_secs_f64(from_first).map_err(|_| wrong("times that don't fall", time))?;
        if rows.last().is_some_and(|row| row.at > at) {
            return Err(wrong("times that don't fall", time));
        }
        let queue = fields.next().filter(|queue| !queue.is_empty()).map(|queue| match names.get(queue) {
            Some(known) => known.clone(),
            None => {
                let name = Arc::<str>::from(queue);
                names.insert(name.clone());
                name
            }
        });
        let size = fields.next().filter(|size| !size.is_empty());
        let size = size.map(|size| size.parse().map_err(|_| wrong("a size in bytes", size))).transpose()?;
        if rows.len() == ROWS_MAX {
            return Err(wrong(&format!("at most {ROWS_MAX} lines"), time));
        }
        rows.push(Row { at, queue, size });
    }
    // The last one lies within the phase, too.
    let length = rows.last().map(|row| row.at + Duration::from_millis(1));
    let length = length.ok_or_else(|| Unclear::new("a file with at least one time", ""))?;
    Ok((rows.into(), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_the_first_line() {
        let (rows, length) = parse("time,queue,size\n10.5\n10.75,high\n# a note\n11,,4096\n").unwrap();
        let row =
            |ms, queue: Option<&str>, size| Row { at: Duration::from_millis(ms), queue: queue.map(Arc::from), size };
        assert_eq!(&*rows, [row(0, None, None), row(250, Some("high"), None), row(500, None, Some(4096))]);
        assert_eq!(length, Duration::from_millis(501));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert_eq!(parse("1\n0.5\n").unwrap_err().to_string(), "line 2: times that don't fall, at \"0.5\"");
        assert_eq!(parse("1\nx\n").unwrap_err().to_string(), "line 2: a time in seconds, at \"x\"");
        assert!(parse("").is_err() && parse("1,a,b\n").is_err());
    }
}
