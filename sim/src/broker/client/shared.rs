//! What the client's handle and its session share: what is wanted, and what waits to be sent. It sends nothing.

use crate::{
    case::{BrokerSpec, Engine},
    env::Env,
};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Depth, PublishError, Source, Tag, Target},
};
use quebert_wire::Message;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::{sleep, timeout},
};

/// How old a queue is before a confirmation from it counts, as with the production adapter.
const RIPE_AFTER: Duration = Duration::from_secs(5);
/// How long the broker may take to say that a queue is there.
const LOOK_LIMIT: Duration = Duration::from_secs(15);

/// Where a publish's fate is told.
pub(super) type Answering = oneshot::Sender<Result<(), PublishError>>;

/// What is wanted of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) window: u16,
    pub(super) paused: bool,
    /// Counted up by each `open` that asks for something else than is there.
    pub(super) generation: u64,
}

/// A publish that is not sent yet.
pub(super) struct Letter {
    pub(super) no: u64,
    pub(super) target: Target,
    pub(super) from: Option<Tag>,
    pub(super) message: Message,
    pub(super) answer: Answering,
}

/// What waits for the session.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) wanted: BTreeMap<Source, Want>,
    /// The newest generation of each source that its user has closed: nothing is told of it any more.
    pub(super) closed: BTreeMap<Source, u64>,
    /// What `wanted` was changed for and not looked at.
    pub(super) wants_changed: bool,
    generation: u64,
    /// Deliveries to be settled, with whether they are acked, in order.
    pub(super) settles: Vec<(Tag, bool)>,
    pub(super) letters: VecDeque<Letter>,
    pub(super) questions: Vec<(Target, oneshot::Sender<Option<Depth>>)>,
    /// Letters that their senders have given up while they were under way.
    pub(super) given_up: bool,
    pub(super) stopping: bool,
    last_letter: u64,
    started: bool,
    connected: bool,
    /// When each known delay queue was made, or the latest moment at which that can have been.
    pub(super) delays: BTreeMap<Step, Duration>,
    /// Which of them were told of, and which were said to be old enough.
    pub(super) told_delays: BTreeSet<Step>,
    pub(super) told_settled: BTreeSet<Step>,
    waker: Option<Waker>,
}

/// What handle and session share.
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) spec: BrokerSpec,
    orders: Mutex<Orders>,
    /// Counts lost sessions; `u64::MAX` once there will be no other.
    sessions: AtomicU64,
    /// Told when that changes. A `watch` would wake those who wait in an order that is drawn.
    changed: Notify,
    began: Duration,
}

impl Shared {
    pub(super) fn new(env: Env, spec: BrokerSpec) -> Self {
        let began = env.now();
        Self { env, spec, orders: Mutex::default(), sessions: AtomicU64::new(0), changed: Notify::new(), began }
    }

    /// Looks at what waits, or changes it.
    pub(super) fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that is the first start, and not after a stop.
    pub(super) fn start(&self) -> bool {
        let mut orders = self.orders();
        !std::mem::replace(&mut orders.started, true) && !orders.stopping
    }

    pub(super) fn want(&self, source: Source, window: u16) {
        let mut orders = self.orders();
        if orders.wanted.get(&source).is_some_and(|want| want.window == window && !want.paused) {
            return;
        }
        orders.generation += 1;
        let generation = orders.generation;
        orders.wanted.insert(source, Want { window, paused: false, generation });
        orders.wants_changed = true;
        orders.wake();
    }

    pub(super) fn pause(&self, source: &Source) {
        let mut orders = self.orders();
        if let Some(want) = orders.wanted.get_mut(source) {
            want.paused = true;
            orders.wants_changed = true;
            orders.wake();
        }
    }

    pub(super) fn forget(&self, source: &Source) {
        let mut orders = self.orders();
        if let Some(want) = orders.wanted.remove(source) {
            orders.closed.insert(source.clone(), want.generation);
            orders.wants_changed = true;
            orders.wake();
        }
    }

    pub(super) fn settle(&self, tag: Tag, ack: bool) {
        let mut orders = self.orders();
        if orders.connected {
            orders.settles.push((tag, ack));
            orders.wake();
        }
    }

    /// Leaves a publish to be sent; its number. `None` without a session.
    pub(super) fn post(&self, target: Target, from: Option<Tag>, message: Message, answer: Answering) -> Option<u64> {
        let mut orders = self.orders();
        if !orders.connected {
            return None;
        }
        orders.last_letter += 1;
        let no = orders.last_letter;
        orders.letters.push_back(Letter { no, target, from, message, answer });
        orders.wake();
        Some(no)
    }

    /// Nobody waits for that publish any more. Whether it was never sent.
    pub(super) fn give_up(&self, letter: u64) -> bool {
        let mut orders = self.orders();
        let before = orders.letters.len();
        orders.letters.retain(|one| one.no != letter);
        orders.given_up = true;
        orders.wake();
        orders.letters.len() < before
    }

    pub(super) fn question(&self, target: Target, answer: oneshot::Sender<Option<Depth>>) -> Option<()> {
        let mut orders = self.orders();
        if !orders.connected {
            return None;
        }
        orders.questions.push((target, answer));
        orders.wake();
        Some(())
    }

    pub(super) fn stop(&self) {
        let mut orders = self.orders();
        orders.stopping = true;
        if !orders.started {
            drop(orders);
            return self.finish();
        }
        orders.wake();
    }

    /// There is a session, or there is none any more: then what waits for it is told so.
    pub(super) fn set_connected(&self, connected: bool) {
        let mut orders = self.orders();
        orders.connected = connected;
        if connected {
            orders.wants_changed = true;
            return;
        }
        orders.settles.clear();
        let (letters, questions) = (std::mem::take(&mut orders.letters), std::mem::take(&mut orders.questions));
        drop(orders);
        for letter in letters {
            let _ = letter.answer.send(Err(PublishError::NotConnected("the session was lost".to_owned())));
        }
        drop(questions);
        self.sessions.fetch_add(1, Relaxed);
        self.changed.notify_waiters();
    }

    /// There will be no other session.
    pub(super) fn finish(&self) {
        self.sessions.store(u64::MAX, Relaxed);
        self.changed.notify_waiters();
    }

    /// Waits until there will be no other session.
    pub(super) async fn ended(&self) {
        loop {
            // From here on it misses nothing.
            let changed = self.changed.notified();
            if self.sessions.load(Relaxed) == u64::MAX {
                return;
            }
            changed.await;
        }
    }

    /// A delay queue of this length is there, and has been for `age` at least.
    pub(super) fn learn(&self, step: Step, age: Duration) {
        let since = self.env.now().saturating_sub(age);
        let mut orders = self.orders();
        let known = orders.delays.entry(step).or_insert(since);
        *known = since.min(*known);
    }

    /// When a delay queue that was made at that moment can be relied on.
    pub(super) fn ripe_at(&self, since: Duration) -> Duration {
        match self.spec.engine {
            Engine::Rabbit => since + RIPE_AFTER,
            Engine::Embedded => since,
        }
    }

    /// Waits until a confirmation from there can be relied on.
    pub(super) async fn ripens(&self, target: &Target) -> Result<(), PublishError> {
        let since = match target {
            Target::Queue(_) => return Ok(()),
            Target::Delay(step) => self.orders().delays.get(step).copied().unwrap_or_default(),
            Target::Dead(_) => self.began,
        };
        let left = self.ripe_at(since).saturating_sub(self.env.now());
        if left.is_zero() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.changed.notified() => {
                Err(PublishError::Unknown("the session was lost while the queue was new".to_owned()))
            }
            () = sleep(left) => self.has_outlived_its_youth(target).await,
        }
    }

    /// A node that lost its power says nothing, and may be back without the queue before the silence is noticed. Only an
    /// answer over this very session shows that the node has lived on, as in the adapter.
    async fn has_outlived_its_youth(&self, target: &Target) -> Result<(), PublishError> {
        let unknown = || PublishError::Unknown("nothing was heard of the broker after the queue was new".to_owned());
        let (answer, answered) = oneshot::channel();
        self.question(target.clone(), answer).ok_or_else(unknown)?;
        tokio::select! {
            biased;
            () = self.changed.notified() => Err(unknown()),
            depth = timeout(LOOK_LIMIT, answered) => match depth {
                Ok(Ok(Some(_))) => Ok(()),
                _ => Err(unknown()),
            },
        }
    }

    /// Who is to be woken when there is something to do.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        let mut orders = self.orders();
        match &mut orders.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => orders.waker = Some(cx.waker().clone()),
        }
    }

    /// Waits until it is to stop.
    pub(super) async fn stopping(self: Arc<Self>) {
        std::future::poll_fn(|cx| {
            self.listen(cx);
            if self.orders().stopping { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

impl Orders {
    /// Whether its user has closed that source since, and so is told nothing more of it.
    pub(super) fn is_forgotten(&self, source: &Source, generation: u64) -> bool {
        self.closed.get(source).is_some_and(|closed| *closed >= generation)
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
