//! A broker and a dispatcher that do as they are told, right or wrong. In virtual time.

use crate::{
    arrivals::{Class, Mix, Plan},
    clock::Clock,
    figures::Layout,
    fleet::{Act, Answered, Executor, ExecutorSpec, Seen, Witness},
    ledger::{Book, End, Findings, QueueRule, Rules, Verdict},
    publish::{Door, Maker, Parcel, Refused, drive},
};
use quebert_dispatcher::ports::BoxFuture;
use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep_until};

const BACKOFF: Duration = Duration::from_secs(1);
const MAX_ATTEMPTS: u32 = 3;

/// What is wrong with a dispatcher; nothing by default.
#[derive(Debug, Clone, Default)]
pub(super) struct Mutation {
    /// Of so many tasks, one is forgotten; 0 is none.
    pub(super) loses_one_in: u64,
    /// Of so many tasks, one is sent again after its success.
    pub(super) duplicates_one_in: u64,
    /// Of so many tasks, one has its first attempt twice before it succeeds.
    pub(super) repeats_one_in: u64,
    /// Delayed tasks are sent so much too early.
    pub(super) early: Duration,
    /// Retries are sent so much too early.
    pub(super) hasty: Duration,
    /// Expired tasks are sent.
    pub(super) ignores_ttl: bool,
    /// Attempts beyond the most.
    pub(super) attempts_more: u32,
    /// Slots that it has more than it may.
    pub(super) slots_more: usize,
    /// The broker takes nothing in this stretch of time.
    pub(super) frozen: Option<Range<Duration>>,
}

/// What is run.
pub(super) struct Trial {
    pub(super) arrivals: &'static str,
    pub(super) class: &'static str,
    pub(super) executor: &'static str,
    pub(super) slots: usize,
    /// Publishes under way at a time.
    pub(super) window: usize,
}

impl Default for Trial {
    fn default() -> Self {
        Self { arrivals: "constant 100/s 20s", class: "queue=load", executor: "latency=1ms", slots: 64, window: 64 }
    }
}

impl Trial {
    /// Runs it to its end.
    pub(super) async fn run(&self, mutation: Mutation) -> (Arc<Book>, Verdict) {
        self.run_with_faults(mutation, &[]).await
    }

    /// The same, with faults told to the ledger.
    pub(super) async fn run_with_faults(&self, mutation: Mutation, faults: &[Range<Duration>]) -> (Arc<Book>, Verdict) {
        let clock = Clock::start_virtual();
        let rules = Rules {
            max_attempts: Some(MAX_ATTEMPTS),
            backoff_min: BACKOFF,
            retry_after_max: Duration::from_secs(3600),
            permanent: vec![410],
            early_grace: Duration::from_millis(2),
            late_grace: Duration::from_millis(100),
            queues: vec![QueueRule {
                name: "load".into(),
                priority: 0,
                slots: Some(u32::try_from(self.slots).unwrap()),
            }],
            queue_of: vec![0],
        };
        let layout = Layout { queues: 1, phases: vec![Duration::MAX], warm_up: Duration::ZERO };
        let book = Arc::new(Book::new(clock, "test", rules, layout));
        for fault in faults {
            book.fault("planned", fault.start, fault.end);
        }
        let executor = Executor::new(self.executor.parse::<ExecutorSpec>().unwrap(), 1);
        let slots = Arc::new(Semaphore::new(self.slots + mutation.slots_more));
        let fake = Arc::new(Fake {
            clock,
            book: book.clone(),
            executor: Mutex::new(executor),
            slots,
            mutation,
            window: self.window,
            tasks: Mutex::default(),
        });
        let mix = Mix::new(vec![Class::parse(self.class).unwrap()]).unwrap();
        let plan = Plan::new(self.arrivals.parse().unwrap(), mix, 1);
        let maker = Maker::new([("load".to_owned(), "http://fake".to_owned())]);
        drive(plan, maker, Arc::new(Way(fake.clone())), book.clone()).await;
        let mut tasks = std::mem::take(&mut *fake.tasks.lock().unwrap());
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        let found = Findings { left: Some(0), left_unnamed: Some(0), peaks: book.peaks(), accounts: Vec::new() };
        let verdict = book.judge(&found);
        (book, verdict)
    }
}

struct Fake {
    clock: Clock,
    book: Arc<Book>,
    executor: Mutex<Executor>,
    slots: Arc<Semaphore>,
    mutation: Mutation,
    window: usize,
    tasks: Mutex<JoinSet<()>>,
}

/// The way into the fake broker.
struct Way(Arc<Fake>);

impl Door for Way {
    fn batch_max(&self) -> usize {
        1
    }

    fn window(&self) -> usize {
        self.0.window
    }

    fn publish(&self, parcels: Vec<Parcel>) -> BoxFuture<'_, Vec<Result<(), Refused>>> {
        Box::pin(async move {
            let fake = &self.0;
            if let Some(frozen) = fake.mutation.frozen.as_ref().filter(|frozen| frozen.contains(&fake.clock.now().run))
            {
                sleep_until(fake.clock.instant(frozen.end)).await;
            }
            let answers = parcels.iter().map(|_| Ok(())).collect();
            for parcel in parcels {
                fake.tasks.lock().unwrap().spawn(fake.clone().dispatch(parcel));
            }
            answers
        })
    }
}

fn one_in(n: u64, number: u64) -> bool {
    n > 0 && number % n == n / 2
}

impl Fake {
    async fn dispatch(self: Arc<Self>, parcel: Parcel) {
        let (book, mutation, number) = (&self.book, &self.mutation, parcel.number);
        if one_in(mutation.loses_one_in, number) {
            return;
        }
        let moment = |at: quebert_wire::Timestamp| self.clock.wall_of(at.as_millis());
        if let Some(due) = parcel.envelope.not_before {
            sleep_until(self.clock.instant(moment(due).saturating_sub(mutation.early))).await;
        }
        for attempt in 1..=MAX_ATTEMPTS + mutation.attempts_more {
            let slot = self.slots.acquire().await.unwrap();
            let expired = parcel.envelope.expires_at.is_some_and(|at| self.clock.now().wall >= moment(at));
            if expired && !mutation.ignores_ttl {
                return book.found(number, End::Expired);
            }
            if attempt == 1 && one_in(mutation.repeats_one_in, number) {
                self.attempt(number, attempt, Some(503)).await;
                drop(slot);
                tokio::time::sleep(BACKOFF).await;
                self.attempt(number, attempt, None).await;
                return;
            }
            if self.attempt(number, attempt, None).await {
                if one_in(mutation.duplicates_one_in, number) {
                    self.attempt(number, attempt, None).await;
                }
                return;
            }
            drop(slot);
            tokio::time::sleep(BACKOFF - mutation.hasty).await;
        }
        book.found(number, End::Dead);
    }

    /// Whether it succeeded.
    async fn attempt(&self, number: u64, attempt: u32, forced: Option<u16>) -> bool {
        let id = self.book.id(number);
        let seen = Seen { executor: 0, task: &id, attempt, max_attempts: None, due_ms: None, under_way: 1 };
        self.book.arrived(seen).unwrap();
        let start = self.clock.now().run;
        let reply = self.executor.lock().unwrap().arrive(start, number, attempt);
        tokio::time::sleep(reply.after).await;
        self.executor.lock().unwrap().leave();
        let Act::Answer { status, .. } = reply.act else { panic!("no such executor here") };
        let status = forced.map_or(status, |status| status.try_into().unwrap());
        let took = self.clock.now().run - start;
        self.book.answered(number, attempt, took, Answered::Status(status, None));
        status.is_success()
    }
}
