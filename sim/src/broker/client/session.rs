//! One session with the broker: two connections, and what is done over them. Never repairs itself: once lost, it is thrown
//! away and the supervisor begins the next.

use super::{
    channels::Channels,
    shared::{Answering, Letter, Shared},
};
use crate::{
    broker::wire::{Answer, Ask, Frame, Link, Role, Tell},
    case::Engine,
};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{BrokerEvent, Depth, PublishError, Target},
};
use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, Sleep, sleep_until, timeout},
};

/// Publishes under way at a time, as with the production adapter.
const PUBLISHES_MAX: usize = 16;
/// How long a session may take to end in the orderly way, as with the production adapter.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    /// A metric label.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) detail: String,
}

/// Whether to go on.
pub(super) enum Next {
    Reconnect(Lost),
    Stop,
}

/// Why the session's loop is left.
enum Turn {
    /// There are events to be told.
    Tell,
    /// It is lost.
    Lost(Lost),
    /// It is to stop, and everything that waited is on its way.
    Stop,
}

/// A session.
pub(super) struct Session {
    shared: Arc<Shared>,
    consume: Link<Tell>,
    publish: Link<Tell>,
    channels: Channels,
    /// Publishes that wait for their answer, by the connection's number.
    sent: BTreeMap<u64, Answering>,
    /// Publishes that wait for their delay queue.
    undeclared: BTreeMap<Step, Vec<Letter>>,
    declaring: BTreeMap<u64, Step>,
    asked: BTreeMap<u64, oneshot::Sender<Option<Depth>>>,
    blocked: bool,
    told_blocked: bool,
    /// Whether delay queues have to be declared: the embedded broker makes them by itself.
    declares: bool,
    events: VecDeque<BrokerEvent>,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Duration>,
    last: u64,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, consume: Link<Tell>, publish: Link<Tell>) -> Self {
        let declares = shared.spec.engine == Engine::Rabbit;
        Self {
            shared,
            consume,
            publish,
            channels: Channels::default(),
            sent: BTreeMap::new(),
            undeclared: BTreeMap::new(),
            declaring: BTreeMap::new(),
            asked: BTreeMap::new(),
            blocked: false,
            told_blocked: false,
            declares,
            events: VecDeque::from([BrokerEvent::Connected]),
            timer: Box::pin(sleep_until(Instant::now())),
            timer_at: None,
            last: 0,
        }
    }

    /// Holds it until it is lost, or to stop.
    pub(super) async fn hold(mut self, events: &mpsc::Sender<BrokerEvent>) -> Next {
        self.shared.set_connected(true);
        // Made before it is needed, so that there is one old enough when it is.
        if self.declares {
            self.declare(Step::FIRST);
        }
        let lost = loop {
            while let Some(event) = self.events.pop_front() {
                // An error means that nobody listens any more; the end comes by itself.
                let _ = events.send(event).await;
            }
            match poll_fn(|cx| self.poll(cx)).await {
                Turn::Tell => {}
                Turn::Lost(lost) => break lost,
                Turn::Stop => {
                    // What can't be said in time goes back to its queue with the connection.
                    let _ = timeout(CLOSE_LIMIT, poll_fn(|cx| self.poll_goodbye(cx))).await;
                    self.shared.set_connected(false);
                    return Next::Stop;
                }
            }
        };
        self.shared.set_connected(false);
        self.abandon();
        while let Some(event) = self.events.pop_front() {
            let _ = events.send(event).await;
        }
        Next::Reconnect(lost)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        match self.poll_inner(cx) {
            Poll::Ready(Ok(turn)) => Poll::Ready(turn),
            Poll::Ready(Err(lost)) => Poll::Ready(Turn::Lost(lost)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Result<Turn, Lost>> {
        loop {
            self.shared.listen(cx);
            let mut read = false;
            while let Poll::Ready(told) = self.consume.poll_frame(cx) {
                read = true;
                self.hear(Role::Consume, told.map_err(|error| by_io(&error))?)?;
            }
            while let Poll::Ready(told) = self.publish.poll_frame(cx) {
                read = true;
                self.hear(Role::Publish, told.map_err(|error| by_io(&error))?)?;
            }
            self.carry_out();
            let timed = self.poll_timer(cx);
            for link in [&mut self.consume, &mut self.publish] {
                if let Poll::Ready(Err(error)) = link.poll_send(cx) {
                    return Poll::Ready(Err(by_io(&error)));
                }
                if let Poll::Ready(Err(error)) = link.poll_beat(false, cx) {
                    return Poll::Ready(Err(by_io(&error)));
                }
            }
            if self.shared.orders().stopping {
                return Poll::Ready(Ok(Turn::Stop));
            }
            if !self.events.is_empty() {
                return Poll::Ready(Ok(Turn::Tell));
            }
            if !read && !timed {
                return Poll::Pending;
            }
        }
    }

    /// Does what was asked for since the last time.
    fn carry_out(&mut self) {
        let shared = self.shared.clone();
        let mut orders = shared.orders();
        let now = shared.env.now();
        let out = &mut self.consume.out;
        let settles = std::mem::take(&mut orders.settles);
        if !settles.is_empty() {
            self.channels.settle(settles, &mut |ask| ask.frame(out));
        }
        if std::mem::take(&mut orders.wants_changed) {
            self.channels.reconcile(now, &orders, &mut |ask| ask.frame(out), &mut self.events);
        }
        for (target, answer) in std::mem::take(&mut orders.questions) {
            self.last += 1;
            self.asked.insert(self.last, answer);
            Ask::Depth { no: self.last, target }.frame(out);
        }
        if std::mem::take(&mut orders.given_up) {
            self.sent.retain(|_, answer| !answer.is_closed());
        }
        // One that finds the broker blocked waits here, and is known not to have been sent.
        while !self.blocked && self.sent.len() < PUBLISHES_MAX {
            let Some(letter) = orders.letters.pop_front() else { break };
            match letter.target {
                Target::Delay(step) if self.declares && !orders.delays.contains_key(&step) => {
                    self.undeclared.entry(step).or_default().push(letter);
                    if !self.declaring.values().any(|other| *other == step) {
                        self.last += 1;
                        self.declaring.insert(self.last, step);
                        Ask::Declare { no: self.last, step }.frame(&mut self.consume.out);
                    }
                }
                _ => self.send(letter),
            }
        }
    }

    fn declare(&mut self, step: Step) {
        self.last += 1;
        self.declaring.insert(self.last, step);
        Ask::Declare { no: self.last, step }.frame(&mut self.consume.out);
    }

    fn send(&mut self, letter: Letter) {
        let Letter { target, from, message, answer, .. } = letter;
        if answer.is_closed() {
            return;
        }
        self.last += 1;
        Ask::Publish { no: self.last, target, from, message }.frame(&mut self.publish.out);
        self.sent.insert(self.last, answer);
    }

    /// Takes in what the broker says.
    fn hear(&mut self, over: Role, tell: Tell) -> Result<(), Lost> {
        let now = self.shared.env.now();
        match tell {
            Tell::Welcome | Tell::Elsewhere(_) | Tell::Beat => {}
            Tell::Opened { channel, opening } => self.events.extend(self.channels.opened(channel, opening)),
            Tell::Deliver { channel, seq, redelivered, message } => {
                let out = &mut self.consume.out;
                let ask = &mut |ask: Ask| ask.frame(out);
                self.events.extend(self.channels.delivered(channel, seq, redelivered, message, ask));
            }
            Tell::Closed { channel } => {
                self.channels.closed(channel);
                self.shared.orders().wants_changed = true;
            }
            Tell::Failed { channel, words, .. } => {
                self.channels.failed(now, channel, &words, &self.shared.orders(), &mut self.events);
            }
            Tell::Cancelled { channel } => {
                let words = "the broker cancelled the consumer";
                self.channels.failed(now, channel, words, &self.shared.orders(), &mut self.events);
                Ask::Close { channel }.frame(&mut self.consume.out);
            }
            Tell::Answers(answers) => {
                for (no, answer) in answers {
                    if let Some(answering) = self.sent.remove(&no) {
                        let _ = answering.send(result_of(answer));
                    }
                }
            }
            Tell::Blocked(blocked) => {
                // Over the other connection it is the embedded broker's word about its disk: it refuses by itself what it
                // can't take, and takes moves as long as it can.
                self.blocked = blocked && over == Role::Publish;
                self.told_blocked = blocked;
                self.events.push_back(BrokerEvent::Blocked(blocked));
            }
            Tell::Delay { step, age_ms } => self.shared.learn(step, Duration::from_millis(age_ms)),
            Tell::Declared { no } => {
                if let Some(step) = self.declaring.remove(&no) {
                    self.shared.learn(step, Duration::ZERO);
                    let mut orders = self.shared.orders();
                    for letter in self.undeclared.remove(&step).unwrap_or_default().into_iter().rev() {
                        orders.letters.push_front(letter);
                    }
                }
            }
            Tell::DepthIs { no, depth } => {
                if let Some(answer) = self.asked.remove(&no) {
                    let _ = answer.send(depth);
                }
            }
            Tell::Bye { code, words } => return Err(Lost { reason: "closed", detail: format!("{code} {words}") }),
        }
        Ok(())
    }

    /// Tells of delay queues, of those that are old enough by now, and tries failing sources again. Whether there was
    /// anything.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.shared.env.now();
        let mut done = false;
        let shared = self.shared.clone();
        let orders = &mut *shared.orders();
        let mut next = self.channels.retry_at(orders);
        if next.is_some_and(|at| at <= now) {
            orders.wants_changed = true;
            (done, next) = (true, None);
        }
        if orders.told_settled.len() < orders.delays.len() {
            for (step, since) in &orders.delays {
                if orders.told_delays.insert(*step) {
                    self.events.push_back(BrokerEvent::DelayExists(*step));
                }
                let ripe_at = shared.ripe_at(*since);
                if ripe_at > now {
                    next = next.into_iter().chain([ripe_at]).min();
                } else if orders.told_settled.insert(*step) {
                    self.events.push_back(BrokerEvent::DelaySettled(*step));
                }
            }
        }
        let Some(at) = next else { return done };
        if self.timer_at != Some(at) {
            self.timer_at = Some(at);
            self.timer.as_mut().reset(Instant::now() + at.saturating_sub(now));
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.timer_at = None;
            done = true;
        }
        done
    }

    /// Sends what waits, says goodbye, and waits for the broker's.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.carry_out();
        if self.timer_at != Some(Duration::MAX) {
            self.timer_at = Some(Duration::MAX);
            Ask::Bye.frame(&mut self.consume.out);
            Ask::Bye.frame(&mut self.publish.out);
        }
        let mut ended = 0;
        for link in [&mut self.consume, &mut self.publish] {
            if let Poll::Ready(Err(_)) = link.poll_send(cx) {
                ended += 1;
                continue;
            }
            while let Poll::Ready(told) = link.poll_frame(cx) {
                if !matches!(told, Ok(Tell::Bye { .. }) | Err(_)) {
                    continue;
                }
                ended += 1;
                break;
            }
        }
        if ended == 2 { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The session is lost: tells everybody.
    fn abandon(&mut self) {
        for (_, answer) in std::mem::take(&mut self.sent) {
            let _ = answer.send(Err(PublishError::Unknown("the session was lost".to_owned())));
        }
        for letter in std::mem::take(&mut self.undeclared).into_values().flatten() {
            let _ = letter.answer.send(Err(PublishError::NotConnected("the session was lost".to_owned())));
        }
        self.asked.clear();
        self.channels.abandon(&self.shared.orders(), &mut self.events);
        if self.told_blocked {
            self.events.push_back(BrokerEvent::Blocked(false));
        }
    }
}

fn result_of(answer: Answer) -> Result<(), PublishError> {
    match answer {
        Answer::Ack => Ok(()),
        Answer::Nack => Err(PublishError::Refused("nack".to_owned())),
        Answer::Returned => Err(PublishError::Returned("312 NO_ROUTE".to_owned())),
        Answer::Unknown => Err(PublishError::Unknown("the broker does not know".to_owned())),
    }
}

/// How a connection's end is told.
fn by_io(error: &io::Error) -> Lost {
    match error.kind() {
        io::ErrorKind::TimedOut => Lost { reason: "heartbeat", detail: "the broker was silent".to_owned() },
        io::ErrorKind::UnexpectedEof => {
            Lost { reason: "io", detail: "the broker has closed the connection".to_owned() }
        }
        _ => Lost { reason: "io", detail: error.to_string() },
    }
}
