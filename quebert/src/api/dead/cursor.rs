//! Where a listing of dead letters goes on. It names a place in the queues, never what was asked for: that comes along
//! with each request and must be the same.

use crate::{
    api::{
        problem::{Code, Fault},
        types::DeadFilter,
    },
    letter::Drawer,
};
use quebert_broker_adapter::admin::Position;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Characters of a cursor at most: twice the bytes of the longest names.
const LENGTH_MAX: usize = 2048;

/// What `cursor` means. Written as hexadecimal JSON, so that nobody builds one by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// Of the filter that it goes on with.
    #[serde(rename = "f")]
    filter: u32,
    #[serde(flatten)]
    pub(super) mark: Mark,
}

/// The last letter of the page before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Mark {
    /// By its position.
    #[serde(rename = "p")]
    At {
        /// The work queue whose dead letters they are; `None` for the common ones.
        #[serde(rename = "q")]
        queue: Option<String>,
        /// There.
        #[serde(rename = "n")]
        position: u64,
    },
    /// By what it is ordered by where there are no positions.
    #[serde(rename = "d")]
    Behind(Order),
}

/// How letters are ordered where the broker gives no positions: by the moment they were given up, those without one
/// first, and by their keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Order {
    #[serde(rename = "t")]
    pub(super) at: Option<i64>,
    #[serde(rename = "k")]
    pub(super) key: String,
}

impl Mark {
    pub(super) fn at(drawer: &Drawer, position: Position) -> Self {
        Self::At { queue: drawer.queue.as_deref().map(str::to_owned), position: position.0 }
    }
}

impl Cursor {
    pub(super) fn new(filter: &DeadFilter, mark: Mark) -> Self {
        Self { filter: print_of(filter), mark }
    }

    pub(super) fn text(&self) -> String {
        let json = serde_json::to_vec(self).expect("a cursor is plain data");
        json.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads what [`text`](Self::text) has written, for the same filter.
    pub(super) fn read(text: &str, filter: &DeadFilter) -> Result<Self, Fault> {
        let wrong = |detail: &str| Fault::new(Code::InvalidRequest, format!("cursor: {detail}"));
        let cursor: Self = bytes(text)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| wrong("pass on what came as next_cursor"))?;
        if cursor.filter != print_of(filter) {
            return Err(wrong("it belongs to a listing with other filters"));
        }
        Ok(cursor)
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() > LENGTH_MAX || !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn print_of(filter: &DeadFilter) -> u32 {
    let json = serde_json::to_vec(filter).expect("a filter is plain data");
    let digest: [u8; 32] = Sha256::digest(json).into();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let filter = DeadFilter { reason: Some("hook".into()), ..DeadFilter::default() };
        let position = Mark::At { queue: Some("quebert.high".into()), position: u64::MAX };
        let common = Mark::At { queue: None, position: 0 };
        let behind = Mark::Behind(Order { at: Some(-5), key: "~".repeat(128) });
        for mark in [position, common, behind, Mark::Behind(Order { at: None, key: String::new() })] {
            let cursor = Cursor::new(&filter, mark);
            assert_eq!(Cursor::read(&cursor.text(), &filter), Ok(cursor.clone()));
            assert!(Cursor::read(&cursor.text(), &DeadFilter::default()).is_err(), "of another filter");
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let filter = DeadFilter::default();
        let good = Cursor::new(&filter, Mark::At { queue: None, position: 1 }).text();
        for bad in ["", "x", "7b7d", "zz", "é9", &good[1..], &good[2..], &"00".repeat(2000)] {
            assert!(Cursor::read(bad, &filter).is_err(), "{bad}");
        }
    }

    #[test]
    fn letters_without_a_moment_come_first() {
        let order = |at, key: &str| Order { at, key: key.to_owned() };
        assert!(order(None, "z") < order(Some(i64::MIN), "a"));
        assert!(order(Some(1), "a") < order(Some(1), "b"));
    }
}
