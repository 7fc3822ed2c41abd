//! One dead letter, by its key: shown, replayed or deleted. Where several have the same key, it is the first of them.

use super::{Desk, run::WaysBack};
use crate::{
    api::{
        problem::{Code, Fault},
        types::DeadDetail,
    },
    letter::{Drawer, Letter, reborn},
};
use quebert_broker_adapter::admin::{AdminError, Position, Sweeper, Take};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{PublishError, Target},
};
use quebert_wire::Message;
use std::time::Duration;
use tokio::time::Instant;

/// Letters that are looked at in each queue, and how long.
const LOOKED_AT_MAX: u64 = 1_000_000;
const TIME_MAX: Duration = Duration::from_secs(30);

/// What to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Show,
    Replay,
    Delete,
}

/// Finds the letter and does that with it; returns how it was.
pub(super) async fn one(desk: &Desk, key: String, what: What) -> Result<DeadDetail, Fault> {
    let drawers = Drawer::all(&desk.state.core.now().lanes, None).expect("all lanes, not one by name");
    let mut finder = Finder {
        key,
        what,
        drawer: Drawer::common(),
        ways: desk.ways_back(),
        until: Instant::now() + TIME_MAX,
        found: None,
        stuck: false,
    };
    let mut complete = true;
    for drawer in drawers {
        finder.drawer = drawer.clone();
        match desk.sweep(drawer.place, None, LOOKED_AT_MAX, &mut finder).await? {
            Ok(swept) => {
                complete &= swept.complete;
                if what != What::Show && swept.moved + swept.removed == 0 {
                    // Somebody else has taken it in the meantime.
                    finder.found = None;
                }
            }
            // Nothing was ever dead there.
            Err(AdminError::NoSuchPlace(_)) => {}
            Err(AdminError::Publish(PublishError::Returned(_))) => finder.stuck = true,
            Err(e) => return Err(e.into()),
        }
        if finder.stuck {
            return Err(Fault::new(Code::NoWayBack, "its queue is not there any more; it stays"));
        }
        if let Some(found) = finder.found.take() {
            return Ok(found);
        }
    }
    let detail = if complete { "none has this key" } else { "none of those that were looked at in time has this key" };
    Err(Fault::new(Code::DeadLetterNotFound, detail))
}

struct Finder {
    key: String,
    what: What,
    drawer: Drawer,
    ways: WaysBack,
    until: Instant,
    found: Option<DeadDetail>,
    stuck: bool,
}

impl Sweeper for Finder {
    fn decide<'a>(&'a mut self, _at: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        Box::pin(async move {
            if self.found.is_some() || Instant::now() >= self.until {
                return Take::Stop;
            }
            let letter = Letter::read(message, &self.drawer);
            if letter.key != self.key {
                return Take::Keep;
            }
            self.found = Some(letter.detail(message));
            match self.what {
                What::Show => Take::Stop,
                What::Delete => Take::Remove,
                What::Replay => match self.ways.of(&letter).await {
                    Some(queue) => {
                        Take::Move { target: Target::Queue(queue), message: reborn(message, crate::intake::now()) }
                    }
                    None => {
                        self.stuck = true;
                        Take::Stop
                    }
                },
            }
        })
    }
}
