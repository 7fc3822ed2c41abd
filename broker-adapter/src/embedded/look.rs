//! A look at a store from outside, without opening it: nothing is read, recovered or changed.

use super::file::{FILE, LOCK};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// What can be seen of a store from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The file.
    pub path: PathBuf,
    /// How large it is; `None` if it is not there yet.
    pub bytes: Option<u64>,
    /// Whether a process has it open.
    pub in_use: bool,
}

/// Looks at the store in `folder`.
///
/// # Errors
/// When the folder can't be looked into.
pub fn look(folder: &Path) -> io::Result<Look> {
    let path = folder.join(FILE);
    let bytes = found(fs::metadata(&path))?.map(|metadata| metadata.len());
    // A process that starts in this very moment could take this lock for another process. It lasts microseconds.
    let in_use = match found(File::open(folder.join(LOCK)))?.map(|lock| lock.try_lock_shared()) {
        None | Some(Ok(())) => false,
        Some(Err(TryLockError::WouldBlock)) => true,
        Some(Err(TryLockError::Error(error))) => return Err(error),
    };
    Ok(Look { path, bytes, in_use })
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(it) => Ok(Some(it)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
