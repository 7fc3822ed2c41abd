//! One page of dead letters. Where the broker gives positions, letters are told in the order they lie, queue by queue;
//! where it gives none, all are looked at for each page, and the page is what comes next by time and key. It changes
//! nothing.

use super::{
    Desk,
    cursor::{Cursor, Mark, Order},
};
use crate::{
    api::{
        problem::{Code, Fault},
        types::{DeadFilter, DeadPage, DeadView},
    },
    letter::{Drawer, Filter, Letter},
};
use quebert_broker_adapter::admin::{AdminError, Position, Sweeper, Take};
use quebert_dispatcher::ports::BoxFuture;
use quebert_wire::{Message, Timestamp};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Letters that one request looks at in each queue, and how long it looks.
const LOOKED_AT_MAX: u64 = 100_000;
const TIME_MAX: Duration = Duration::from_secs(10);

/// The page behind `cursor`, or the first.
pub(super) async fn page(
    desk: &Desk,
    said: &DeadFilter,
    drawers: Vec<Drawer>,
    filter: Filter,
    limit: usize,
    cursor: Option<Cursor>,
) -> Result<DeadPage, Fault> {
    let mark = cursor.map(|cursor| cursor.mark);
    let (first, mut after, behind) = match mark {
        None => (0, None, None),
        Some(Mark::Behind(order)) => (0, None, Some(order)),
        Some(Mark::At { queue, position }) => {
            let known = drawers.iter().position(|drawer| drawer.queue.as_deref() == queue.as_deref());
            let gone = || Fault::new(Code::InvalidRequest, "cursor: its queue is not there any more");
            (known.ok_or_else(gone)?, Some(Position(position)), None)
        }
    };
    let now = crate::intake::now();
    let mut looker = Looker {
        filter,
        drawer: drawers[first].clone(),
        now,
        limit,
        until: Instant::now() + TIME_MAX,
        behind,
        in_order: Vec::new(),
        by_time: BTreeMap::new(),
        last: None,
    };
    let mut complete = true;
    let mut next = None;
    for drawer in drawers.into_iter().skip(first) {
        looker.drawer = drawer.clone();
        // The end of the queue before is as good a place to go on from as the beginning of this one.
        looker.last = after.map(|position| Mark::at(&drawer, position)).or(looker.last);
        let swept = desk.sweep(drawer.place, after.take(), LOOKED_AT_MAX, &mut looker).await?;
        let swept = match swept {
            Ok(swept) => swept,
            // Nothing was ever dead there.
            Err(AdminError::NoSuchPlace(_)) => continue,
            Err(e) => return Err(e.into()),
        };
        if swept.complete {
            continue;
        }
        // With a position to go on from, nothing is missing: the next page begins there.
        next = looker.last.take();
        if next.is_some() {
            break;
        }
        complete = false;
    }
    let Looker { mut in_order, mut by_time, .. } = looker;
    if by_time.len() > limit {
        by_time.pop_last();
        next = by_time.last_key_value().map(|(order, _)| Mark::Behind(order.clone()));
    }
    in_order.extend(by_time.into_values());
    let next_cursor = next.map(|mark| Cursor::new(said, mark).text());
    Ok(DeadPage { letters: in_order, next_cursor, complete })
}

/// Looks at letters and keeps those of the page.
struct Looker {
    filter: Filter,
    drawer: Drawer,
    now: Timestamp,
    limit: usize,
    until: Instant,
    behind: Option<Order>,
    in_order: Vec<DeadView>,
    /// One more than the page has, to know whether there is another.
    by_time: BTreeMap<Order, DeadView>,
    /// The last letter that the page behind need not look at again, if there are positions.
    last: Option<Mark>,
}

impl Looker {
    fn look(&mut self, at: Option<Position>, message: &Message) -> Take {
        if Instant::now() >= self.until {
            return Take::Stop;
        }
        let letter = Letter::read(message, &self.drawer);
        let fits = self.filter.fits(&letter, self.now);
        match at {
            Some(position) => {
                if fits && self.in_order.len() == self.limit {
                    return Take::Stop;
                }
                if fits {
                    self.in_order.push(letter.view());
                }
                self.last = Some(Mark::at(&self.drawer, position));
            }
            None if fits => {
                let order = Order { at: letter.at.map(Timestamp::as_millis), key: letter.key.clone() };
                if self.behind.as_ref().is_none_or(|behind| order > *behind) {
                    self.by_time.insert(order, letter.view());
                }
                if self.by_time.len() > self.limit + 1 {
                    self.by_time.pop_last();
                }
            }
            None => {}
        }
        Take::Keep
    }
}

impl Sweeper for Looker {
    fn decide<'a>(&'a mut self, at: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        let take = self.look(at, message);
        Box::pin(std::future::ready(take))
    }
}
