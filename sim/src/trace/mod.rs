//! A run as text: one line for each thing that happened, in true order, with the same bytes wherever and whenever the same
//! case is run. It says what happened and judges nothing.

mod about;
mod coverage;
mod difference;
mod line;
mod messages;
pub mod words;

pub use about::{About, about, lines_about};
pub use coverage::{Coverage, Point};
pub use difference::{Difference, difference};
pub use line::line;
pub use messages::{MessageLog, describe as describe_bytes};

use crate::{case::Case, history::Entry, net::Kind};
use std::fmt::Write as _;

/// The format that this release writes. It changes with anything that changes a line of an unchanged run.
pub const FORMAT: u32 = 1;

/// The first line of a trace: its format, the case, and who ran it.
pub fn header(case: &Case, kind: Kind) -> String {
    let world = match kind {
        Kind::Fast => "fast",
        Kind::Turmoil => "turmoil",
    };
    let release = env!("CARGO_PKG_VERSION");
    format!("# quebert-sim trace {FORMAT} case={} seed={} world={world} quebert={release}", case_hash(case), case.seed)
}

/// A whole trace: [`header`], then a [`line()`] for each entry. It ends with a line's end.
pub fn text(case: &Case, kind: Kind, entries: &[Entry]) -> String {
    // A line is about 90 bytes long.
    let mut text = String::with_capacity(128 + entries.len() * 96);
    text.push_str(&header(case, kind));
    text.push('\n');
    for entry in entries {
        line(entry, &mut text);
        text.push('\n');
    }
    text
}

/// A hash of the lines of these entries: FNV-1a with 64 bits, over the text that [`text`] has after its first line.
pub fn hash(entries: &[Entry]) -> u64 {
    let mut hash = Fnv::new();
    let mut text = String::with_capacity(256);
    for entry in entries {
        text.clear();
        line(entry, &mut text);
        text.push('\n');
        hash.eat(text.as_bytes());
    }
    hash.0
}

/// A case's name by its content: 16 hexadecimal digits of a hash of its JSON. The name for people is no part of it.
pub fn case_hash(case: &Case) -> String {
    let mut hash = Fnv::new();
    let nameless = Case { name: String::new(), ..case.clone() };
    hash.eat(nameless.to_json().as_bytes());
    let mut text = String::with_capacity(16);
    let _ = write!(text, "{:016x}", hash.0);
    text
}

/// FNV-1a (Fowler, Noll, Vo; draft-eastlake-fnv). std's hashers promise no stable result.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn eat(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        let of = |text: &str| {
            let mut hash = Fnv::new();
            hash.eat(text.as_bytes());
            hash.0
        };
        // From the test vectors of the draft.
        assert_eq!(of(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(of("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(of("foobar"), 0x8594_4171_f739_67e8);
    }
}
