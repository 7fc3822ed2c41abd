//! Where the program writes: what was asked for to standard output, what happens to standard error.

use super::Error;
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

/// A line of what was asked for.
pub(super) fn print(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// A line about what happens. If nobody reads it, that is no reason to end.
pub(super) fn tell(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Something on the terminal, as it is.
pub(super) fn draw(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

/// A file that was asked for; `-` is standard output.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let text = text.trim_end();
    if path.as_os_str() == "-" {
        return print(text).map_err(Error::Output);
    }
    fs::write(path, format!("{text}\n")).map_err(|e| Error::Write(path.to_owned(), e))
}
