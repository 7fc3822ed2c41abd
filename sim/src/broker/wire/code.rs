//! Numbers, texts and the port's small types as bytes, big end first.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Source, Target},
};
use std::sync::Arc;

/// Writes what `BufMut` does not.
pub(crate) trait Writer: BufMut + Sized {
    fn bytes(&mut self, bytes: &[u8]) {
        self.put_u32(u32::try_from(bytes.len()).expect("some megabytes at most"));
        self.put_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn numbers(&mut self, numbers: &[u64]) {
        self.put_u32(u32::try_from(numbers.len()).expect("as many as a window at most"));
        numbers.iter().for_each(|number| self.put_u64(*number));
    }

    fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.put_u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn source(&mut self, source: &Source) {
        match source {
            Source::Queue(name) => self.named(0, name),
            Source::Delay(step) => self.stepped(1, *step),
        }
    }

    fn target(&mut self, target: &Target) {
        match target {
            Target::Queue(name) => self.named(0, name),
            Target::Delay(step) => self.stepped(1, *step),
            Target::Dead(name) => self.named(2, name),
        }
    }

    fn named(&mut self, kind: u8, name: &str) {
        self.put_u8(kind);
        self.text(name);
    }

    fn stepped(&mut self, kind: u8, step: Step) {
        self.put_u8(kind);
        self.put_u64(step.millis());
    }
}

impl Writer for BytesMut {}

/// Reads one frame. Each read is `None` when the frame is too short, or says what can't be.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(super) const fn new(frame: Bytes) -> Self {
        Self(frame)
    }

    #[cfg(test)]
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.0.try_get_u16().ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.0.try_get_u32().ok()
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.0.try_get_u64().ok()
    }

    pub(super) fn bool(&mut self) -> Option<bool> {
        self.u8().map(|byte| byte != 0)
    }

    pub(super) fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.u32()?).ok()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    pub(super) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.into()).ok()
    }

    fn name(&mut self) -> Option<Arc<str>> {
        std::str::from_utf8(&self.bytes()?).ok().map(Arc::from)
    }

    pub(super) fn numbers(&mut self) -> Option<Vec<u64>> {
        let count = self.u32()?;
        (0..count).map(|_| self.u64()).collect()
    }

    /// `None` within is the value's, outside the frame's.
    pub(super) fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.bool()? { read(self).map(Some) } else { Some(None) }
    }

    pub(super) fn step(&mut self) -> Option<Step> {
        Step::from_millis(self.u64()?)
    }

    pub(super) fn source(&mut self) -> Option<Source> {
        Some(match self.u8()? {
            0 => Source::Queue(self.name()?),
            1 => Source::Delay(self.step()?),
            _ => return None,
        })
    }

    pub(super) fn target(&mut self) -> Option<Target> {
        Some(match self.u8()? {
            0 => Target::Queue(self.name()?),
            1 => Target::Delay(self.step()?),
            2 => Target::Dead(self.name()?),
            _ => return None,
        })
    }
}
