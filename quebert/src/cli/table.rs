//! Output for people (tables) and for programs (one JSON object a line). It knows nothing of what it prints.

use std::io::{self, Write};

/// Writes rows under a head, in columns as wide as what stands in them.
pub(super) fn table(out: &mut impl Write, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (i, (cell, width)) in cells.zip(&widths).enumerate() {
            if i > 0 {
                text.push_str("  ");
            }
            text.push_str(&format!("{cell:<width$}"));
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(&mut head.iter().copied())?;
    for row in rows {
        line(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// Text of strangers, safe for a terminal: control characters are shown, not obeyed.
pub(super) fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        table(&mut out, &["lane", "n"], &[vec!["high".into(), "1".into()], vec!["l".into(), "22".into()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "lane  n\nhigh  1\nl     22\n");
    }

    #[test]
    fn escape_sequences_are_shown_not_obeyed() {
        assert_eq!(plain("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}
