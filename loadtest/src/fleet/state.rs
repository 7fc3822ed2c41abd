//! One executor as a state machine: what it does with an attempt that arrives now. No clock, no socket, no randomness but
//! by key: with the same arrivals at the same times it does the same.

use super::{
    bucket::Bucket,
    spec::{ExecutorSpec, Load, Outage, OutageKind, RetryAfterForm},
};
use crate::draw::Draw;
use http::StatusCode;
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// What is done with a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// After this.
    pub after: Duration,
    /// Of that, how long it waits for others, or is slowed down by them.
    pub line: Duration,
    /// What is done then.
    pub act: Act,
}

/// What is done in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// An answer.
    Answer {
        /// Its status.
        status: StatusCode,
        /// When to come again, and in which form to say so.
        retry_after: Option<(Duration, RetryAfterForm)>,
        /// How much later than the head the body comes.
        body_after: Duration,
    },
    /// The connection is reset.
    Reset,
    /// Nothing comes, ever.
    Hang,
    /// A body that ends too early.
    Truncate,
}

/// An executor with what it has under way.
#[derive(Debug, Clone)]
pub struct Executor {
    spec: ExecutorSpec,
    draw: Draw,
    bucket: Option<Bucket>,
    under_way: u32,
    /// When each worker is free again.
    workers: BinaryHeap<Reverse<Duration>>,
}

impl Executor {
    /// Idle.
    pub fn new(spec: ExecutorSpec, seed: u64) -> Self {
        let draw = Draw::new(seed).of("fleet").of(&spec.name);
        let bucket = spec.limit.map(|limit| Bucket::new(limit.burst, limit.per_s));
        let workers = match spec.load {
            Load::Workers(n) => (0..n).map(|_| Reverse(Duration::ZERO)).collect(),
            Load::Free | Load::Slope { .. } => BinaryHeap::new(),
        };
        Self { spec, draw, bucket, under_way: 0, workers }
    }

    /// What it is like.
    pub fn spec(&self) -> &ExecutorSpec {
        &self.spec
    }

    /// Requests under way.
    pub fn under_way(&self) -> u32 {
        self.under_way
    }

    /// Until when it refuses connections, if it does so now.
    pub fn refuses_until(&self, now: Duration) -> Option<Duration> {
        let refusing = |outage: &&Outage| outage.kind == OutageKind::Refuse && outage.during.contains(&now);
        self.spec.outages.iter().find(refusing).map(|outage| outage.during.end)
    }

    /// When it will refuse connections next.
    pub fn refuses_from(&self, now: Duration) -> Option<Duration> {
        let coming = self.spec.outages.iter().filter(|outage| outage.kind == OutageKind::Refuse);
        coming.map(|outage| outage.during.start).filter(|start| *start > now).min()
    }

    /// An attempt arrives. Each is to be followed by one [`leave`](Self::leave).
    pub fn arrive(&mut self, now: Duration, task: u64, attempt: u32) -> Reply {
        self.under_way += 1;
        let outage = self.spec.outages.iter().find(|outage| outage.during.contains(&now)).map(|outage| outage.kind);
        match outage {
            Some(OutageKind::Reset | OutageKind::Refuse) => return at_once(Act::Reset),
            Some(OutageKind::Hang) => return at_once(Act::Hang),
            Some(OutageKind::Status(status)) => return at_once(answer(status)),
            _ => {}
        }
        if let Some(Err(wait)) = self.bucket.as_mut().map(|bucket| bucket.take(now)) {
            let form = self.spec.limit.expect("a bucket is of a limit").retry_after;
            let retry_after = (form != RetryAfterForm::None).then_some((wait, form));
            let status = StatusCode::TOO_MANY_REQUESTS;
            return at_once(Act::Answer { status, retry_after, body_after: Duration::ZERO });
        }
        let draw = self.draw.at(task).at(attempt.into());
        let (mut after, line) = self.work(now, draw);
        let mut act = answer(self.status(draw, attempt));
        match (outage, &mut act) {
            (Some(OutageKind::Slow(by)), _) => after += by,
            (Some(OutageKind::Drip(by)), Act::Answer { body_after, .. }) => *body_after = by,
            (Some(OutageKind::Truncate), _) => act = Act::Truncate,
            _ => {}
        }
        Reply { after, line, act }
    }

    /// A request that had arrived is over, whichever way.
    pub fn leave(&mut self) {
        self.under_way = self.under_way.checked_sub(1).expect("what leaves has arrived");
    }

    fn status(&self, draw: Draw, attempt: u32) -> StatusCode {
        if attempt <= self.spec.fail_first {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let mut place = draw.of("status").unit();
        for (status, share) in &self.spec.statuses {
            if place < *share {
                return *status;
            }
            place -= share;
        }
        StatusCode::OK
    }

    /// How long until the work on it is done, and how much of that is not its own: the wait for a worker, or what others under
    /// way slow it down by.
    fn work(&mut self, now: Duration, draw: Draw) -> (Duration, Duration) {
        let service = Duration::from_secs_f64(self.spec.latency.sample(draw.of("latency")).min(LATENCY_MAX_S));
        match self.spec.load {
            Load::Free => (service, Duration::ZERO),
            Load::Slope { slope, capacity } => {
                let slower = service.mul_f64(slope * f64::from(self.under_way - 1) / capacity);
                (service + slower, slower)
            }
            Load::Workers(_) => {
                let Reverse(free) = self.workers.pop().expect("there is at least one worker");
                let done = free.max(now) + service;
                self.workers.push(Reverse(done));
                (done - now, free.saturating_sub(now))
            }
        }
    }
}

/// A day: longer than any attempt may take.
const LATENCY_MAX_S: f64 = 86_400.0;

fn at_once(act: Act) -> Reply {
    Reply { after: Duration::ZERO, line: Duration::ZERO, act }
}

fn answer(status: StatusCode) -> Act {
    Act::Answer { status, retry_after: None, body_after: Duration::ZERO }
}
