//! A disk in memory that loses power: what was synced stays, of what was written since then any part may.
//!
//! It has no order between unsynced writes and no blocks larger than what the host says, so it is worse than real disks
//! with a real file system. It never returns other bytes than were written.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use redb::StorageBackend;
use std::{
    collections::BTreeSet,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What older disks write as a whole or not at all, in bytes.
pub const SECTOR: usize = 512;
/// What newer ones do, and what a file system gives out room in, in bytes.
pub const BLOCK: usize = 4096;

/// A disk. Clones are the same disk, as one process has it open: when that process ends, none of its handles works
/// again, and so nothing that it drops can write.
#[derive(Debug, Clone)]
pub struct Disk {
    platter: Arc<Mutex<Platter>>,
    /// Which process this is of.
    process: u64,
}

struct Platter {
    /// What is there after a loss of power, whatever happens.
    synced: Vec<u8>,
    /// What is read.
    current: Vec<u8>,
    /// What was done since `synced`, with the syncs that are [held](Disk::hold).
    done: Vec<Change>,
    held: bool,
    /// The process that has it open.
    process: u64,
    /// Writes, changes of length and syncs so far.
    changes: u64,
    reads: u64,
    syncs: u64,
    /// The power goes at this change, which fails, as do all later ones.
    dies_at: u64,
    /// Blocks that there is room for.
    room: usize,
    /// Blocks that take room: as on file systems with holes, those that were ever written.
    taken: BTreeSet<usize>,
    /// Room comes and goes.
    tight: bool,
    /// From this change on there is no room, and from that one on there is again.
    full: (u64, u64),
    /// From this read on reads fail, and from that one on they don't.
    unreadable: (u64, u64),
    /// Of 1,000 reads, so many fail.
    read_errors: Option<(u32, StdRng)>,
    /// Says that it has synced, and hasn't, so often.
    lies: Option<(f64, StdRng)>,
}

#[derive(Clone)]
enum Change {
    Length(usize),
    Data { at: usize, data: Vec<u8> },
    Sync,
}

/// How a loss of power treats what is not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing of it stays.
    All,
    /// All of it stays.
    None,
    /// Of each write, each sector may stay.
    Torn,
    /// Whole writes stay or don't, in any order.
    Dropped,
    /// The first ones stay, and the last of these is torn.
    Tail,
}

/// A loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerCut {
    /// What it does to what is not synced.
    pub loss: Loss,
    /// What is written as a whole or not at all, in bytes: [`SECTOR`] or [`BLOCK`].
    pub sector: usize,
}

impl Disk {
    /// An empty one.
    pub fn new() -> Self {
        Self::of(Vec::new())
    }

    fn of(image: Vec<u8>) -> Self {
        let blocks = image.len().div_ceil(BLOCK);
        let platter = Platter {
            synced: image.clone(),
            current: image,
            done: Vec::new(),
            held: false,
            process: 0,
            changes: 0,
            reads: 0,
            syncs: 0,
            dies_at: u64::MAX,
            room: usize::MAX,
            taken: (0..blocks).collect(),
            tight: false,
            full: (u64::MAX, u64::MAX),
            unreadable: (u64::MAX, u64::MAX),
            read_errors: None,
            lies: None,
        };
        Self { platter: Arc::new(Mutex::new(platter)), process: 0 }
    }

    /// Another disk with the same content, all of it synced.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::of(self.lock().current.clone())
    }

    /// The power goes at the n-th change from now.
    pub fn dies_after(&self, changes: u64) {
        let mut platter = self.lock();
        platter.dies_at = platter.changes + changes;
    }

    /// The power goes now. Before anything that uses the disk is dropped, since dropping may sync.
    pub fn kill(&self) {
        self.lock().dies_at = 0;
    }

    /// Whether the power is gone, or the process that this handle is of has ended.
    pub fn is_dead(&self) -> bool {
        self.lock().is_dead(self.process)
    }

    /// From now on a sync is told of and not done, with this probability.
    pub fn lies(&self, probability: f64, seed: u64) {
        self.lock().lies = Some((probability, StdRng::seed_from_u64(seed)));
    }

    /// There is room for so many more bytes from now on; `None` is without end.
    pub fn has_room_for(&self, bytes: Option<usize>) {
        let mut platter = self.lock();
        platter.room = bytes.map_or(usize::MAX, |bytes| platter.taken.len() + bytes / BLOCK);
    }

    /// Whoever uses it has to reckon with a lack of room.
    pub fn becomes_tight(&self) {
        self.lock().tight = true;
    }

    /// Whether that was said.
    pub fn is_tight(&self) -> bool {
        self.lock().tight
    }

    /// From the n-th change from now on there is no room, for so many changes.
    pub fn is_full_at(&self, change: u64, changes: u64) {
        let mut platter = self.lock();
        let from = platter.changes + change;
        platter.full = (from, from.saturating_add(changes));
    }

    /// From the n-th read from now on, so many fail.
    pub fn is_unreadable_at(&self, read: u64, reads: u64) {
        let mut platter = self.lock();
        let from = platter.reads + read;
        platter.unreadable = (from, from.saturating_add(reads));
    }

    /// Of 1,000 reads, so many fail from now on.
    pub fn fails_reads(&self, per_mille: u32, seed: u64) {
        self.lock().read_errors = (per_mille > 0).then(|| (per_mille, StdRng::seed_from_u64(seed)));
    }

    /// Writes, changes of length and syncs so far, failed ones among them.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Reads so far.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// A hash (FNV-1a, 64 bits) of what would be read.
    pub fn hash(&self) -> u64 {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.lock().current.iter().fold(0xcbf2_9ce4_8422_2325, fnv)
    }

    /// From here on every change is remembered, so that a loss of power can be looked at as of each of them. What was
    /// remembered before is forgotten.
    pub fn hold(&self) {
        let mut platter = self.lock();
        platter.flush();
        platter.held = true;
    }

    /// How many changes [`hold`](Self::hold) has remembered.
    pub fn held(&self) -> usize {
        let platter = self.lock();
        if platter.held { platter.done.len() } else { 0 }
    }

    /// The remembered ones count as done.
    pub fn release(&self) {
        let mut platter = self.lock();
        platter.held = false;
        platter.flush();
    }

    /// The process ends right after the first `held` of the [held](Self::hold) changes, or now. What it has written is in
    /// the system's memory, and so it is there for the next process, whose handle this returns; it is synced no more than
    /// it was.
    #[must_use]
    pub fn after_process(&self, held: Option<usize>) -> Self {
        let mut platter = self.lock();
        if let Some(held) = held.filter(|held| *held < platter.done.len()) {
            platter.done.truncate(held);
            let mut image = platter.synced.clone();
            for change in &platter.done {
                change.apply(&mut image);
            }
            platter.current = image;
        }
        platter.held = false;
        platter.flush();
        platter.process += 1;
        Self { platter: self.platter.clone(), process: platter.process }
    }

    /// What is found when the power has gone and is back: another disk, since this one never works again.
    #[must_use]
    pub fn after(&self, cut: PowerCut, rng: &mut StdRng) -> Self {
        self.kill();
        self.after_held(None, cut, rng)
    }

    /// What would be found if the power had gone right after the first `held` of the [held](Self::hold) changes, or goes
    /// now. This disk goes on.
    #[must_use]
    pub fn after_held(&self, held: Option<usize>, cut: PowerCut, rng: &mut StdRng) -> Self {
        let platter = self.lock();
        let done = &platter.done[..held.map_or(platter.done.len(), |held| held.min(platter.done.len()))];
        let mut image = platter.synced.clone();
        let synced = done.iter().rposition(|change| matches!(change, Change::Sync)).map_or(0, |last| last + 1);
        let (synced, unsynced) = done.split_at(synced);
        synced.iter().for_each(|change| change.apply(&mut image));
        cut.apply(&mut image, unsynced, rng);
        Self::of(image)
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk for a change, if there is power.
    fn powered(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let mut platter = self.lock();
        platter.changes += u64::from(platter.process == self.process);
        if platter.is_dead(self.process) { Err(gone()) } else { Ok(platter) }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl PowerCut {
    /// Does to an image what becomes of these changes.
    fn apply(self, image: &mut Vec<u8>, unsynced: &[Change], rng: &mut StdRng) {
        let Self { loss, sector } = self;
        let last = if loss == Loss::Tail { rng.random_range(0..=unsynced.len()) } else { unsynced.len() };
        for (n, change) in unsynced.iter().take(last).enumerate() {
            let torn = loss == Loss::Torn || (loss == Loss::Tail && n + 1 == last);
            let whole = match loss {
                Loss::All => false,
                Loss::Dropped => rng.random(),
                Loss::None | Loss::Torn | Loss::Tail => true,
            };
            match change {
                Change::Length(_) if torn && rng.random() => {}
                Change::Data { at, data } if torn => {
                    // Sectors are the disk's, wherever the write begins.
                    let mut from = 0;
                    while from < data.len() {
                        let to = data.len().min(from + sector - (at + from) % sector);
                        if rng.random() {
                            put(image, at + from, &data[from..to]);
                        }
                        from = to;
                    }
                }
                change if whole => change.apply(image),
                _ => {}
            }
        }
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(*length, 0),
            Self::Data { at, data } => put(image, *at, data),
            Self::Sync => {}
        }
    }
}

impl Platter {
    const fn is_dead(&self, process: u64) -> bool {
        self.process != process || self.changes >= self.dies_at
    }

    /// Carries out what is synced, unless it is held.
    fn flush(&mut self) {
        if self.held {
            return;
        }
        let synced = self.done.iter().rposition(|change| matches!(change, Change::Sync)).map_or(0, |last| last + 1);
        for change in self.done.drain(..synced) {
            change.apply(&mut self.synced);
        }
    }

    fn is_full(&self) -> bool {
        self.taken.len() >= self.room || (self.full.0..self.full.1).contains(&self.changes)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.lock();
        if platter.is_dead(self.process) {
            return Err(gone());
        }
        platter.reads += 1;
        let drawn = platter.read_errors.as_mut().is_some_and(|(per_mille, rng)| rng.random_range(0..1000) < *per_mille);
        if drawn || (platter.unreadable.0..platter.unreadable.1).contains(&platter.reads) {
            return Err(io::Error::other("the disk can't read that"));
        }
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(platter.current.get(at..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.powered()?;
        let length = usize::try_from(len).map_err(io::Error::other)?;
        platter.current.resize(length, 0);
        platter.taken.split_off(&length.div_ceil(BLOCK));
        platter.done.push(Change::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.powered()?;
        platter.syncs += 1;
        if let Some((probability, rng)) = &mut platter.lies
            && rng.random_bool(*probability)
        {
            return Ok(());
        }
        platter.done.push(Change::Sync);
        platter.flush();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.powered()?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        for block in at / BLOCK..(at + data.len()).div_ceil(BLOCK) {
            if !platter.taken.contains(&block) {
                if platter.is_full() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                platter.taken.insert(block);
            }
        }
        put(&mut platter.current, at, data);
        platter.done.push(Change::Data { at, data: data.to_vec() });
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("the power is gone")
}

fn put(image: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[at..end].copy_from_slice(data);
}

impl fmt::Debug for Platter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {} changes", self.current.len(), self.changes)
    }
}
