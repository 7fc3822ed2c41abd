//! What became of each message, as far as the broker has said, and the judgement of what is found after a crash.
//!
//! A message has a set of possible fates: one of them as soon as the broker has answered, two while an answer is out.
//! It knows nothing of how the broker stores anything.

use bytes::Bytes;
use quebert_broker_adapter::admin::{Once, Place};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Source, Target},
};
use quebert_wire::{HeaderValue, Message, Timestamp, header};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

/// The work queues, by number.
pub(crate) const QUEUES: [&str; 3] = ["a", "b", "c"];
/// The delay queues, by number; long enough that nothing comes due.
const DELAYS_MS: [u64; 2] = [8_000, 3_584_000];
/// A queue that nobody made, whose dead letters are the common ones.
const STRANGER: &str = "nobody's";
/// Counts the moves of a message, and so tells its copies apart.
const COPY: &str = "copy";

/// Where messages lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spot {
    Queue(usize),
    Delay(usize),
    Dead(usize),
    CommonDead,
}

impl Spot {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let queues = (0..QUEUES.len()).flat_map(|n| [Self::Queue(n), Self::Dead(n)]);
        queues.chain((0..DELAYS_MS.len()).map(Self::Delay)).chain([Self::CommonDead])
    }

    pub(crate) fn target(self) -> Target {
        match self {
            Self::Queue(n) => Target::Queue(QUEUES[n].into()),
            Self::Delay(n) => Target::Delay(step(n)),
            Self::Dead(n) => Target::Dead(QUEUES[n].into()),
            Self::CommonDead => Target::Dead(STRANGER.into()),
        }
    }

    /// Dead letters have none.
    pub(crate) fn source(self) -> Option<Source> {
        match self {
            Self::Queue(n) => Some(Source::Queue(QUEUES[n].into())),
            Self::Delay(n) => Some(Source::Delay(step(n))),
            Self::Dead(_) | Self::CommonDead => None,
        }
    }

    pub(crate) fn of(source: &Source) -> Self {
        let spot = Self::all().find(|spot| spot.source().as_ref() == Some(source));
        spot.unwrap_or_else(|| panic!("{source:?} was never asked for"))
    }

    /// Delay queues have none.
    pub(crate) fn place(self) -> Option<Place> {
        match self {
            Self::Queue(n) => Some(Place::Queue(QUEUES[n].into())),
            Self::Dead(n) => Some(Place::Dead(QUEUES[n].into())),
            Self::CommonDead => Some(Place::CommonDead),
            Self::Delay(_) => None,
        }
    }
}

fn step(n: usize) -> Step {
    Step::from_millis(DELAYS_MS[n]).expect("on the grid")
}

/// A message's name.
pub(crate) type Key = u32;

/// One copy of a message, at a spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Copy {
    pub(crate) spot: Spot,
    /// Counts its moves.
    pub(crate) number: i64,
}

/// `None`: it is nowhere.
pub(crate) type Fate = Option<Copy>;

/// What is found after a crash, or delivered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) spot: Spot,
    pub(crate) message: Message,
    /// Said to have been delivered before; `None` where nothing is delivered.
    pub(crate) redelivered: Option<bool>,
}

#[derive(Debug, Default)]
struct Entry {
    bytes: usize,
    /// The queue that a delay queue gives it back to.
    home: usize,
    fates: BTreeSet<Fate>,
    /// Copies that a client has had in hand.
    delivered: BTreeSet<Copy>,
    /// Copies that an open source could have delivered.
    exposed: BTreeSet<Copy>,
    /// For the story.
    story: Vec<&'static str>,
}

/// An idempotency key, and which of the messages published under it is stored.
#[derive(Debug, Clone)]
pub(crate) struct OnceKey {
    pub(crate) once: Once,
    /// The messages that may be the one; exactly one of them is stored, or none if `none`.
    pub(crate) owners: BTreeSet<Key>,
    pub(crate) none: bool,
    /// Nobody can tell any more.
    pub(crate) forgotten: bool,
}

/// The books of one history, over all its crashes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<Key, Entry>,
    pub(crate) once: Vec<OnceKey>,
    /// Queues that are remembered as paused: what is possible.
    pub(crate) paused: BTreeMap<usize, BTreeSet<bool>>,
    /// Spots that some client has open now.
    open: BTreeSet<Spot>,
    /// What went wrong.
    pub(crate) wrong: Vec<String>,
}

impl Ledger {
    /// A new message, which is nowhere.
    pub(crate) fn new_message(&mut self, bytes: usize, home: usize) -> Key {
        let key = Key::try_from(self.entries.len()).expect("few messages");
        self.entries.insert(key, Entry { bytes, home, fates: [None].into(), ..Entry::default() });
        key
    }

    /// The message as it is when it lies in this copy.
    pub(crate) fn message(&self, key: Key, copy: Copy) -> Message {
        let entry = &self.entries[&key];
        let mut message = Message {
            id: Some(id(key)),
            content_type: Some("application/octet-stream".to_owned()),
            body: body(key, entry.bytes),
            ..Message::default()
        };
        message.headers.insert(COPY.to_owned(), HeaderValue::Int(copy.number));
        if let Spot::Delay(_) = copy.spot {
            let home = QUEUES[entry.home].to_owned();
            message.headers.insert(header::RETURN_TO.to_owned(), HeaderValue::Text(home));
        }
        message
    }

    pub(crate) fn home(&self, key: Key) -> usize {
        self.entries[&key].home
    }

    /// Something is asked for that may lead to these fates, beside those that are possible already.
    pub(crate) fn may_become(&mut self, key: Key, what: &'static str, fates: impl IntoIterator<Item = Fate>) {
        let entry = self.entries.get_mut(&key).expect("one of ours");
        for fate in fates {
            entry.fates.insert(fate);
            if let Some(copy) = fate
                && self.open.contains(&copy.spot)
            {
                entry.exposed.insert(copy);
            }
        }
        entry.story.push(what);
    }

    /// The broker has answered: this is its fate.
    pub(crate) fn is(&mut self, key: Key, what: &'static str, fate: Fate) {
        let entry = self.entries.get_mut(&key).expect("one of ours");
        entry.fates = [fate].into();
        entry.story.push(what);
    }

    /// Where it is, if that is certain.
    pub(crate) fn certain(&self, key: Key) -> Option<Copy> {
        let fates = &self.entries[&key].fates;
        if fates.len() == 1 { fates.first().copied().flatten() } else { None }
    }

    /// The messages that are certainly at this spot.
    pub(crate) fn at(&self, spot: Spot) -> Vec<Key> {
        let here = |key: &Key| self.certain(*key).is_some_and(|copy| copy.spot == spot);
        self.entries.keys().copied().filter(here).collect()
    }

    /// The messages that may be at this spot.
    pub(crate) fn maybe_at(&self, spot: Spot) -> Vec<(Key, Copy)> {
        let here = |entry: &Entry| entry.fates.iter().flatten().find(|copy| copy.spot == spot).copied();
        self.entries.iter().filter_map(|(key, entry)| Some((*key, here(entry)?))).collect()
    }

    /// A client wants what is at this spot, from now on.
    pub(crate) fn opened(&mut self, spot: Spot) {
        self.open.insert(spot);
        for entry in self.entries.values_mut() {
            entry.exposed.extend(entry.fates.iter().flatten().filter(|copy| copy.spot == spot));
        }
    }

    /// No client has anything open.
    pub(crate) fn all_closed(&mut self) {
        self.open.clear();
    }

    /// A client got this. It must be possible, and is certain now: only what is on disk is delivered.
    pub(crate) fn delivered(&mut self, found: &Found) -> Option<(Key, Copy)> {
        let (key, copy) = self.recognised(found)?;
        let entry = self.entries.get_mut(&key).expect("recognised");
        entry.story.push("delivered");
        if !entry.fates.contains(&Some(copy)) {
            self.fault(key, &format!("delivered from {copy:?}"));
            return None;
        }
        entry.fates = [Some(copy)].into();
        if entry.delivered.contains(&copy) && found.redelivered == Some(false) {
            self.fault(key, "delivered again without a flag");
        }
        self.entries.get_mut(&key).expect("recognised").delivered.insert(copy);
        Some((key, copy))
    }

    /// Judges what is found when a crash is over, and takes it for the truth from then on.
    pub(crate) fn judge(&mut self, found: &[Found]) {
        self.all_closed();
        let mut copies: BTreeMap<Key, Vec<(Copy, Option<bool>)>> = BTreeMap::new();
        for found in found {
            if let Some((key, copy)) = self.recognised(found) {
                copies.entry(key).or_default().push((copy, found.redelivered));
            }
        }
        let keys: Vec<Key> = self.entries.keys().copied().collect();
        for key in keys {
            let found = copies.remove(&key).unwrap_or_default();
            let entry = &self.entries[&key];
            match &found[..] {
                [] if !entry.fates.contains(&None) => self.fault(key, "lost"),
                [] => {}
                [(copy, _)] if !entry.fates.contains(&Some(*copy)) => self.fault(key, &format!("found at {copy:?}")),
                [(copy, Some(flag))] => {
                    if entry.delivered.contains(copy) && !flag {
                        self.fault(key, "was delivered and is not flagged");
                    } else if !entry.exposed.contains(copy) && *flag {
                        self.fault(key, "is flagged and was never delivered");
                    }
                }
                [_] => {}
                _ => self.fault(key, &format!("is there {} times: {found:?}", found.len())),
            }
            let entry = self.entries.get_mut(&key).expect("just seen");
            entry.fates = [found.first().map(|(copy, _)| *copy)].into();
            entry.story.push(if found.is_empty() { "| crash: nowhere" } else { "| crash: there" });
        }
    }

    /// What is known of the message, if it is as it was published.
    fn recognised(&mut self, found: &Found) -> Option<(Key, Copy)> {
        let id = found.message.id.as_deref().unwrap_or_default();
        let key = id.strip_prefix('t').and_then(|n| n.parse::<Key>().ok()).filter(|key| self.entries.contains_key(key));
        let Some(key) = key else {
            self.wrong.push(format!("{id:?} is at {:?} and was never published", found.spot));
            return None;
        };
        let Some(HeaderValue::Int(number)) = found.message.headers.get(COPY) else {
            self.fault(key, "has lost its headers");
            return None;
        };
        let copy = Copy { spot: found.spot, number: *number };
        let published = self.message(key, copy);
        let same = found.message.body == published.body && found.message.content_type == published.content_type;
        if !same {
            self.fault(key, &format!("is not as it was published: {} bytes", found.message.body.len()));
        }
        Some((key, copy))
    }

    pub(crate) fn fault(&mut self, key: Key, what: &str) {
        let Entry { fates, story, .. } = &self.entries[&key];
        let mut text = format!("t{key} {what}; possible was {fates:?}; its story: ");
        for event in story {
            let _ = write!(text, "{event}, ");
        }
        self.wrong.push(text);
    }

    /// Whether a client could have had this copy in hand.
    pub(crate) fn was_exposed(&self, key: Key, copy: Copy) -> bool {
        self.entries[&key].exposed.contains(&copy)
    }

    pub(crate) fn is_nowhere(&self, key: Key) -> bool {
        self.entries[&key].fates == [None].into()
    }

    /// Concludes from what was found which message is stored under an idempotency key.
    pub(crate) fn resolve_once(&mut self, slot: usize) {
        let OnceKey { owners, none, .. } = &self.once[slot];
        if !none {
            return;
        }
        let stored = |key: &&Key| {
            let entry = &self.entries[*key];
            !entry.delivered.is_empty() || entry.fates.iter().any(Option::is_some)
        };
        let stored: BTreeSet<Key> = owners.iter().filter(stored).copied().collect();
        let removed = owners.iter().any(|key| self.entries[key].story.contains(&"purged"));
        if stored.len() > 1 {
            self.wrong.push(format!("key {slot} has stored {stored:?}"));
        }
        let once = &mut self.once[slot];
        once.none = stored.is_empty();
        once.forgotten |= once.none && removed;
        once.owners = stored;
    }

    /// How many messages are certainly somewhere.
    pub(crate) fn alive(&self) -> usize {
        self.entries.keys().filter(|key| self.certain(**key).is_some()).count()
    }
}

/// The id of a message.
pub(crate) fn id(key: Key) -> String {
    format!("t{key}")
}

/// A key that is remembered for longer than any test runs.
pub(crate) fn once(n: usize, fingerprint: u8) -> Once {
    let until = Timestamp::from_millis(4_102_444_800_000);
    Once { key: format!("once-{n}"), fingerprint: [fingerprint; 32], until }
}

/// Bytes that no two messages share.
fn body(key: Key, bytes: usize) -> Bytes {
    let mut state = u64::from(key) + 1;
    let byte = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(byte).collect()
}

/// A queue's name as the broker has it.
pub(crate) fn queues() -> Vec<Arc<str>> {
    QUEUES.iter().map(|name| Arc::from(*name)).collect()
}
