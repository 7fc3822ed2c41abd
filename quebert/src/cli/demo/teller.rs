//! What the demo tells of each task: a line for each attempt and what came of it. Counting is done elsewhere.

use crate::cli::table::plain;
use quebert_dispatcher::{
    event::{Event, Settlement},
    ports::observer::Observer,
    verdict::RetryReason,
};
use quebert_wire::TaskId;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// More than a screen has room for.
const NEWS_MAX: usize = 100;

/// How glad one may be of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Trouble,
    Bad,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    /// Since the beginning.
    pub(super) at: Duration,
    /// The lane; empty for what concerns none.
    pub(super) lane: String,
    /// The task's id, or whatever it is about.
    pub(super) whom: String,
    /// The attempt, if there was one.
    pub(super) attempt: String,
    /// What came of it.
    pub(super) fate: String,
    pub(super) tone: Tone,
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, lane, whom, attempt, fate, .. } = self;
        write!(f, "{:6.1}s  {lane:<6}  {whom:<14}  {attempt:<31}  {fate}", at.as_secs_f64())
    }
}

/// An observer that puts what happens into words.
pub(super) struct Teller {
    start: Instant,
    state: Mutex<State>,
    ended: watch::Sender<u64>,
    lines: Option<mpsc::Sender<News>>,
}

#[derive(Default)]
struct State {
    /// The last attempt of tasks whose fate is not told yet.
    attempts: BTreeMap<TaskId, String>,
    /// What a person can follow: not the tasks that were done at once.
    news: VecDeque<News>,
}

impl Teller {
    /// `lines` gets everything, as it happens.
    pub(super) fn new(lines: Option<mpsc::Sender<News>>) -> Self {
        Self { start: Instant::now(), state: Mutex::default(), ended: watch::Sender::new(0), lines }
    }

    /// Since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The last things that happened, newest last.
    pub(super) fn news(&self) -> Vec<News> {
        self.state().news.iter().cloned().collect()
    }

    /// Waits until so many tasks have come to their end.
    pub(super) async fn until_ended(&self, tasks: u64) {
        drop(self.ended.subscribe().wait_for(|ended| *ended >= tasks).await);
    }

    /// Tells of something that is no event of the dispatcher.
    pub(super) fn tell(&self, whom: &str, fate: &str, tone: Tone) {
        let news = News {
            at: self.elapsed(),
            lane: String::new(),
            whom: whom.to_owned(),
            attempt: String::new(),
            fate: fate.to_owned(),
            tone,
        };
        self.publish(news, true);
    }

    /// Tells an attempt together with what came of it.
    fn say(&self, lane: &str, task: &TaskId, fate: String, tone: Tone, noteworthy: bool) {
        let attempt = self.state().attempts.remove(task).unwrap_or_default();
        let (lane, whom) = (lane.to_owned(), plain(task.as_str()));
        self.publish(News { at: self.elapsed(), lane, whom, attempt, fate, tone }, noteworthy);
    }

    fn publish(&self, news: News, noteworthy: bool) {
        if let Some(lines) = &self.lines {
            // Full: the reader is too slow, and the dispatcher waits for nobody. Closed: the demo is about to end.
            drop(lines.try_send(news.clone()));
        }
        if noteworthy {
            let mut state = self.state();
            state.news.push_back(news);
            if state.news.len() > NEWS_MAX {
                state.news.pop_front();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Teller {
    fn observe(&self, event: &Event) {
        match event {
            Event::AttemptEnded { task, number, status, class, duration, .. } => {
                let outcome = match (status, *class) {
                    (Some(status), _) => status.to_string(),
                    (None, "connect") => "refused".to_owned(),
                    (None, class) => class.replace('_', " "),
                };
                let attempt = format!("attempt {number}: {outcome} in {}", spoken(*duration));
                self.state().attempts.insert(task.clone(), attempt);
            }
            Event::RetryScheduled { lane, task, reason, delay, .. } => {
                let delay = spoken(*delay);
                let fate = match reason {
                    RetryReason::Overload => format!("its executor is busy: again in {delay}"),
                    _ => format!("again in {delay}"),
                };
                self.say(lane, task, fate, Tone::Trouble, true);
            }
            Event::Settled { lane, task: Some(task), result, attempts, .. } => {
                match result {
                    Settlement::Succeeded if *attempts > 1 => {
                        self.say(lane, task, format!("done in {attempts} attempts"), Tone::Good, true);
                    }
                    Settlement::Succeeded => self.say(lane, task, "done".to_owned(), Tone::Good, false),
                    Settlement::DeadLettered => {
                        self.say(lane, task, "given up: dead letter".to_owned(), Tone::Bad, true);
                    }
                    Settlement::Expired => {
                        self.say(lane, task, "expired: too late now".to_owned(), Tone::Bad, true);
                    }
                    Settlement::Filtered => self.say(lane, task, "cancelled".to_owned(), Tone::Bad, true),
                    Settlement::Retried | Settlement::Requeued | Settlement::Duplicate => return,
                }
                self.ended.send_modify(|ended| *ended += 1);
            }
            Event::LanePaused { lane, paused } => {
                let fate = if *paused { "paused: nothing is taken from it" } else { "goes on" };
                self.tell(&format!("lane {lane}"), fate, Tone::Trouble);
            }
            _ => {}
        }
    }
}

/// A duration in words, as short as one remembers it.
pub(super) fn spoken(duration: Duration) -> String {
    match duration.as_secs_f64() {
        s if s < 0.001 => "<1 ms".to_owned(),
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s => format!("{s:.1} s"),
    }
}
