//! A temporary folder of one's own. It is gone when its guard is; a process that is killed leaves it behind.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// Removes the folder, with all that is in it, when it is dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new folder that only this user can enter.
    pub(super) fn new() -> io::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("quebert-demo-{}-{:08x}", std::process::id(), rand::random::<u32>()));
        // Not `create_dir_all`: a folder that somebody else has put there is an error.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed lies in a temporary folder, where the system cleans up.
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_guard() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
