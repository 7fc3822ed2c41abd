//! The folder and its file: made so that a crash leaves nothing half-made, locked against others, opened with every page
//! checked. It knows nothing of what is in it.

use super::{
    OpenError,
    disk::{Disk, Fault},
    shield::{Handle, Shield},
};
use redb::{Builder, Database, StorageBackend, backends::FileBackend};
use std::{
    fs::{self, File, TryLockError},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The file's name.
pub(super) const FILE: &str = "quebert.redb";
/// What it is called until it is made.
const UNFINISHED: &str = "quebert.redb.new";
/// Whoever holds a lock on this uses the folder.
pub(super) const LOCK: &str = "quebert.lock";
/// It holds nothing but room, for settling tasks on a disk that is full otherwise.
const RESERVE: &str = "quebert.reserve";
/// Its size. Pages of settled tasks are used again, so that some are enough.
const RESERVE_BYTES: usize = 4 << 20;
/// Memory for pages of the file. The waiting messages have a cache of their own.
const PAGE_CACHE_BYTES: usize = 32 << 20;
/// What is read and written back at once after a failed sync.
const WRITTEN_AT_ONCE: usize = 1 << 20;

/// What the database lies on.
#[derive(Debug)]
pub(super) struct Medium {
    place: Place,
    /// A sync has failed, and not all has been written again since.
    unsynced: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Place {
    /// A folder, locked.
    Folder {
        /// The file.
        path: PathBuf,
        /// Held as long as the store is open.
        _lock: File,
    },
    /// Somebody's own storage.
    Backend {
        /// What to call it.
        path: PathBuf,
        /// It.
        backend: Arc<dyn StorageBackend>,
    },
}

impl Medium {
    /// Makes the folder and the file if they are not there, and locks them.
    pub(super) fn folder(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        let failed = |source| OpenError::Io { path: path.clone(), source };
        make_folder(folder).map_err(failed)?;
        let lock = private().create(true).truncate(false).open(folder.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        if !path.try_exists().map_err(failed)? {
            make_file(folder, &path)?;
        }
        Ok(Self::new(Place::Folder { path, _lock: lock }))
    }

    /// Somebody's own storage, which `folder` is only a name for.
    pub(super) fn backend(folder: &Path, backend: impl StorageBackend) -> Self {
        Self::new(Place::Backend { path: folder.join(FILE), backend: Arc::new(backend) })
    }

    fn new(place: Place) -> Self {
        Self { place, unsynced: Arc::default() }
    }

    /// Opens the database behind a shield, with every page checked: nothing is written before it is lowered.
    pub(super) fn open(&self) -> Result<(Disk, Arc<Shield>), OpenError> {
        let path = self.path();
        let failed = |source| OpenError::Io { path: path.to_path_buf(), source };
        let (backend, closes) = self.storage()?;
        let shield = Shield::new(backend, closes, self.unsynced.clone()).map_err(failed)?;
        if matches!(self.place, Place::Folder { .. }) && Handle(shield.clone()).len().map_err(failed)? == 0 {
            return Err(OpenError::Damaged { path: path.to_path_buf(), detail: "it is empty".into() });
        }
        let disk = self.open_behind(shield.clone(), true)?;
        Ok((disk, shield))
    }

    /// Opens the database again, after a fault. It must hold the transaction `confirmed` at least.
    pub(super) fn open_again(&self, confirmed: u64) -> Result<Disk, OpenError> {
        let path = self.path();
        let damaged = |detail: String| OpenError::Damaged { path: path.to_path_buf(), detail };
        let failed = |source| OpenError::Io { path: path.to_path_buf(), source };
        let (backend, closes) = self.storage()?;
        if backend.len().map_err(failed)? == 0 {
            // The database would make a new one of it.
            return Err(damaged("it is empty".into()));
        }
        let in_doubt = self.unsynced.load(Ordering::Acquire);
        if in_doubt {
            write_again(&*backend).map_err(failed)?;
            self.unsynced.store(false, Ordering::Release);
        }
        let shield = Shield::new(backend, closes, self.unsynced.clone()).map_err(failed)?;
        shield.lower().map_err(failed)?;
        // What was never written may have been read from the disk again, older than its surroundings.
        let disk = self.open_behind(shield, in_doubt)?;
        if disk.number() < confirmed {
            return Err(damaged(format!("it ends at transaction {}, and {confirmed} was confirmed", disk.number())));
        }
        Ok(disk)
    }

    fn open_behind(&self, shield: Arc<Shield>, check: bool) -> Result<Disk, OpenError> {
        let path = self.path();
        // Damage is told by errors as far as the database sees it coming.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = builder().set_check_integrity_on_open(check).create_with_backend(Handle(shield));
            database.map_err(Fault::from).and_then(Disk::new)
        }));
        match opened {
            Ok(disk) => disk.map_err(|fault| classify(path, fault)),
            Err(_) => Err(OpenError::Damaged { path: path.into(), detail: "the database gave up on it".into() }),
        }
    }

    /// What to open the database on, and whether that is to be closed with it.
    fn storage(&self) -> Result<(Arc<dyn StorageBackend>, bool), OpenError> {
        match &self.place {
            Place::Folder { path, .. } => {
                let failed = |source| OpenError::Io { path: path.clone(), source };
                let file = File::options().read(true).write(true).open(path).map_err(failed)?;
                let backend = FileBackend::new(file).map_err(|e| classify(path, e.into()))?;
                Ok((Arc::new(backend), true))
            }
            Place::Backend { backend, .. } => Ok((backend.clone(), false)),
        }
    }

    /// Keeps room that is to be had when there is no other, if it is not kept already.
    pub(super) fn reserve(&self) -> io::Result<()> {
        let Place::Folder { path, .. } = &self.place else { return Ok(()) };
        let reserve = path.with_file_name(RESERVE);
        if fs::metadata(&reserve).is_ok_and(|metadata| metadata.len() == RESERVE_BYTES as u64) {
            return Ok(());
        }
        // Synced, since only then a file system is sure to have found the room.
        let mut file = private().create(true).truncate(true).open(&reserve)?;
        io::Write::write_all(&mut file, &vec![b'.'; RESERVE_BYTES])
            .and_then(|()| file.sync_all())
            .inspect_err(|_| self.release_reserve())
    }

    /// Gives that room back.
    pub(super) fn release_reserve(&self) {
        if let Place::Folder { path, .. } = &self.place {
            let _ = fs::remove_file(path.with_file_name(RESERVE));
        }
    }

    /// The file, for people.
    pub(super) fn path(&self) -> &Path {
        match &self.place {
            Place::Folder { path, .. } | Place::Backend { path, .. } => path,
        }
    }

    /// How large the file is, in bytes.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        match &self.place {
            Place::Folder { path, .. } => fs::metadata(path).map(|metadata| metadata.len()),
            Place::Backend { backend, .. } => backend.len(),
        }
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        if let Place::Backend { backend, .. } = &self.place {
            let _ = backend.close();
        }
    }
}

/// Writes everything as it is read, and syncs. After a failed sync the system may take its pages for written: they are read
/// back, the next sync says nothing of them, and they are gone with the power.
fn write_again(backend: &dyn StorageBackend) -> io::Result<()> {
    let length = backend.len()?;
    let mut block = vec![0; WRITTEN_AT_ONCE];
    let mut at = 0;
    while at < length {
        let bytes = usize::try_from(length - at).unwrap_or(usize::MAX).min(WRITTEN_AT_ONCE);
        backend.read(at, &mut block[..bytes])?;
        backend.write(at, &block[..bytes])?;
        at += bytes as u64;
    }
    backend.sync_data()
}

/// What an error means to whoever opens the store.
pub(super) fn classify(path: &Path, fault: Fault) -> OpenError {
    let path = path.to_path_buf();
    let fault = match fault {
        Fault::Database(error) => *error,
        other => return OpenError::Damaged { path, detail: other.to_string() },
    };
    match fault {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse { path },
        redb::Error::Io(source)
            if !matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            OpenError::Io { path, source }
        }
        other => OpenError::Damaged { path, detail: other.to_string() },
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(PAGE_CACHE_BYTES);
    builder
}

fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut maker = fs::DirBuilder::new();
    maker.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut maker, 0o700);
    let new = missing(folder);
    maker.create(folder)?;
    // Each new name lies in the folder around it.
    for folder in new {
        match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent)?,
            _ => sync_folder(Path::new("."))?,
        }
    }
    Ok(())
}

/// The folder and those around it, as far as they are not there; the innermost first.
fn missing(folder: &Path) -> Vec<&Path> {
    let around = folder.ancestors().filter(|folder| !folder.as_os_str().is_empty());
    around.take_while(|folder| !folder.is_dir()).collect()
}

/// Makes the file under another name first: what bears its name is whole.
fn make_file(folder: &Path, path: &Path) -> Result<(), OpenError> {
    let unfinished = folder.join(UNFINISHED);
    let failed = |source| OpenError::Io { path: path.to_path_buf(), source };
    match fs::remove_file(&unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    private().create_new(true).open(&unfinished).map_err(failed)?;
    let database = builder().create(&unfinished).map_err(|e| classify(path, e.into()))?;
    Disk::new(database).and_then(Disk::close).map_err(|e| classify(path, e))?;
    File::open(&unfinished).and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    sync_folder(folder).map_err(failed)
}

/// Tasks may hold secrets: files are their owner's only.
fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    // Other systems can't open a folder; they need no such thing either.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_that_is_made_is_known_for_its_parent_to_be_synced() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let new = here.join("no").join("such").join("folder");
        assert_eq!(missing(&new), [&*new, &here.join("no").join("such"), &here.join("no")]);
        assert!(missing(here).is_empty());
        assert_eq!(missing(Path::new("no-such/folder")), [Path::new("no-such/folder"), Path::new("no-such")]);
    }
}
