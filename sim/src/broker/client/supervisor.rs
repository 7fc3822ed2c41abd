//! Keeps a session with the broker: finds the node that leads, and begins anew with backoff whenever a session is lost.

use super::{
    session::{Lost, Next, Session},
    shared::Shared,
};
use crate::{
    broker::{
        PORT,
        wire::{Ask, Frame, Link, Role, Tell},
    },
    host::Host,
};
use quebert_dispatcher::ports::broker::BrokerEvent;
use std::{future::poll_fn, io, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

/// The limit of one connect, as with the production adapter.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The first pause after a fault, and the longest, as with the production adapter.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A session that lasted this long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Runs until it is stopped.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    events: mpsc::Sender<BrokerEvent>,
    /// The node to be tried next.
    node: u8,
    pause: Duration,
    pauses: u64,
}

/// Why there is no session.
enum NoSession {
    /// That node leads instead, if it is known.
    Elsewhere(Option<u8>),
    /// In words.
    Failed(String),
}

impl Supervisor {
    pub(super) const fn new(shared: Arc<Shared>, events: mpsc::Sender<BrokerEvent>) -> Self {
        Self { shared, events, node: 1, pause: PAUSES.0, pauses: 0 }
    }

    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        let mut stopping = std::pin::pin!(shared.clone().stopping());
        let mut told_down: Option<String> = None;
        loop {
            let connected = tokio::select! {
                biased;
                () = &mut stopping => break,
                connected = self.connect() => connected,
            };
            let lost = match connected {
                Ok(session) => {
                    told_down = None;
                    let since = shared.env.now();
                    let next = session.hold(&self.events).await;
                    if shared.env.now() >= since + GOOD_AFTER {
                        self.pause = PAUSES.0;
                    }
                    match next {
                        Next::Stop => break,
                        Next::Reconnect(lost) => lost,
                    }
                }
                Err(detail) => Lost { reason: "connect", detail },
            };
            let pause = self.next_pause();
            // Once per state, not per try.
            if told_down.as_ref() != Some(&lost.detail) {
                told_down = Some(lost.detail.clone());
                let told = self.events.send(BrokerEvent::Disconnected { reason: lost.reason, detail: lost.detail });
                tokio::select! {
                    biased;
                    () = &mut stopping => break,
                    _ = told => {}
                }
            }
            tokio::select! {
                biased;
                () = &mut stopping => break,
                () = sleep(pause) => {}
            }
        }
        // First the events end, then the stop.
        drop(self);
        shared.finish();
    }

    /// Tries one node, and the one that it says leads.
    async fn connect(&mut self) -> Result<Session, String> {
        let first = self.try_node(self.node).await;
        self.node = self.node % self.shared.spec.nodes + 1;
        let result = match first {
            Err(NoSession::Elsewhere(Some(leader))) => {
                let second = self.try_node(leader).await;
                if second.is_ok() {
                    self.node = leader;
                }
                second
            }
            first => first,
        };
        result.map_err(|error| match error {
            NoSession::Elsewhere(_) => "no node leads".to_owned(),
            NoSession::Failed(words) => words,
        })
    }

    async fn try_node(&self, node: u8) -> Result<Session, NoSession> {
        let both = async { tokio::try_join!(self.dial(node, Role::Consume), self.dial(node, Role::Publish)) };
        match timeout(CONNECT_LIMIT, both).await {
            Ok(Ok((consume, publish))) => Ok(Session::new(self.shared.clone(), consume, publish)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NoSession::Failed("no connection in time".to_owned())),
        }
    }

    async fn dial(&self, node: u8, role: Role) -> Result<Link<Tell>, NoSession> {
        let failed = |error: io::Error| NoSession::Failed(format!("connect: {error}"));
        let stream = self.shared.env.net.connect(Host::Broker(node), PORT).await.map_err(failed)?;
        let heartbeat = Duration::from_millis(self.shared.spec.heartbeat_ms);
        let mut link = Link::new(stream, heartbeat, &Ask::Beat);
        Ask::Hello(role).frame(&mut link.out);
        poll_fn(|cx| link.poll_send(cx)).await.map_err(failed)?;
        match poll_fn(|cx| link.poll_frame(cx)).await.map_err(failed)? {
            Tell::Welcome => Ok(link),
            Tell::Elsewhere(leader) => Err(NoSession::Elsewhere(leader)),
            other => Err(NoSession::Failed(format!("no welcome: {other:?}"))),
        }
    }

    /// Somewhere between half of a pause and all of it, which doubles.
    fn next_pause(&mut self) -> Duration {
        self.pauses += 1;
        let now = u64::try_from(self.shared.env.now().as_millis()).unwrap_or(u64::MAX);
        let draw = self.shared.env.draw.of("reconnect").at(now).at(self.pauses);
        let pause = draw.span(self.pause / 2, self.pause);
        self.pause = (self.pause * 2).min(PAUSES.1);
        pause
    }
}
