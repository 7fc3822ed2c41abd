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
    sync::Arc,
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

/// What the database lies on.
#[derive(Debug)]
pub(super) enum Medium {
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
        Ok(Self::Folder { path, _lock: lock })
    }

    /// Somebody's own storage, which `folder` is only a name for.
    pub(super) fn backend(folder: &Path, backend: impl StorageBackend) -> Self {
        Self::Backend { path: folder.join(FILE), backend: Arc::new(backend) }
    }

    /// Opens the database behind a shield, with every page checked: nothing is written before it is lowered.
    pub(super) fn open(&self) -> Result<(Disk, Arc<Shield>), OpenError> {
        let path = self.path();
        let failed = |source| OpenError::Io { path: path.to_path_buf(), source };
        let (backend, closes) = self.storage()?;
        let shield = Shield::new(backend, closes).map_err(failed)?;
        if matches!(self, Self::Folder { .. }) && Handle(shield.clone()).len().map_err(failed)? == 0 {
            return Err(OpenError::Damaged { path: path.to_path_buf(), detail: "it is empty".into() });
        }
        let disk = self.open_behind(shield.clone(), true)?;
        Ok((disk, shield))
    }

    /// Opens the database again, after a fault.
    pub(super) fn open_again(&self) -> Result<Disk, OpenError> {
        let (backend, closes) = self.storage()?;
        let failed = |source| OpenError::Io { path: self.path().to_path_buf(), source };
        let shield = Shield::new(backend, closes).map_err(failed)?;
        shield.lower().map_err(failed)?;
        self.open_behind(shield, false)
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
        match self {
            Self::Folder { path, .. } => {
                let failed = |source| OpenError::Io { path: path.clone(), source };
                let file = File::options().read(true).write(true).open(path).map_err(failed)?;
                let backend = FileBackend::new(file).map_err(|e| classify(path, e.into()))?;
                Ok((Arc::new(backend), true))
            }
            Self::Backend { backend, .. } => Ok((backend.clone(), false)),
        }
    }

    /// Keeps room that is to be had when there is no other, if it is not kept already.
    pub(super) fn reserve(&self) -> io::Result<()> {
        let Self::Folder { path, .. } = self else { return Ok(()) };
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
        if let Self::Folder { path, .. } = self {
            let _ = fs::remove_file(path.with_file_name(RESERVE));
        }
    }

    /// The file, for people.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Folder { path, .. } | Self::Backend { path, .. } => path,
        }
    }

    /// How large the file is, in bytes.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        match self {
            Self::Folder { path, .. } => fs::metadata(path).map(|metadata| metadata.len()),
            Self::Backend { backend, .. } => backend.len(),
        }
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        if let Self::Backend { backend, .. } = self {
            let _ = backend.close();
        }
    }
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
    maker.create(folder)?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => sync_folder(Path::new(".")),
    }
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
