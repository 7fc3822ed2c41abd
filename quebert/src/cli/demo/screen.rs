//! The terminal: an alternate screen without cursor, given back as it was in the end. It knows nothing of what it shows.

use super::view::Size;
use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
};
use terminal_size::{Height, Width, terminal_size};

/// Whether standard output is a terminal that can be drawn on.
pub(in super::super) fn possible() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Shows one picture after the other. What was on the terminal before comes back when this is dropped.
pub(in super::super) struct Screen {
    color: bool,
}

impl Screen {
    pub(in super::super) fn open() -> io::Result<Self> {
        let mut out = io::stdout();
        write!(out, "\x1b[?1049h\x1b[?25l")?;
        out.flush()?;
        // https://no-color.org: present and not empty.
        Ok(Self { color: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) })
    }

    /// Whether to use colors.
    pub(in super::super) fn color(&self) -> bool {
        self.color
    }

    /// As it is now; it may have changed since the last picture.
    pub(in super::super) fn size(&self) -> Size {
        let (columns, rows) = terminal_size().map_or((80, 24), |(Width(columns), Height(rows))| (columns, rows));
        Size { columns: columns.into(), rows: rows.into() }
    }

    /// Writes over the picture before, line by line, so that nothing flickers.
    pub(in super::super) fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let text = format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\n"));
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout();
        // A terminal that is gone needs nothing back.
        drop(write!(out, "\x1b[?25h\x1b[?1049l").and_then(|()| out.flush()));
    }
}
