//! Dead letters straight at the broker, swept place by place. It keeps no position: each command begins at the front.

use super::{DeadCommand, Deed, FilterArgs, HowArgs, Outcome, show};
use crate::{
    api::types::{DeadDetail, DeadView},
    cli::{
        Failure,
        table::{self, plain},
        way::Direct,
    },
    intake::now,
    letter::{Drawer, Filter, Letter, reborn},
};
use quebert_broker_adapter::admin::{AdminError, Position, Sweeper, Take};
use quebert_dispatcher::ports::{BoxFuture, broker::Target};
use quebert_wire::Message;
use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Letters of each queue that are looked at, unless --scan says otherwise.
const SCAN_DEFAULT: u64 = 100_000;

pub(super) async fn carry_out(direct: &Direct, command: DeadCommand) -> Result<(), Failure> {
    match command {
        DeadCommand::List { filter, json } => {
            let swept = Sweep::of(&filter, What::List(Vec::new())).through(direct).await?;
            let What::List(letters) = swept.what else { unreachable!("a sweep stays what it is") };
            let mut out = io::stdout().lock();
            if json {
                return Ok(letters.iter().try_for_each(|letter| table::json_line(&mut out, letter))?);
            }
            Ok(show::list(&mut out, &letters)?)
        }
        DeadCommand::Show { key, json } => {
            let filter = FilterArgs { limit: Some(1), ..FilterArgs::default() };
            let swept = Sweep::of(&filter, What::Show(None)).keys([key.clone()]).through(direct).await?;
            let What::Show(shown) = swept.what else { unreachable!("a sweep stays what it is") };
            let shown = shown.ok_or_else(|| Failure::Usage(format!("there is no dead letter {key:?}")))?;
            Ok(table::print(json, &*shown, show::in_full)?)
        }
        DeadCommand::Replay { keys, filter, how } => act(direct, Deed::Replay, keys, &filter, &how).await,
        DeadCommand::Delete { keys, json } => {
            let how = HowArgs { json, ..HowArgs::default() };
            act(direct, Deed::Delete, keys, &FilterArgs::default(), &how).await
        }
        DeadCommand::Purge { filter, how, .. } => act(direct, Deed::Delete, Vec::new(), &filter, &how).await,
    }
}

async fn act(
    direct: &Direct,
    deed: Deed,
    keys: Vec<String>,
    filter: &FilterArgs,
    how: &HowArgs,
) -> Result<(), Failure> {
    let outcome = Outcome::of(deed, how.dry_run);
    let what = What::Act { outcome, quiet: how.json, pause: super::pause(how.rate), next: Instant::now() };
    let swept = Sweep::of(filter, what).keys(keys).through(direct).await?;
    let What::Act { mut outcome, .. } = swept.what else { unreachable!("a sweep stays what it is") };
    outcome.seen = swept.seen;
    outcome.matched = swept.matched;
    outcome.missing = swept.keys.into_iter().collect();
    outcome.tell(how.json)
}

/// What a sweep does with the letters that are meant.
enum What {
    List(Vec<DeadView>),
    Show(Option<Box<DeadDetail>>),
    Act { outcome: Outcome, quiet: bool, pause: Option<Duration>, next: Instant },
}

/// A walk through the places of dead letters.
struct Sweep {
    filter: Filter,
    limit: u64,
    scan: u64,
    /// Those that are still looked for, where keys were given.
    keys: BTreeSet<String>,
    by_key: bool,
    drawer: Drawer,
    what: What,
    seen: u64,
    matched: u64,
    failure: Option<io::Error>,
}

impl Sweep {
    fn of(args: &FilterArgs, what: What) -> Self {
        let filter = Filter {
            lane: args.queue.clone(),
            reason: args.reason.clone(),
            url_prefix: args.url.clone(),
            search: args.search.clone(),
            ids: args.id.clone(),
            older_than: args.older_than.map(|span| span.0),
            newer_than: args.newer_than.map(|span| span.0),
        };
        Self {
            filter,
            limit: args.limit.unwrap_or(u64::MAX),
            scan: args.scan.unwrap_or(SCAN_DEFAULT),
            keys: BTreeSet::new(),
            by_key: false,
            drawer: Drawer::common(),
            what,
            seen: 0,
            matched: 0,
            failure: None,
        }
    }

    /// Only letters of these keys, one of each, if there are any.
    fn keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.keys.extend(keys);
        self.by_key = !self.keys.is_empty();
        self
    }

    async fn through(mut self, direct: &Direct) -> Result<Self, Failure> {
        let lanes = &direct.config.core.lanes;
        let name = self.filter.lane.as_deref();
        if let Some(name) = name {
            direct.lane(name)?;
        }
        let drawers = Drawer::all(lanes, name).expect("there is such a lane");
        for drawer in drawers {
            let place = drawer.place.clone();
            self.drawer = drawer;
            match direct.admin.sweep(place, None, self.scan, &mut self).await {
                Ok(swept) => self.seen += swept.seen,
                // Nothing was ever dead there.
                Err(AdminError::NoSuchPlace(_)) => {}
                Err(e) => return Err(e.into()),
            }
            if let Some(e) = self.failure.take() {
                return Err(e.into());
            }
        }
        Ok(self)
    }

    fn is_over(&self) -> bool {
        self.failure.is_some() || self.matched >= self.limit || (self.by_key && self.keys.is_empty())
    }

    async fn take(&mut self, message: &Message) -> io::Result<Take> {
        let letter = Letter::read(message, &self.drawer);
        if !self.filter.fits(&letter, now()) || (self.by_key && !self.keys.remove(&letter.key)) {
            return Ok(Take::Keep);
        }
        self.matched += 1;
        let (outcome, quiet, pause, next) = match &mut self.what {
            What::List(letters) => {
                letters.push(letter.view());
                return Ok(Take::Keep);
            }
            What::Show(shown) => {
                *shown = Some(Box::new(letter.detail(message)));
                return Ok(Take::Stop);
            }
            What::Act { outcome, quiet, pause, next } => (outcome, *quiet, *pause, next),
        };
        let to = match (outcome.kind, &letter.returns_to) {
            (Deed::Replay, None) => {
                outcome.stuck += 1;
                writeln!(io::stderr(), "{}: no queue to return to is known", plain(&letter.key))?;
                return Ok(Take::Keep);
            }
            (Deed::Replay, Some(queue)) => Some(queue.clone()),
            (Deed::Delete, _) => None,
        };
        if outcome.dry_run {
            if !quiet {
                let arrow = to.as_deref().map(|queue| format!(" -> {}", plain(queue))).unwrap_or_default();
                writeln!(io::stdout(), "{}{arrow}", plain(&letter.key))?;
            }
            return Ok(Take::Keep);
        }
        if let Some(pause) = pause {
            sleep_until(*next).await;
            *next = Instant::now().max(*next + pause);
        }
        outcome.done += 1;
        Ok(match to {
            Some(queue) => Take::Move { target: Target::Queue(queue.into()), message: reborn(message, now()) },
            None => Take::Remove,
        })
    }
}

impl Sweeper for Sweep {
    fn decide<'a>(&'a mut self, _at: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        Box::pin(async move {
            if self.is_over() {
                return Take::Stop;
            }
            match self.take(message).await {
                Ok(take) => take,
                Err(e) => {
                    self.failure = Some(e);
                    Take::Stop
                }
            }
        })
    }
}
