//! Output for people (tables) and for programs (one JSON object a line). It knows nothing of what it prints, and uses no
//! colours.

use std::{
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

/// What a column that is cut keeps at least.
const CUT_CHARS_MIN: usize = 12;

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    /// Text, to the left.
    Left,
    /// Numbers, to the right.
    Right,
    /// Text that may be cut where the terminal is too narrow.
    Cut,
}

/// A column's head, and how it is set.
pub(super) type Column = (&'static str, Set);

/// Writes rows under a head, in columns as wide as what stands in them; on a terminal at most as wide as that.
pub(super) fn table(out: &mut impl Write, columns: &[Column], rows: &[Vec<String>]) -> io::Result<()> {
    table_within(out, columns, rows, terminal_width())
}

pub(super) fn table_within(
    out: &mut impl Write,
    columns: &[Column],
    rows: &[Vec<String>],
    width_max: Option<usize>,
) -> io::Result<()> {
    let mut widths: Vec<usize> = columns.iter().map(|(head, _)| head.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if let Some(width_max) = width_max {
        fit(&mut widths, columns, width_max);
    }
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (i, ((cell, width), (_, set))) in cells.zip(&widths).zip(columns).enumerate() {
            if i > 0 {
                text.push_str("  ");
            }
            match set {
                Set::Left => text.push_str(&format!("{cell:<width$}")),
                Set::Right => text.push_str(&format!("{cell:>width$}")),
                Set::Cut => text.push_str(&format!("{:<width$}", cut(cell, *width))),
            }
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(&mut columns.iter().map(|(head, _)| *head))?;
    for row in rows {
        line(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// Narrows the columns that may be cut, the widest first.
fn fit(widths: &mut [usize], columns: &[Column], width_max: usize) {
    let whole = |widths: &[usize]| widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    while whole(widths) > width_max {
        let may = |i: &usize| columns[*i].1 == Set::Cut && widths[*i] > CUT_CHARS_MIN;
        let Some(widest) = (0..widths.len()).filter(may).max_by_key(|i| widths[*i]) else { return };
        widths[widest] -= 1;
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// How wide the terminal is, if standard output is one.
pub(super) fn terminal_width() -> Option<usize> {
    let width = io::stdout().is_terminal().then(terminal_size::terminal_size)??;
    Some(usize::from(width.0.0))
}

/// One JSON object on a line.
pub(super) fn json_line(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Prints a value as JSON on a line, or as `people` say it.
pub(super) fn print<T: serde::Serialize>(
    json: bool,
    value: &T,
    people: impl FnOnce(&mut io::StdoutLock<'static>, &T) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json { json_line(&mut out, value) } else { people(&mut out, value) }
}

/// A number, or a dash where it is not known.
pub(super) fn number(n: Option<u64>) -> String {
    n.map_or_else(|| "-".to_owned(), |n| n.to_string())
}

/// A text of strangers, or a dash where there is none.
pub(super) fn text(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), plain)
}

/// A duration as people say it, in its two largest units: `3m20s`, `2d4h`.
pub(super) fn age(age: Duration) -> String {
    let ms = age.as_millis();
    let seconds = ms / 1000;
    let two = |large: u128, unit: &str, small: u128, next: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{next}") }
    };
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// Text of strangers, safe for a terminal: control characters, and those that turn the direction of text or hide it, are
/// shown, not obeyed.
pub(super) fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if is_unseen(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The same for text of several lines, which stay.
pub(super) fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    const COLUMNS: [Column; 3] = [("LANE", Set::Left), ("N", Set::Right), ("URL", Set::Cut)];

    fn printed(width_max: Option<usize>) -> String {
        let row = |lane: &str, n: &str, url: &str| vec![lane.to_owned(), n.to_owned(), url.to_owned()];
        let rows = [row("high", "1", "http://host/a/long/path"), row("l", "22", "-")];
        let mut out = Vec::new();
        table_within(&mut out, &COLUMNS, &rows, width_max).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        assert_snapshot!(printed(None), @r"
        LANE   N  URL
        high   1  http://host/a/long/path
        l     22  -
        ");
    }

    #[test]
    fn a_narrow_terminal_cuts_what_may_be_cut() {
        assert_snapshot!(printed(Some(24)), @r"
        LANE   N  URL
        high   1  http://host/a…
        l     22  -
        ");
        assert_eq!(printed(Some(1)).lines().nth(1), Some("high   1  http://host…"), "something stays");
    }

    #[test]
    fn escape_sequences_are_shown_not_obeyed() {
        assert_eq!(plain("a\x1b[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\\n\\u{202e}c");
        assert_eq!(plain("é 漢"), "é 漢");
        assert_eq!(plain_lines("a\nb\r"), "a\nb\\r");
    }

    #[test]
    fn ages_are_said_in_their_two_largest_units() {
        let said = |s: f64| age(Duration::from_secs_f64(s));
        let ages = [0.0, 0.25, 1.9, 59.0, 60.0, 200.0, 3600.0, 3_725.0, 86_399.0, 86_400.0, 187_200.0];
        assert_eq!(ages.map(said), ["0ms", "250ms", "1s", "59s", "1m", "3m20s", "1h", "1h2m", "23h59m", "1d", "2d4h"]);
    }
}
