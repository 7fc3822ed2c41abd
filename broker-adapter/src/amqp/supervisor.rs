//! Keeps a session with the broker, and keeps open in it what is wanted.
//!
//! It compares what is wanted with what is, whenever either changes: there is no queue of commands that could grow, and
//! none that could be lost. Whatever fails, the session or one source, is tried again with backoff.

use super::{
    address::Address,
    backoff::{Backoff, GOOD_AFTER},
    connect::ConnectError,
    open::{CLOSE_LIMIT, Open, lost_by},
    session::{Lost, Session, log},
    wanted::Shared,
};
use quebert_dispatcher::{grid::Step, ports::broker::BrokerEvent};
use std::{collections::BTreeSet, sync::Arc};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

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
