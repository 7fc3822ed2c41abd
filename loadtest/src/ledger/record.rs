//! One task in 32 bytes, and arrays of them that grow in steps. Ten million tasks take 305 MiB. What the fields mean
//! together is said elsewhere.

use std::time::Duration;

/// A moment of the run in steps of 10 µs, or none. It reaches 11.9 hours, and stays there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tick(u32);

impl Tick {
    /// No moment.
    pub const NONE: Self = Self(0);

    /// Parts of a step are cut.
    pub fn at(run: Duration) -> Self {
        Self(u32::try_from(run.as_micros() / STEP_US + 1).unwrap_or(u32::MAX))
    }

    /// The moment, if it is one.
    pub fn get(self) -> Option<Duration> {
        self.0.checked_sub(1).map(|steps| Duration::from_micros(u64::from(steps) * STEP_US as u64))
    }

    /// Whether it is one.
    pub fn is_some(self) -> bool {
        self.0 != 0
    }

    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

const STEP_US: u128 = 10;

/// How a task ended, as far as somebody found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Among the dead letters.
    Dead,
    /// Among the dead letters, because its time was over.
    Expired,
    /// Still in a queue when the run ended.
    Left,
}

/// One task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// When it was to be added.
    pub intended: Tick,
    /// When it was handed to the broker's client.
    pub published: Tick,
    /// When the broker confirmed it.
    pub confirmed: Tick,
    /// When an executor saw it first.
    pub first: Tick,
    /// When an executor was done with it last.
    pub last: Tick,
    /// No attempt before this, by the wall clock.
    pub due: Tick,
    /// No attempt from this on, by the wall clock.
    pub expires: Tick,
    /// The highest attempt number seen; 255 is that or more.
    pub attempt: u8,
    /// Requests that nothing accounts for; 255 is that or more.
    pub extras: u8,
    /// Index into the mix.
    pub class: u8,
    pub(crate) flags: u8,
}

/// Flags of a record.
pub(super) mod flag {
    pub(crate) const SUCCEEDED: u8 = 1;
    pub(crate) const DEAD: u8 = 2;
    pub(crate) const EXPIRED: u8 = 4;
    pub(crate) const LEFT: u8 = 8;
    pub(crate) const EARLY: u8 = 16;
    pub(crate) const LATE: u8 = 32;
    pub(crate) const OVER: u8 = 64;
    pub(crate) const DELAYED: u8 = 128;
}

const _: () = assert!(size_of::<Record>() == Record::BYTES, "the memory that is promised");

impl Record {
    /// Its size, in memory and on disk.
    pub const BYTES: usize = 32;

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn set(&mut self, flag: u8) {
        self.flags |= flag;
    }

    /// Whether an executor answered it with success.
    pub fn succeeded(&self) -> bool {
        self.has(flag::SUCCEEDED)
    }

    /// Whether it is known what became of it.
    pub fn ended(&self) -> bool {
        self.has(flag::SUCCEEDED | flag::DEAD | flag::EXPIRED)
    }

    /// Whether it was to wait for a moment of its own.
    pub fn is_delayed(&self) -> bool {
        self.has(flag::DELAYED)
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let ticks = [self.intended, self.published, self.confirmed, self.first, self.last, self.due, self.expires];
        let mut bytes = [0; Self::BYTES];
        for (place, tick) in bytes.chunks_exact_mut(4).zip(ticks) {
            place.copy_from_slice(&tick.bits().to_le_bytes());
        }
        bytes[28..].copy_from_slice(&[self.attempt, self.extras, self.class, self.flags]);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let tick = |n: usize| {
            let four = bytes[4 * n..4 * n + 4].try_into().expect("a slice of four bytes");
            Tick::from_bits(u32::from_le_bytes(four))
        };
        Self {
            intended: tick(0),
            published: tick(1),
            confirmed: tick(2),
            first: tick(3),
            last: tick(4),
            due: tick(5),
            expires: tick(6),
            attempt: bytes[28],
            extras: bytes[29],
            class: bytes[30],
            flags: bytes[31],
        }
    }
}

/// Records by number. They grow a chunk at a time, so that no copy of all of them is ever made.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    chunks: Vec<Box<[Record]>>,
    length: u64,
}

/// 2 MiB each.
const CHUNK: usize = 65_536;

impl Records {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Record> {
        if number >= self.length {
            return None;
        }
        let n = usize::try_from(number).ok()?;
        self.chunks.get_mut(n / CHUNK).map(|chunk| &mut chunk[n % CHUNK])
    }

    /// Adds the next one.
    pub(super) fn push(&mut self, record: Record) {
        let n = usize::try_from(self.length).expect("fewer tasks than bytes of memory");
        if n / CHUNK == self.chunks.len() {
            self.chunks.push(vec![Record::default(); CHUNK].into_boxed_slice());
        }
        self.chunks[n / CHUNK][n % CHUNK] = record;
        self.length += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.chunks.iter().flatten().take(usize::try_from(self.length).unwrap_or(usize::MAX))
    }
}
