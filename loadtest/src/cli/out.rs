//! Where the program writes: what was asked for to standard output, what happens to standard error.

use std::io::{self, Write as _};

/// A line of what was asked for.
pub(super) fn print(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// A line about what happens. If nobody reads it, that is no reason to end.
pub(super) fn tell(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}
