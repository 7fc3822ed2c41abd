//! A disk in memory that fails as it is told to, and forgets as Linux does what a failed sync left unwritten. It does not
//! fail by itself: losses of power at any moment are in tests/embedded_power.

use redb::StorageBackend;
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

const PAGE: usize = 4096;

/// A disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Sick(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What is read.
    current: Vec<u8>,
    /// What is there when the power comes back.
    synced: Vec<u8>,
    dirty: BTreeSet<usize>,
    sync_fails: bool,
    write_fails: bool,
    read_fails: bool,
    sync_panics: bool,
    gone: bool,
    closed: bool,
    used_after_close: bool,
}

impl Sick {
    /// The next sync fails; what it should have written counts as written, and isn't.
    pub(super) fn fails_to_sync(&self) {
        self.lock().sync_fails = true;
    }

    /// The next sync panics, as a bug would.
    pub(super) fn panics_at_a_sync(&self) {
        self.lock().sync_panics = true;
    }

    /// Nothing can be written until it is [`well`](Self::is_well).
    pub(super) fn fails_to_write(&self) {
        self.lock().write_fails = true;
    }

    /// Nothing can be read until it is [`well`](Self::is_well).
    pub(super) fn fails_to_read(&self) {
        self.lock().read_fails = true;
    }

    /// It can't be opened until it is [`well`](Self::is_well).
    pub(super) fn is_gone(&self) {
        self.lock().gone = true;
    }

    pub(super) fn is_well(&self) {
        let mut state = self.lock();
        (state.gone, state.read_fails, state.write_fails, state.sync_fails) = (false, false, false, false);
    }

    /// Another disk, with what a loss of power leaves.
    pub(super) fn after_loss_of_power(&self) -> Self {
        Self::of(self.lock().synced.clone())
    }

    fn of(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { current: image.clone(), synced: image, ..State::default() })))
    }

    pub(super) fn image(&self) -> Vec<u8> {
        self.lock().current.clone()
    }

    /// Somebody puts another content in its place.
    pub(super) fn replace(&self, image: Vec<u8>) {
        let mut state = self.lock();
        state.current.clone_from(&image);
        state.synced = image;
        state.dirty.clear();
    }

    pub(super) fn was_used_after_close(&self) -> bool {
        self.lock().used_after_close
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn writable(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.used_after_close |= state.closed;
        if state.write_fails { Err(io::Error::other("it does not write")) } else { Ok(state) }
    }
}

impl StorageBackend for Sick {
    fn len(&self) -> io::Result<u64> {
        let state = self.lock();
        if state.gone { Err(io::Error::other("it is gone")) } else { Ok(state.current.len() as u64) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        if state.read_fails {
            return Err(io::Error::other("it does not read"));
        }
        let at = offset as usize;
        let bytes = state.current.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?.current.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.writable()?;
        if std::mem::take(&mut state.sync_panics) {
            drop(state);
            panic!("as it was told to");
        }
        let dirty = std::mem::take(&mut state.dirty);
        if std::mem::take(&mut state.sync_fails) {
            return Err(io::Error::other("it does not sync"));
        }
        let State { current, synced, .. } = &mut *state;
        synced.resize(current.len(), 0);
        for page in dirty {
            let end = (page + PAGE).min(current.len());
            if page < end {
                synced[page..end].copy_from_slice(&current[page..end]);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.writable()?;
        let (at, end) = (offset as usize, offset as usize + data.len());
        if state.current.len() < end {
            state.current.resize(end, 0);
        }
        state.current[at..end].copy_from_slice(data);
        state.dirty.extend((at / PAGE * PAGE..end).step_by(PAGE));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.lock().closed = true;
        Ok(())
    }
}
