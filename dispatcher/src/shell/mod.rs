//! The shell: waits, feeds the core, and carries its actions out through the ports. It decides nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "the shell waits, and measures what it waited for; commands come from signals and people, and none may be lost"
)]

mod hooks;
mod jobs;
#[cfg(test)]
mod tests;

pub use crate::core::{HeldState, HeldTask, Steered};

use crate::{
    config::CoreConfig,
    core::{Action, Core, Input, Steer},
    event::Settlement,
    ports::{
        broker::{Broker, BrokerEvent},
        clock::{Clock, Now, SystemClock},
        mediator::Mediator,
        observer::Observer,
        transport::{Request, Transport},
    },
    request::RequestBuilder,
    signing::Signer,
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use hooks::Hooks;
use jobs::Job;
use quebert_wire::{Codecs, TaskId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Most broker events, and most finished jobs, that are taken in before the actions that follow are carried out.
const BATCH: usize = 64;

/// Makes a [`Dispatcher`].
pub struct Builder {
    config: CoreConfig,
    codecs: Codecs,
    broker: Arc<dyn Broker>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    requests: RequestBuilder,
    hooks: Hooks,
    observers: Vec<Box<dyn Observer>>,
    paused: BTreeSet<Arc<str>>,
}

impl Builder {
    /// Other codecs than JSON and MessagePack.
    #[must_use]
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.codecs = codecs;
        self
    }

    /// Another clock than the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Signs every request.
    #[must_use]
    pub fn signer(mut self, signer: Signer) -> Self {
        self.requests = RequestBuilder::new(Some(signer));
        self
    }

    /// Adds a mediator. `before` is asked in the order in which they were added, until one does not say "send";
    /// `verdict` goes through all of them in the same order, each seeing what the one before said; then every `after`.
    #[must_use]
    pub fn mediator(mut self, mediator: impl Mediator) -> Self {
        self.hooks.push(mediator);
        self
    }

    /// The limit of each `before` and `after`; 5 s without.
    #[must_use]
    pub fn hook_timeout(mut self, limit: Duration) -> Self {
        self.hooks.limit = limit;
        self
    }

    /// Adds an observer.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Lanes that are paused from the first moment, by name: nothing is taken from their queues until
    /// [`Handle::resume`]. For pauses that outlive a process.
    #[must_use]
    pub fn paused(mut self, lanes: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.paused.extend(lanes);
        self
    }

    /// The dispatcher. It does nothing before it is [run](Dispatcher::run).
    pub fn build(self) -> Dispatcher {
        let (commands, inbox) = mpsc::unbounded_channel();
        Dispatcher { parts: self, handle: Handle { commands }, inbox }
    }
}

/// Takes tasks from a broker, makes their requests, and settles them.
pub struct Dispatcher {
    parts: Builder,
    handle: Handle,
    inbox: mpsc::UnboundedReceiver<Command>,
}

/// Steers a running dispatcher. Clones steer the same one; after its end they do nothing.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
enum Command {
    Drain(Duration),
    StopNow,
    Reconfigure(Box<CoreConfig>),
    Pause(Arc<str>, bool),
    Steer(TaskId, Steer, oneshot::Sender<Steered>),
    Find(TaskId, oneshot::Sender<Vec<HeldTask>>),
}

impl Handle {
    /// Starts nothing new, lets what is under way end for at most `grace`, gives the rest back, and ends.
    pub fn drain(&self, grace: Duration) {
        self.tell(Command::Drain(grace));
    }

    /// Ends at once: requests under way are cut off, their tasks go back to the broker.
    pub fn stop_now(&self) {
        self.tell(Command::StopNow);
    }

    /// Takes over what may change while running: see [`CoreConfig::reload`].
    pub fn reconfigure(&self, config: CoreConfig) {
        self.tell(Command::Reconfigure(Box::new(config)));
    }

    /// Takes no more tasks of a lane, by its name: what is under way ends, what waits here goes back to its queue, and
    /// nothing new is taken until [`resume`](Self::resume). An unknown name does nothing.
    pub fn pause(&self, lane: &str) {
        self.tell(Command::Pause(lane.into(), true));
    }

    /// Takes tasks of a paused lane again.
    pub fn resume(&self, lane: &str) {
        self.tell(Command::Pause(lane.into(), false));
    }

    /// Sends a task that is held here and waits for its moment, or for its backoff, as soon as a slot is free. The one
    /// exception to the promise that no attempt is early. It is `Done`, too, for a task that waits for nothing but a slot.
    pub async fn run_now(&self, id: TaskId) -> Steered {
        self.ask(|answer| Command::Steer(id, Steer::RunNow, answer)).await.unwrap_or(Steered::NotHeld)
    }

    /// Drops a task that is held here and not under way: it is acked and settled as filtered.
    pub async fn cancel(&self, id: TaskId) -> Steered {
        self.ask(|answer| Command::Steer(id, Steer::Cancel, answer)).await.unwrap_or(Steered::NotHeld)
    }

    /// Every copy of a task that is held here.
    pub async fn find(&self, id: TaskId) -> Vec<HeldTask> {
        self.ask(|answer| Command::Find(id, answer)).await.unwrap_or_default()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, question) = oneshot::channel();
        self.tell(command(answer));
        question.await.ok()
    }

    fn tell(&self, command: Command) {
        // A dispatcher that has ended has nothing left to steer.
        drop(self.commands.send(command));
    }
}

/// The next command. Nothing is lost when it is given up, since what it holds is taken in its first turn.
async fn next(first: &mut Option<Command>, inbox: &mut mpsc::UnboundedReceiver<Command>) -> Option<Command> {
    match first.take() {
        Some(command) => Some(command),
        None => inbox.recv().await,
    }
}

/// What a dispatcher did, in its own books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Deliveries of work queues.
    pub deliveries: u64,
    /// How they left. The sum is `deliveries` less `held`.
    pub settlements: BTreeMap<Settlement, u64>,
    /// Deliveries that were not settled when it ended: the broker has them back.
    pub held: u64,
}

impl Dispatcher {
    /// Begins with what every dispatcher needs.
    pub fn builder(config: CoreConfig, broker: Arc<dyn Broker>, transport: Arc<dyn Transport>) -> Builder {
        Builder {
            config,
            codecs: Codecs::default(),
            broker,
            transport,
            clock: Arc::new(SystemClock::new()),
            requests: RequestBuilder::default(),
            hooks: Hooks::default(),
            observers: Vec::new(),
            paused: BTreeSet::new(),
        }
    }

    /// Steers it, from anywhere, at any time.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until it is drained or stopped. Faults of the broker don't end it.
    pub async fn run(self) -> Summary {
        let Self { parts, handle: _handle, mut inbox } = self;
        let Builder { mut config, codecs, broker, transport, clock, requests, hooks, observers, mut paused } = parts;
        // What was paused before the start is not even opened.
        let mut first = None;
        while let Ok(command) = inbox.try_recv() {
            match command {
                Command::Pause(lane, true) => drop(paused.insert(lane)),
                Command::Pause(lane, false) => drop(paused.remove(&lane)),
                other => {
                    first = Some(other);
                    break;
                }
            }
        }
        config.mediated = !hooks.is_empty();
        let mediated = config.mediated;
        let mut events = broker.start();
        let mut shell = Shell {
            core: Core::with_paused(config, codecs, clock.now(), &paused),
            broker,
            transport,
            clock,
            requests,
            hooks: Arc::new(hooks),
            observers,
            jobs: FuturesUnordered::new(),
            asking: None,
            stopped: false,
        };
        shell.feed(Input::Tick);
        let mut batch = Vec::with_capacity(BATCH);
        let alarm = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(alarm);
        let mut alarm_at = None;
        while !shell.stopped {
            let wakeup = shell.core.next_wakeup();
            if wakeup != alarm_at {
                let wait = wakeup.map(|at| at.saturating_sub(shell.clock.now().mono));
                let wait = wait.unwrap_or(Duration::from_secs(3600));
                alarm.as_mut().reset(tokio::time::Instant::now() + wait);
                alarm_at = wakeup;
            }
            tokio::select! {
                biased;
                Some(command) = next(&mut first, &mut inbox) => match command {
                    Command::Drain(grace) => {
                        let deadline = shell.clock.now().mono + grace;
                        shell.feed(Input::Drain { deadline });
                    }
                    Command::Reconfigure(mut config) => {
                        config.mediated = mediated;
                        shell.feed(Input::Reconfigure(config));
                    }
                    Command::StopNow => break,
                    Command::Pause(lane, paused) => shell.feed(Input::Pause { lane, paused }),
                    Command::Steer(task, how, answer) => {
                        shell.asking = Some(answer);
                        shell.feed(Input::Steer { task, how });
                        shell.asking = None;
                    }
                    // Whoever asked may have gone meanwhile.
                    Command::Find(task, answer) => drop(answer.send(shell.core.find(&task))),
                },
                Some(input) = shell.jobs.next() => {
                    shell.feed(input);
                    shell.feed_finished();
                }
                taken = events.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break; // The broker has ended; nothing can be settled any more.
                    }
                    for event in batch.drain(..) {
                        shell.feed(Input::Broker(event));
                    }
                }
                () = alarm.as_mut() => {
                    alarm_at = None;
                    shell.feed(Input::Tick);
                }
            }
        }
        // Requests under way are given up before their tasks go back.
        shell.jobs.clear();
        shell.broker.stop().await;
        shell.tell_last(&mut events);
        Summary {
            deliveries: shell.core.deliveries(),
            settlements: shell.core.settlements().clone(),
            held: shell.core.held(),
        }
    }
}

struct Shell {
    core: Core,
    broker: Arc<dyn Broker>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    requests: RequestBuilder,
    hooks: Arc<Hooks>,
    observers: Vec<Box<dyn Observer>>,
    jobs: FuturesUnordered<Job>,
    /// Who asked for what the core is doing.
    asking: Option<oneshot::Sender<Steered>>,
    stopped: bool,
}

impl Shell {
    fn feed(&mut self, input: Input) {
        let now = self.clock.now();
        self.core.handle(now, input);
        while let Some(action) = self.core.poll() {
            self.carry_out(action, now);
        }
    }

    /// Takes in what else has finished by now, so that one wake-up serves many.
    fn feed_finished(&mut self) {
        for _ in 0..BATCH {
            match self.jobs.next().now_or_never() {
                Some(Some(input)) => self.feed(input),
                _ => return,
            }
        }
    }

    fn carry_out(&mut self, action: Action, now: Now) {
        match action {
            Action::Emit(event) => {
                for observer in &self.observers {
                    observer.observe(&event);
                }
            }
            Action::Send { ticket, mut attempt, timeout } => {
                let request = if self.hooks.is_empty() {
                    self.requests.build_from(&mut attempt, now.wall)
                } else {
                    self.requests.build(&attempt, now.wall)
                };
                let request = Request { timeout, ..request };
                let answer = self.transport.send(request);
                self.jobs.push(Job::sending(ticket, attempt, answer));
            }
            Action::Ack(tag) => self.broker.ack(tag),
            Action::GiveBack(tag) => self.broker.give_back(tag),
            Action::Publish { id, target, message, replaces } => {
                let publish = match replaces {
                    Some(tag) => self.broker.relocate(tag, target, *message),
                    None => self.broker.publish(target, *message),
                };
                self.jobs.push(Job::boxed(async move { Input::Published { id, result: publish.await } }));
            }
            Action::Prepare { ticket, attempt } => {
                self.jobs.push(Job::boxed(Hooks::before(self.hooks.clone(), ticket, attempt)));
            }
            Action::Review { ticket, attempt, outcome, proposed } => {
                self.jobs.push(Job::boxed(Hooks::review(self.hooks.clone(), ticket, attempt, *outcome, proposed)));
            }
            Action::Open { source, window } => self.broker.open(source, window),
            Action::Close(source) => self.broker.close(&source),
            Action::Pause(source) => self.broker.pause(&source),
            Action::Steered(result) => {
                if let Some(asking) = self.asking.take() {
                    // Whoever asked may have gone meanwhile.
                    let _ = asking.send(result);
                }
            }
            Action::Stop => self.stopped = true,
        }
        while let Some(event) = self.hooks.take_event() {
            for observer in &self.observers {
                observer.observe(&event);
            }
        }
    }

    /// What the broker said last: observers see the session's end.
    fn tell_last(&mut self, events: &mut mpsc::Receiver<BrokerEvent>) {
        while let Ok(event) = events.try_recv() {
            if let BrokerEvent::Disconnected { reason, detail } = event {
                let event = crate::event::Event::BrokerDisconnected { reason, detail };
                for observer in &self.observers {
                    observer.observe(&event);
                }
            }
        }
    }
}
