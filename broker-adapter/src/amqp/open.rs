//! What is open in one session, brought to what is wanted whenever either changes. A source that fails is tried again by
//! itself; the others go on.

use super::{
    backoff::{GOOD_AFTER, jittered},
    delays,
    rpc::Fault,
    session::{Lost, Session},
    source::{Ended, Opener, Phase},
    wanted::{Shared, Want},
};
use quebert_dispatcher::ports::broker::{BrokerEvent, Opening, Source};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};

/// Openings that have ended and were not looked at yet; more of them wait with their news.
const ENDED_MAX: usize = 256;
/// The longest pause between two tries at one source.
const SOURCE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long an opening may take to send its acks and close its channel before it is ended without.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What is open in one session.
pub(super) struct Open {
    shared: Arc<Shared>,
    pub(super) session: Arc<Session>,
    events: mpsc::Sender<BrokerEvent>,
    active: BTreeMap<Source, Active>,
    /// The one that is being closed: its acks are still to be sent, even if a stop comes meanwhile.
    closing: Option<JoinHandle<Ended>>,
    failing: BTreeMap<Source, Failing>,
    /// Openings that ended by themselves.
    pub(super) ended: mpsc::Receiver<(Source, Opening)>,
    ending: mpsc::Sender<(Source, Opening)>,
    follower: JoinHandle<()>,
}

impl Open {
    pub(super) fn new(shared: Arc<Shared>, session: Arc<Session>, events: mpsc::Sender<BrokerEvent>) -> Self {
        let (ending, ended) = mpsc::channel(ENDED_MAX);
        let follower = tokio::spawn(delays::follow(session.clone()));
        let (active, failing) = (BTreeMap::new(), BTreeMap::new());
        Self { shared, session, events, active, closing: None, failing, ended, ending, follower }
    }

    /// Opens, pauses and closes until what is open is what is wanted. Says when to look again.
    pub(super) async fn reconcile(&mut self, next_opening: &mut u64) -> Option<Instant> {
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
    pub(super) async fn collect(&mut self, (source, opening): (Source, Opening)) -> Option<Lost> {
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
    pub(super) async fn close_all(&mut self) {
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
    pub(super) async fn abandon_all(&mut self) {
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

/// The session is lost by a fault that one of its channels met.
pub(super) fn lost_by(fault: &Fault) -> Lost {
    let reason = match fault {
        Fault::Refused { .. } => "channel",
        Fault::Lost { reason, .. } => reason,
    };
    Lost { reason, detail: fault.words().to_owned() }
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
}
