//! Output: what was found goes to standard output, signs of life go to standard error. It formats nothing but numbers.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

/// A line to standard output.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")
}

/// A line to standard error. If that is closed there is nobody to tell.
pub(super) fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text into a file, or to standard output where the path is `-`. Makes the folder if it is missing.
pub(super) fn write(path: &Path, text: &str) -> Result<(), super::Error> {
    if path == Path::new("-") {
        return Ok(io::stdout().lock().write_all(text.as_bytes())?);
    }
    let failed = |error| super::Error::Write(path.to_owned(), error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}

/// What does not fit into memory, as [`write`].
pub(super) fn stream(
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Result<(), super::Error> {
    if path == Path::new("-") {
        return Ok(write(&mut io::stdout().lock())?);
    }
    let failed = |error| super::Error::Write(path.to_owned(), error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = io::BufWriter::new(File::create(path).map_err(failed)?);
    write(&mut file).and_then(|()| file.flush()).map_err(failed)
}

/// What was written where, for people.
pub(super) fn wrote(what: &str, path: &Path) {
    if path != Path::new("-") {
        tell(&format!("{what}: {}", path.display()));
    }
}

/// Whether a path is standard output: what else there is to say goes to standard error then.
pub(super) fn is_stdout(path: Option<&PathBuf>) -> bool {
    path.is_some_and(|path| path.as_path() == Path::new("-"))
}

/// One line on a terminal that is written over and over; nothing where standard error is none.
pub(super) struct Progress {
    terminal: bool,
    width: usize,
}

impl Progress {
    /// Not shown yet.
    pub(super) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), width: 0 }
    }

    /// Whether anybody sees it.
    pub(super) const fn is_shown(&self) -> bool {
        self.terminal
    }

    /// Shows this instead of what is there.
    pub(super) fn show(&mut self, text: &str) {
        if self.terminal {
            let width = self.width;
            let _ = write!(io::stderr().lock(), "\r{text:<width$}");
            self.width = text.chars().count();
        }
    }

    /// Takes it away.
    pub(super) fn clear(&mut self) {
        self.show("");
        if self.terminal {
            let _ = write!(io::stderr().lock(), "\r");
        }
    }
}
