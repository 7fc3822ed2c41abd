//! A shield between the database and its file while it is opened: opening repairs, and so writes, before anybody knows
//! whether the file is sound. Until then nothing reaches the file; a damaged one is left as it is.

use redb::{BackendError, StorageBackend};
use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// What the kept changes are cut into.
const PAGE: usize = 4096;

/// A storage that keeps what is written to it until it is [lowered](Self::lower).
#[derive(Debug)]
pub(super) struct Shield {
    inner: Arc<dyn StorageBackend>,
    lowered: AtomicBool,
    kept: Mutex<Kept>,
    /// Whether closing the database closes the storage.
    closes: bool,
}

/// Changes that have not reached the storage.
#[derive(Debug, Default)]
struct Kept {
    /// In their order, with the syncs between them: a crash while they are carried out leaves what the database expects.
    changes: Vec<Change>,
    /// What they make of each page that they touch.
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    /// The length now.
    length: u64,
    /// Up to here the storage shows through; behind are zeros.
    seen: u64,
}

#[derive(Debug)]
enum Change {
    Length(u64),
    Data(u64, Vec<u8>),
    Sync,
}

/// The shield as the database has it.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Shield>);

impl Shield {
    pub(super) fn new(inner: Arc<dyn StorageBackend>, closes: bool) -> io::Result<Arc<Self>> {
        let length = inner.len()?;
        let kept = Mutex::new(Kept { length, seen: length, ..Kept::default() });
        Ok(Arc::new(Self { inner, lowered: AtomicBool::new(false), kept, closes }))
    }

    /// Carries out what was kept, and from now on everything at once.
    pub(super) fn lower(&self) -> io::Result<()> {
        let mut kept = self.kept();
        for change in std::mem::take(&mut kept.changes) {
            match change {
                Change::Length(length) => self.inner.set_len(length)?,
                Change::Data(offset, data) => self.inner.write(offset, &data)?,
                Change::Sync => self.inner.sync_data()?,
            }
        }
        kept.pages.clear();
        self.lowered.store(true, Ordering::Release);
        Ok(())
    }

    fn is_lowered(&self) -> bool {
        self.lowered.load(Ordering::Acquire)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the storage shows of a page.
    fn page(&self, kept: &Kept, number: u64) -> io::Result<Box<[u8; PAGE]>> {
        let mut page = Box::new([0; PAGE]);
        let start = number * PAGE as u64;
        let seen = kept.seen.saturating_sub(start).min(PAGE as u64) as usize;
        if seen > 0 {
            self.inner.read(start, &mut page[..seen])?;
        }
        Ok(page)
    }
}

/// The parts of `length` bytes from `offset` on, page by page: the page, where in it, and how many bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let end = offset + length as u64;
    std::iter::from_fn(move || {
        let within = (at % PAGE as u64) as usize;
        let bytes = (end - at).min((PAGE - within) as u64) as usize;
        let part = (at / PAGE as u64, within, bytes);
        at += bytes as u64;
        (bytes > 0).then_some(part)
    })
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        if self.0.is_lowered() { self.0.inner.len() } else { Ok(self.0.kept().length) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let shield = &self.0;
        if shield.is_lowered() {
            return shield.inner.read(offset, out);
        }
        let kept = shield.kept();
        if offset.saturating_add(out.len() as u64) > kept.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let pages = offset / PAGE as u64..=(offset + out.len() as u64) / PAGE as u64;
        if kept.pages.range(pages).next().is_none() && offset + out.len() as u64 <= kept.seen {
            return shield.inner.read(offset, out);
        }
        let mut done = 0;
        for (number, within, bytes) in parts(offset, out.len()) {
            let target = &mut out[done..done + bytes];
            match kept.pages.get(&number) {
                Some(page) => target.copy_from_slice(&page[within..within + bytes]),
                None => target.copy_from_slice(&shield.page(&kept, number)?[within..within + bytes]),
            }
            done += bytes;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if self.0.is_lowered() {
            return self.0.inner.set_len(length);
        }
        let mut kept = self.0.kept();
        let first_gone = length.div_ceil(PAGE as u64);
        drop(kept.pages.split_off(&first_gone));
        if let Some(page) = kept.pages.get_mut(&(length / PAGE as u64)) {
            page[(length % PAGE as u64) as usize..].fill(0);
        }
        kept.seen = kept.seen.min(length);
        kept.length = length;
        kept.changes.push(Change::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.is_lowered() {
            return self.0.inner.sync_data();
        }
        self.0.kept().changes.push(Change::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let shield = &self.0;
        if shield.is_lowered() {
            return shield.inner.write(offset, data);
        }
        let mut kept = shield.kept();
        let mut done = 0;
        for (number, within, bytes) in parts(offset, data.len()) {
            let mut page = match kept.pages.remove(&number) {
                Some(page) => page,
                None => shield.page(&kept, number)?,
            };
            page[within..within + bytes].copy_from_slice(&data[done..done + bytes]);
            kept.pages.insert(number, page);
            done += bytes;
        }
        kept.length = kept.length.max(offset + data.len() as u64);
        kept.changes.push(Change::Data(offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        if self.0.closes { self.0.inner.close() } else { Ok(()) }
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    #[derive(Debug, Clone)]
    enum Op {
        Write(u64, Vec<u8>),
        Length(u64),
        Read(u64, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let data = prop::collection::vec(any::<u8>(), 1..6000);
        prop_oneof![
            (0..20_000u64, data).prop_map(|(offset, data)| Op::Write(offset, data)),
            (0..30_000u64).prop_map(Op::Length),
            (0..20_000u64, 0..9000usize).prop_map(|(offset, length)| Op::Read(offset, length)),
        ]
    }

    fn all(storage: &dyn StorageBackend) -> Vec<u8> {
        let mut bytes = vec![0; storage.len().unwrap() as usize];
        storage.read(0, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn behind_the_shield_all_looks_done_and_before_it_nothing_is(ops in prop::collection::vec(op(), 1..40)) {
            let inner: Arc<dyn StorageBackend> = Arc::new(InMemoryBackend::new());
            inner.set_len(10_000).unwrap();
            inner.write(0, &(0..10_000).map(|n| (n % 251) as u8).collect::<Vec<_>>()).unwrap();
            let before = all(&*inner);
            let mut model = before.clone();
            let shield = Shield::new(inner.clone(), true).unwrap();
            let handle = Handle(shield.clone());
            for op in ops {
                match op {
                    Op::Write(offset, data) => {
                        let end = offset as usize + data.len();
                        if end <= model.len() {
                            handle.write(offset, &data).unwrap();
                            model[offset as usize..end].copy_from_slice(&data);
                        }
                    }
                    Op::Length(length) => {
                        handle.set_len(length).unwrap();
                        model.resize(length as usize, 0);
                    }
                    Op::Read(offset, length) => {
                        let mut out = vec![0; length];
                        let read = handle.read(offset, &mut out).ok().map(|()| out);
                        let expected = model.get(offset as usize..offset as usize + length).map(<[u8]>::to_vec);
                        prop_assert_eq!(read, expected);
                    }
                }
                prop_assert_eq!(all(&handle), model.clone());
            }
            prop_assert_eq!(all(&*inner), before);
            shield.lower().unwrap();
            prop_assert_eq!(all(&*inner), model.clone());
            prop_assert_eq!(all(&handle), model);
        }
    }
}
