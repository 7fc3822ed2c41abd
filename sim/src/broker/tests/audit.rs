//! Whether the book makes sense: what it says of each message must be possible. The judge goes by the book, so this is held
//! against the broker, not against the dispatcher.

use crate::{
    history::{CopyNo, Entry, What},
    host::Host,
};
use quebert_dispatcher::ports::broker::{Opening, Source, Tag, Target};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
struct Copy {
    target: Target,
    out: Option<Tag>,
    delivered: bool,
    answered: bool,
}

#[derive(Default)]
struct Audit {
    live: BTreeMap<CopyNo, Copy>,
    gone: BTreeSet<CopyNo>,
    open: BTreeMap<Opening, (Host, Source, u16)>,
    closed: BTreeSet<Opening>,
}

/// Goes through a book.
///
/// # Panics
/// At the first entry that can't be.
#[track_caller]
pub(super) fn audit(entries: &[Entry]) {
    let mut audit = Audit::default();
    for entry in entries {
        let context = || format!("{:?} {} {:?}", entry.at, entry.host, entry.what);
        audit.check(&entry.what).unwrap_or_else(|wrong| panic!("{wrong}: {}", context()));
    }
    let at: Vec<_> = entries.iter().map(|entry| entry.at).collect();
    assert!(at.is_sorted(), "time goes on");
}

impl Audit {
    fn check(&mut self, what: &What) -> Result<(), &'static str> {
        match what {
            What::Stored { copy, target, .. } => {
                let new = Copy { target: target.clone(), out: None, delivered: false, answered: false };
                let was = self.live.insert(*copy, new);
                ensure(was.is_none() && !self.gone.contains(copy), "a copy's number is given once")?;
            }
            What::Delivered { copy, tag, source, to, redelivered } => {
                let (host, from, window) = self.open.get(&tag.opening).ok_or("delivered to what is not open")?;
                ensure(host == to && from == source, "delivered to whoever opened it, from what was opened")?;
                let out =
                    self.live.values().filter(|one| one.out.is_some_and(|out| out.opening == tag.opening)).count();
                ensure(out < usize::from(*window), "the window is held")?;
                let one = self.live.get_mut(copy).ok_or("delivered, and not there")?;
                ensure(one.out.replace(*tag).is_none(), "delivered while it was out")?;
                ensure(one.delivered == *redelivered, "flagged if and only if it was delivered before")?;
                let right = match (source, &one.target) {
                    (Source::Queue(from), Target::Queue(to) | Target::Dead(to)) => from == to,
                    (Source::Delay(from), Target::Delay(to)) => from == to,
                    _ => false,
                };
                ensure(right, "delivered from where it was stored")?;
                one.delivered = true;
            }
            What::Returned { copy, .. } => {
                let one = self.live.get_mut(copy).ok_or("returned, and not there")?;
                ensure(one.out.take().is_some(), "returned, and not out")?;
            }
            What::Acked { copy, .. } | What::BuriedByBroker { copy, .. } => {
                ensure(self.live.remove(copy).is_some(), "settled, and not there")?;
                self.gone.insert(*copy);
            }
            What::Unstored { copy } => {
                let one = self.live.remove(copy).ok_or("lost, and not there")?;
                // A delay queue that is too young may be forgotten with all that is in it.
                let may = !one.answered || matches!(one.target, Target::Delay(_));
                ensure(may, "lost, though it was confirmed")?;
                self.gone.insert(*copy);
            }
            What::Revived { copy, target, .. } => {
                ensure(self.gone.remove(copy), "revived, and never gone")?;
                let back = Copy { target: target.clone(), out: None, delivered: true, answered: true };
                self.live.insert(*copy, back);
            }
            What::Answered { copy, how, .. } => {
                ensure(copy.is_some() == matches!(*how, "ack" | "never") || *how == "never", "an ack is about a copy")?;
                if let Some(one) = copy.and_then(|copy| self.live.get_mut(&copy)) {
                    one.answered |= *how == "ack";
                }
            }
            What::Opened { by, source, opening, window } => {
                ensure(!self.closed.contains(opening), "an opening's name is used once")?;
                let was = self.open.insert(*opening, (*by, source.clone(), *window));
                ensure(was.is_none(), "opened twice")?;
            }
            What::Closed { opening, .. } => {
                ensure(self.open.remove(opening).is_some(), "closed, and not open")?;
                self.closed.insert(*opening);
                let out = self.live.values().any(|one| one.out.is_some_and(|out| out.opening == *opening));
                ensure(!out, "closed, and something is out")?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn ensure(holds: bool, what: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(what) }
}
