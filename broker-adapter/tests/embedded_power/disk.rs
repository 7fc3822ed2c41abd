//! A disk in memory that loses power: what was synced stays, of what was written since then any part may.
//!
//! It has no order between unsynced writes and no blocks larger than a sector, so it is worse than real disks with a real
//! file system. Reads never fail before the power does, and never return other bytes than were written.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use redb::StorageBackend;
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;
/// What a file system gives out room in.
const BLOCK: usize = 4096;

/// A disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<Platter>>);

struct Platter {
    /// What is there after a loss of power, whatever happens.
    synced: Vec<u8>,
    /// What is read.
    current: Vec<u8>,
    unsynced: Vec<Write>,
    operations: u64,
    /// The power goes at this operation, which fails, as do all later ones.
    dies_at: u64,
    /// Blocks that there is room for.
    room: usize,
    /// Blocks that take room: as on file systems with holes, those that were ever written.
    taken: BTreeSet<usize>,
    /// Room comes and goes.
    tight: bool,
    /// Says that it has synced, and hasn't, so often.
    lies: Option<(f64, StdRng)>,
}

enum Write {
    Length(usize),
    Data { at: usize, data: Vec<u8> },
}

/// How a loss of power treats what is not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing of it stays.
    All,
    /// All of it stays.
    None,
    /// Of each write, each sector may stay.
    Torn,
    /// Whole writes stay or don't.
    Dropped,
    /// The first ones stay, and the last of these is torn.
    Tail,
}

impl Disk {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self::of(Vec::new())
    }

    fn of(image: Vec<u8>) -> Self {
        let blocks = image.len().div_ceil(BLOCK);
        Self(Arc::new(Mutex::new(Platter {
            synced: image.clone(),
            current: image,
            unsynced: Vec::new(),
            operations: 0,
            dies_at: u64::MAX,
            room: usize::MAX,
            taken: (0..blocks).collect(),
            tight: false,
            lies: None,
        })))
    }

    /// Another disk with the same content, all of it synced.
    pub(crate) fn copy(&self) -> Self {
        Self::of(self.lock().current.clone())
    }

    /// The power goes at the n-th operation from now.
    pub(crate) fn dies_after(&self, operations: u64) {
        let mut platter = self.lock();
        platter.dies_at = platter.operations + operations;
    }

    /// The power goes now. Before anything that uses the disk is dropped, since dropping may sync.
    pub(crate) fn kill(&self) {
        self.lock().dies_at = 0;
    }

    pub(crate) fn is_dead(&self) -> bool {
        let platter = self.lock();
        platter.operations >= platter.dies_at
    }

    /// From now on a sync is told of and not done, with this probability.
    pub(crate) fn lies(&self, probability: f64, seed: u64) {
        self.lock().lies = Some((probability, StdRng::seed_from_u64(seed)));
    }

    /// There is room for so many more bytes from now on; `None` is without end.
    pub(crate) fn has_room_for(&self, bytes: Option<usize>) {
        let mut platter = self.lock();
        platter.room = bytes.map_or(usize::MAX, |bytes| platter.taken.len() + bytes / BLOCK);
    }

    /// Whoever uses it has to reckon with a lack of room.
    pub(crate) fn becomes_tight(&self) {
        self.lock().tight = true;
    }

    pub(crate) fn is_tight(&self) -> bool {
        self.lock().tight
    }

    /// What is found when the power is back: another disk, since this one never works again.
    pub(crate) fn after(&self, loss: Loss, rng: &mut StdRng) -> Self {
        let mut platter = self.lock();
        platter.dies_at = 0;
        let mut image = std::mem::take(&mut platter.synced);
        let writes = std::mem::take(&mut platter.unsynced);
        let last = if loss == Loss::Tail { rng.random_range(0..=writes.len()) } else { writes.len() };
        for (n, write) in writes.into_iter().take(last).enumerate() {
            let torn = loss == Loss::Torn || (loss == Loss::Tail && n + 1 == last);
            let whole = match loss {
                Loss::All => false,
                Loss::Dropped => rng.random(),
                Loss::None | Loss::Torn | Loss::Tail => true,
            };
            match write {
                Write::Length(_) if torn && rng.random() => {}
                Write::Data { at, data } if torn => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        if rng.random() {
                            put(&mut image, at + n * SECTOR, sector);
                        }
                    }
                }
                Write::Length(length) if whole => image.resize(length, 0),
                Write::Data { at, data } if whole => put(&mut image, at, &data),
                Write::Length(_) | Write::Data { .. } => {}
            }
        }
        Self::of(image)
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().expect("no one panics with the disk in hand")
    }

    /// The disk for a change, if there is power.
    fn powered(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.lock();
        platter.operations += 1;
        if platter.operations < platter.dies_at { Ok(platter) } else { Err(io::Error::other("the power is gone")) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.lock();
        if platter.operations >= platter.dies_at {
            return Err(io::Error::other("the power is gone"));
        }
        let at = usize::try_from(offset).expect("a small disk");
        let bytes = platter.current.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.powered()?;
        let length = usize::try_from(len).expect("a small disk");
        platter.current.resize(length, 0);
        platter.taken.split_off(&length.div_ceil(BLOCK));
        platter.unsynced.push(Write::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.powered()?;
        if let Some((probability, rng)) = &mut platter.lies
            && rng.random_bool(*probability)
        {
            return Ok(());
        }
        for write in std::mem::take(&mut platter.unsynced) {
            match write {
                Write::Length(length) => platter.synced.resize(length, 0),
                Write::Data { at, data } => put(&mut platter.synced, at, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.powered()?;
        let at = usize::try_from(offset).expect("a small disk");
        for block in at / BLOCK..(at + data.len()).div_ceil(BLOCK) {
            if !platter.taken.contains(&block) {
                if platter.taken.len() >= platter.room {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                platter.taken.insert(block);
            }
        }
        put(&mut platter.current, at, data);
        platter.unsynced.push(Write::Data { at, data: data.to_vec() });
        Ok(())
    }
}

fn put(image: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[at..end].copy_from_slice(data);
}

impl std::fmt::Debug for Platter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {} operations", self.current.len(), self.operations)
    }
}
