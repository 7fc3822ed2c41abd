//! Keeps a session with the broker, and keeps open in it what is wanted.
//!
//! It compares what is wanted with what is, whenever either changes: there is no queue of commands that could grow, and
//! none that could be lost. Whatever fails, the session or one source, is tried again with backoff.

use super::{
    RabbitConfig,
    address::Address,
    connect::ConnectError,
    delays,
    rpc::Fault,
    session::{KnownDelays, Lost, Session, log},
    source::{Ended, Opener, Openings, Phase},
};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{BrokerEvent, Opening, Source},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

/// A session, or an opening, that lasted this long was a good one: the next failure starts with the shortest pause.
const GOOD_AFTER: Duration = Duration::from_secs(5);
/// Openings that have ended and were not looked at yet; more of them wait with their news.
const ENDED_MAX: usize = 256;
/// The longest pause between two tries at one source.
const SOURCE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long an opening may take to send its acks and close its channel before it is ended without.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What the broker's handle and its supervisor share.
pub(crate) struct Shared {
    pub(crate) config: Arc<RabbitConfig>,
    pub(crate) openings: Arc<Openings>,
    pub(crate) known: Arc<KnownDelays>,
    session: RwLock<Option<Arc<Session>>>,
    wanted: Mutex<Wanted>,
    changed: Notify,
}

#[derive(Default)]
struct Wanted {
    sources: BTreeMap<Source, Want>,
    /// The newest generation of each source that its user has closed: nothing is told of it any more.
    closed: BTreeMap<Source, u64>,
    generation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Want {
    window: u16,
    paused: bool,
    /// Counted up by each `open` that asks for something else than is there.
    generation: u64,
}

impl Shared {
    pub(crate) fn new(config: RabbitConfig) -> Self {
        Self {
            config: Arc::new(config),
            openings: Arc::default(),
            known: Arc::new(KnownDelays::new()),
            session: RwLock::default(),
            wanted: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn want(&self, source: Source, window: u16) {
        let mut wanted = self.wanted();
        if wanted.sources.get(&source).is_some_and(|want| want.window == window && !want.paused) {
            return;
        }
        wanted.generation += 1;
        let generation = wanted.generation;
        wanted.sources.insert(source, Want { window, paused: false, generation });
        self.changed.notify_one();
    }

    pub(crate) fn pause(&self, source: &Source) {
        if let Some(want) = self.wanted().sources.get_mut(source) {
            want.paused = true;
            self.changed.notify_one();
        }
    }

    pub(crate) fn forget(&self, source: &Source) {
        let mut wanted = self.wanted();
        if let Some(want) = wanted.sources.remove(source) {
            wanted.closed.insert(source.clone(), want.generation);
            self.changed.notify_one();
        }
    }

    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_session(&self, session: Option<Arc<Session>>) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until told to stop, or until the handle is gone.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    addresses: Vec<Address>,
    next_address: usize,
    events: mpsc::Sender<BrokerEvent>,
    next_opening: u64,
    told_delays: BTreeSet<Step>,
    told_settled: BTreeSet<Step>,
    backoff: Backoff,
}

/// One opening that runs.
struct Active {
    opening: Opening,
    want: Want,
    since: Instant,
    phase: watch::Sender<Phase>,
    task: JoinHandle<Ended>,
}

/// A source that could not be opened, or not be kept open.
struct Failing {
    at: Instant,
    pause: Duration,
    /// What was told last, so that it is told once.
    told: Option<String>,
}

/// Whether to go on.
enum Next {
    Reconnect(Lost),
    Stop,
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>, mut addresses: Vec<Address>, events: mpsc::Sender<BrokerEvent>) -> Self {
        if shared.config.shuffle {
            use rand::seq::SliceRandom;
            addresses.shuffle(&mut rand::rng());
        }
        let backoff = Backoff::new(shared.config.backoff_min, shared.config.backoff_max);
        Self {
            shared,
            addresses,
            next_address: 0,
            events,
            next_opening: 0,
            told_delays: BTreeSet::new(),
            told_settled: BTreeSet::new(),
            backoff,
        }
    }

    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut stopping = std::pin::pin!(async move {
            // The sender's end means the same: nobody wants anything any more.
            let _ = stop.wait_for(|stop| *stop).await;
        });
        let mut told_down: Option<String> = None;
        loop {
            let connected = tokio::select! {
                biased;
                () = &mut stopping => return,
                connected = self.connect() => connected,
            };
            let lost = match connected {
                Ok(session) => {
                    told_down = None;
                    let since = Instant::now();
                    let next = self.hold(Arc::new(session), stopping.as_mut()).await;
                    if since.elapsed() >= GOOD_AFTER {
                        self.backoff.reset();
                    }
                    match next {
                        Next::Stop => return,
                        Next::Reconnect(lost) => lost,
                    }
                }
                Err(error) => Lost { reason: "connect", detail: error.to_string() },
            };
            let pause = self.backoff.next();
            // One line per state, not per try.
            if told_down.as_ref() != Some(&lost.detail) {
                let event = BrokerEvent::Disconnected { reason: lost.reason, detail: lost.detail.clone() };
                told_down = Some(lost.detail);
                tokio::select! {
                    biased;
                    () = &mut stopping => return,
                    () = self.tell(event) => {}
                }
            }
            tokio::select! {
                biased;
                () = &mut stopping => return,
                () = sleep(pause) => {}
            }
        }
    }

    async fn connect(&mut self) -> Result<Session, ConnectError> {
        let address = &self.addresses[self.next_address];
        // The next try goes to the next address, whether this one fails or is lost later.
        self.next_address = (self.next_address + 1) % self.addresses.len();
        let session = Session::open(address, self.shared.config.clone(), self.shared.known.clone()).await?;
        tracing::info!(%address, "connected to the broker");
        Ok(session)
    }

    /// Holds one session until it is lost, or until told to stop.
    async fn hold(
        &mut self,
        session: Arc<Session>,
        mut stopping: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Next {
        let mut open = Open::new(self.shared.clone(), session.clone(), self.events.clone());
        let next = tokio::select! {
            biased;
            () = &mut stopping => Next::Stop,
            lost = self.keep_open(&mut open) => Next::Reconnect(lost),
        };
        self.shared.set_session(None);
        match next {
            Next::Stop => {
                open.close_all().await;
                session.close(CLOSE_LIMIT).await;
                tracing::info!("closed the session with the broker");
                Next::Stop
            }
            Next::Reconnect(lost) => {
                session.cut();
                let told = open.abandon_all();
                tokio::select! {
                    biased;
                    () = stopping => Next::Stop,
                    () = told => Next::Reconnect(lost),
                }
            }
        }
    }

    async fn keep_open(&mut self, open: &mut Open) -> Lost {
        let session = open.session.clone();
        let mut lost = session.lost();
        let lost = async move {
            let lost = lost.wait_for(Option::is_some).await.ok().and_then(|lost| lost.clone());
            lost.unwrap_or(Lost { reason: "closed", detail: "the connection is closed".into() })
        };
        tokio::pin!(lost);
        let applied = tokio::select! {
            biased;
            lost = &mut lost => return lost,
            applied = session.apply() => applied,
        };
        match applied {
            Ok(reports) => reports.iter().for_each(log),
            Err(fault) => return lost_by(&fault),
        }
        self.shared.set_session(Some(session.clone()));
        self.tell(BrokerEvent::Connected).await;
        let mut blocked = session.blocked();
        let mut known = self.shared.known.subscribe();
        known.mark_changed();
        loop {
            let retry_at = open.reconcile(&mut self.next_opening).await;
            let settled_at = self.tell_settled().await;
            let retry = async {
                match retry_at.into_iter().chain(settled_at).min() {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                lost = &mut lost => return lost,
                ended = open.ended.recv() => {
                    let opening = ended.expect("this loop holds a sender");
                    if let Some(lost) = open.collect(opening).await {
                        return lost;
                    }
                }
                Ok(()) = blocked.changed() => {
                    let now = *blocked.borrow_and_update();
                    self.tell(BrokerEvent::Blocked(now)).await;
                }
                Ok(()) = known.changed() => {
                    let now: Vec<Step> = known.borrow_and_update().keys().copied().collect();
                    for step in now {
                        if self.told_delays.insert(step) {
                            self.tell(BrokerEvent::DelayExists(step)).await;
                        }
                    }
                }
                () = self.shared.changed.notified() => {}
                () = retry => {}
            }
        }
    }

    /// Tells of the delay queues that are old enough to be relied on by now; returns when the next one will be.
    async fn tell_settled(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut next = None;
        for (step, at) in self.shared.known.ripe() {
            if at > now {
                next = next.into_iter().chain([at]).min();
            } else if self.told_delays.contains(&step) && self.told_settled.insert(step) {
                self.tell(BrokerEvent::DelaySettled(step)).await;
            }
        }
        next
    }

    async fn tell(&self, event: BrokerEvent) {
        // An error means that nobody listens any more; the end comes by itself.
        let _ = self.events.send(event).await;
    }
}

fn lost_by(fault: &Fault) -> Lost {
    let reason = match fault {
        Fault::Refused { .. } => "channel",
        Fault::Lost { reason, .. } => reason,
    };
    Lost { reason, detail: fault.words().to_owned() }
}

/// What is open in one session.
struct Open {
    shared: Arc<Shared>,
    session: Arc<Session>,
    events: mpsc::Sender<BrokerEvent>,
    active: BTreeMap<Source, Active>,
    /// The one that is being closed: its acks are still to be sent, even if a stop comes meanwhile.
    closing: Option<JoinHandle<Ended>>,
    failing: BTreeMap<Source, Failing>,
    /// Openings that ended by themselves.
    ended: mpsc::Receiver<(Source, Opening)>,
    ending: mpsc::Sender<(Source, Opening)>,
    follower: JoinHandle<()>,
}

impl Open {
    fn new(shared: Arc<Shared>, session: Arc<Session>, events: mpsc::Sender<BrokerEvent>) -> Self {
        let (ending, ended) = mpsc::channel(ENDED_MAX);
        let follower = tokio::spawn(delays::follow(session.clone()));
        let (active, failing) = (BTreeMap::new(), BTreeMap::new());
        Self { shared, session, events, active, closing: None, failing, ended, ending, follower }
    }

    /// Opens, pauses and closes until what is open is what is wanted. Says when to look again.
    async fn reconcile(&mut self, next_opening: &mut u64) -> Option<Instant> {
        let wanted = self.shared.wanted().sources.clone();
        let outdated: Vec<_> = self
            .active
            .iter()
            .filter(|(source, active)| wanted.get(source).is_none_or(|want| want.generation != active.want.generation))
            .map(|(source, _)| source.clone())
            .collect();
        for source in outdated {
            let active = self.active.remove(&source).expect("just found");
            self.close(source, active).await;
        }
        self.failing.retain(|source, _| wanted.contains_key(source));
        for (source, want) in &wanted {
            match self.active.get_mut(source) {
                Some(active) if want.paused && !active.want.paused => {
                    active.want.paused = true;
                    active.phase.send_if_modified(|phase| {
                        *phase == Phase::Run && {
                            *phase = Phase::Pause;
                            true
                        }
                    });
                }
                Some(_) => {}
                None if want.paused => {}
                None if self.failing.get(source).is_some_and(|failing| failing.at > Instant::now()) => {}
                None => self.spawn(source.clone(), *want, next_opening),
            }
        }
        next_try(&self.failing, &wanted, |source| self.active.contains_key(source))
    }

    fn spawn(&mut self, source: Source, want: Want, next_opening: &mut u64) {
        *next_opening += 1;
        let opening = Opening(*next_opening);
        let (phase_sender, phase) = watch::channel(Phase::Run);
        let opener = Opener {
            session: self.session.clone(),
            source: source.clone(),
            opening,
            window: want.window,
            again: self.failing.contains_key(&source),
            openings: self.shared.openings.clone(),
            events: self.events.clone(),
            phase,
        };
        let (ending, name) = (self.ending.clone(), source.clone());
        let task = tokio::spawn(async move {
            let ended = opener.run().await;
            // Nobody listens once the session is being left.
            let _ = ending.send((name, opening)).await;
            ended
        });
        self.active.insert(source, Active { opening, want, since: Instant::now(), phase: phase_sender, task });
    }

    /// An opening has ended by itself: tells of it and has it opened again later, or says that the session is lost.
    async fn collect(&mut self, (source, opening): (Source, Opening)) -> Option<Lost> {
        if self.active.get(&source).is_none_or(|active| active.opening != opening) {
            return None;
        }
        let active = self.active.remove(&source).expect("just found");
        let lasted = active.since.elapsed();
        let ended = active.task.await.ok()?;
        let fault = ended.fault.clone()?;
        if !self.session.is_alive() {
            // `Closed` first, in this case too.
            self.tell_closed(&ended, active.want).await;
            return Some(lost_by(&fault));
        }
        tracing::warn!(source = ?ended.source, detail = fault.words(), "a source failed; the others go on");
        self.tell_closed(&ended, active.want).await;
        let before = self.failing.remove(&ended.source);
        let good = ended.opened && lasted >= GOOD_AFTER;
        let pause = before
            .as_ref()
            .filter(|_| !good)
            .map_or(self.shared.config.backoff_min, |failing| (failing.pause * 2).min(SOURCE_PAUSE_MAX));
        let mut told = before.and_then(|failing| failing.told).filter(|_| !ended.opened);
        if !ended.opened && told.as_deref() != Some(fault.words()) && !self.is_forgotten(&ended.source, active.want) {
            let detail = fault.words().to_owned();
            told = Some(detail.clone());
            let _ = self.events.send(BrokerEvent::SourceFailed { source: ended.source.clone(), detail }).await;
        }
        self.failing.insert(ended.source, Failing { at: Instant::now() + jittered(pause), pause, told });
        None
    }

    /// Closes an opening that is not wanted as it is: acks first, then the channel.
    async fn close(&mut self, source: Source, active: Active) {
        active.phase.send_replace(Phase::Close);
        let (opening, want) = (active.opening, active.want);
        // Kept here and not in this future, which a stop drops.
        let ended = finished(self.closing.insert(active.task)).await;
        self.closing = None;
        if let Some(ended) = ended {
            self.tell_closed(&ended, want).await;
        } else {
            // Ended by force. Whether `Opened` was told is not known, and `Closed` of an unknown opening does no harm.
            let ended = Ended { source, opening, opened: true, fault: None };
            self.tell_closed(&ended, want).await;
        }
    }

    /// Closes everything, at the same time.
    async fn close_all(&mut self) {
        self.follower.abort();
        for active in self.active.values() {
            active.phase.send_replace(Phase::Close);
        }
        let tasks = self.active.values_mut().map(|active| &mut active.task).chain(&mut self.closing);
        futures_util::future::join_all(tasks.map(finished)).await;
        self.active.clear();
        self.closing = None;
    }

    /// The session is lost: ends everything and tells of it.
    async fn abandon_all(&mut self) {
        self.follower.abort();
        let active = std::mem::take(&mut self.active);
        for active in active.values() {
            active.phase.send_replace(Phase::Abandon);
        }
        for mut active in active.into_values() {
            if let Some(ended) = finished(&mut active.task).await {
                self.tell_closed(&ended, active.want).await;
            }
        }
        if *self.session.blocked().borrow() {
            let _ = self.events.send(BrokerEvent::Blocked(false)).await;
        }
    }

    async fn tell_closed(&self, ended: &Ended, want: Want) {
        if ended.opened && !self.is_forgotten(&ended.source, want) {
            let _ = self.events.send(BrokerEvent::Closed { opening: ended.opening }).await;
        }
    }

    /// Whether the user has closed it, and so is told nothing more of it.
    fn is_forgotten(&self, source: &Source, want: Want) -> bool {
        self.shared.wanted().closed.get(source).is_some_and(|closed| *closed >= want.generation)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.follower.abort();
        for task in self.active.values().map(|active| &active.task).chain(&self.closing) {
            task.abort();
        }
    }
}

/// When to try again what has failed. A paused source is not tried: its moment would come, pass, and be waited for in vain.
fn next_try(
    failing: &BTreeMap<Source, Failing>,
    wanted: &BTreeMap<Source, Want>,
    is_open: impl Fn(&Source) -> bool,
) -> Option<Instant> {
    let is_tried = |source: &Source| !is_open(source) && wanted.get(source).is_some_and(|want| !want.paused);
    failing.iter().filter(|(source, _)| is_tried(source)).map(|(_, failing)| failing.at).min()
}

/// Waits for an opening that was told to end; ends it by force when it takes too long.
async fn finished(task: &mut JoinHandle<Ended>) -> Option<Ended> {
    match timeout(CLOSE_LIMIT, &mut *task).await {
        Ok(ended) => ended.ok(),
        Err(_) => {
            task.abort();
            task.await.ok()
        }
    }
}

/// Pauses that double from the shortest to the longest.
struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    fn next(&mut self) -> Duration {
        let pause = jittered(self.next);
        self.next = (self.next * 2).min(self.max);
        pause
    }

    fn reset(&mut self) {
        self.next = self.min;
    }
}

/// Somewhere between half of it and all of it, so that many dispatchers don't come at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_source_that_has_failed_is_not_waited_for() {
        let (at, source) = (Instant::now(), |name: &str| Source::Queue(name.into()));
        let failing = |at| Failing { at, pause: Duration::ZERO, told: None };
        let want = |paused| Want { window: 1, paused, generation: 1 };
        let later = at + Duration::from_secs(1);
        let failing = BTreeMap::from([(source("paused"), failing(at)), (source("wanted"), failing(later))]);
        let wanted = BTreeMap::from([(source("paused"), want(true)), (source("wanted"), want(false))]);
        assert_eq!(next_try(&failing, &wanted, |_| false), Some(later));
        assert_eq!(next_try(&failing, &wanted, |_| true), None, "what is open is not tried either");
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_good_session() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        for full_ms in [100, 200, 400, 800, 1600, 2000, 2000] {
            let (pause, full) = (backoff.next(), Duration::from_millis(full_ms));
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
