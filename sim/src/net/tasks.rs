//! The tasks of hosts, in both worlds: they are polled through a wrapper that can freeze them, drops them in the order in
//! which they were spawned, catches their panics and notices when they run in circles. It starts no tasks by itself.

use crate::{draw::Draw, host::Host};
use quebert_dispatcher::ports::BoxFuture;
use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};
use tokio::{task::AbortHandle, time::Instant};

/// Turns of tasks without any time passing after which a run ends: tasks wake each other in a circle. Three dispatchers
/// that start with 500 tasks take some 20,000.
pub(super) const TURNS_MAX: u64 = 1_000_000;

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What must end a run early: panics, and running in circles.
#[derive(Default)]
pub(super) struct Watch {
    panics: Mutex<Vec<(Host, String)>>,
    halted: AtomicBool,
    turns: AtomicU64,
    turned_at: Mutex<Option<Instant>>,
    waker: Mutex<Option<Waker>>,
}

impl Watch {
    /// Whether the run is to end. From then on no task gets a turn.
    pub(super) fn halted(&self) -> bool {
        self.halted.load(Relaxed)
    }

    /// Who is to be woken when the run is to end.
    pub(super) fn wake_on_halt(&self, waker: &Waker) {
        lock(&self.waker).get_or_insert_with(|| waker.clone()).clone_from(waker);
    }

    /// Notes a panic and ends the run.
    pub(super) fn panicked(&self, host: Host, text: String) {
        lock(&self.panics).push((host, text));
        self.halted.store(true, Relaxed);
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }

    pub(super) fn take_panics(&self) -> Vec<(Host, String)> {
        std::mem::take(&mut lock(&self.panics))
    }

    /// Counts a turn. The clock is looked at only once in `TURNS_MAX`, so a circle is noticed after one to two of them.
    fn turn(&self, host: Host) {
        if self.turns.fetch_add(1, Relaxed) < TURNS_MAX {
            return;
        }
        self.turns.store(0, Relaxed);
        let now = Instant::now();
        if lock(&self.turned_at).replace(now) == Some(now) {
            self.panicked(
                host,
                format!("no progress: {TURNS_MAX} turns of tasks in one moment, the last of them here"),
            );
        }
    }
}

/// The tasks of one host. Clones are the same host's.
#[derive(Clone)]
pub(super) struct Tasks(Arc<Shared>);

struct Shared {
    host: Host,
    watch: Arc<Watch>,
    draw: Draw,
    yields_per_mille: u32,
    frozen: AtomicBool,
    /// The life whose tasks get turns; 0 if none do.
    turning: AtomicU64,
    crew: Mutex<Crew>,
}

#[derive(Default)]
struct Crew {
    /// Which start of the host these are the tasks of; 0 before the first.
    life: u64,
    running: bool,
    next: u64,
    live: BTreeMap<u64, Arc<Task>>,
}

/// Tasks that get no more turns, and are not dropped yet.
pub(super) struct Remains(Vec<Arc<Task>>);

struct Task {
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    /// To be woken when the host thaws.
    frozen: Mutex<Option<Waker>>,
    abort: Mutex<Option<AbortHandle>>,
}

impl Tasks {
    pub(super) fn new(host: Host, watch: Arc<Watch>, draw: Draw, yields_per_mille: u32) -> Self {
        let draw = draw.of("turns").at(super::wire::host_key(host));
        Self(Arc::new(Shared {
            host,
            watch,
            draw,
            yields_per_mille,
            frozen: AtomicBool::new(false),
            turning: AtomicU64::new(0),
            crew: Mutex::default(),
        }))
    }

    /// The host starts. Returns which life of it this is.
    pub(super) fn start(&self) -> u64 {
        let mut crew = lock(&self.0.crew);
        assert!(!crew.running, "only a host that is down is started");
        crew.running = true;
        crew.life += 1;
        crew.next = 0;
        self.0.turning.store(crew.life, Relaxed);
        crew.life
    }

    /// Whether the host's program of this life still runs.
    pub(super) fn is_alive(&self, life: u64) -> bool {
        let crew = lock(&self.0.crew);
        crew.running && crew.life == life
    }

    /// Whether the host has a program that runs.
    pub(super) fn is_running(&self) -> bool {
        lock(&self.0.crew).running
    }

    /// Runs a task on the runtime of the caller. One of a program that is no more is dropped.
    #[expect(clippy::disallowed_methods, reason = "this is what stands behind Net::spawn")]
    pub(super) fn spawn(&self, life: u64, future: BoxFuture<'static, ()>) {
        let mut crew = lock(&self.0.crew);
        if !crew.running || crew.life != life {
            drop(crew);
            drop(future);
            return;
        }
        let no = crew.next;
        crew.next += 1;
        let task =
            Arc::new(Task { future: Mutex::new(Some(future)), frozen: Mutex::default(), abort: Mutex::default() });
        crew.live.insert(no, task.clone());
        drop(crew);
        let turns = self.0.draw.at(life).at(no);
        let turn = Turns { tasks: self.clone(), task: task.clone(), life, no, draw: turns, count: 0 };
        *lock(&task.abort) = Some(tokio::spawn(turn).abort_handle());
    }

    /// Drops all tasks, in the order in which they were spawned.
    pub(super) fn stop(&self) {
        self.bury(self.end());
    }

    /// No task gets a turn any more. They are still to be dropped, where their connections can say goodbye.
    pub(super) fn end(&self) -> Remains {
        let mut crew = lock(&self.0.crew);
        crew.running = false;
        let live = std::mem::take(&mut crew.live);
        drop(crew);
        self.0.turning.store(0, Relaxed);
        self.0.frozen.store(false, Relaxed);
        Remains(live.into_values().collect())
    }

    /// Drops what is left of tasks, in the order in which they were spawned.
    pub(super) fn bury(&self, remains: Remains) {
        for task in remains.0 {
            self.discard(&task);
        }
    }

    /// Gives no turns from now on, or gives them again.
    pub(super) fn freeze(&self, frozen: bool) {
        self.0.frozen.store(frozen, Relaxed);
        if !frozen {
            let live = lock(&self.0.crew).live.values().cloned().collect::<Vec<_>>();
            for task in live {
                if let Some(waker) = lock(&task.frozen).take() {
                    waker.wake();
                }
            }
        }
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.0.frozen.load(Relaxed)
    }

    fn discard(&self, task: &Task) {
        let future = lock(&task.future).take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(move || drop(future))) {
            self.0.watch.panicked(self.0.host, text(&*panic));
        }
        if let Some(abort) = lock(&task.abort).take() {
            abort.abort();
        }
    }

    fn ended(&self, life: u64, no: u64) {
        let mut crew = lock(&self.0.crew);
        if crew.life == life {
            crew.live.remove(&no);
        }
    }
}

/// A task as the runtime sees it.
struct Turns {
    tasks: Tasks,
    task: Arc<Task>,
    life: u64,
    no: u64,
    draw: Draw,
    count: u64,
}

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = &this.tasks.0;
        if shared.watch.halted() || shared.turning.load(Relaxed) != this.life {
            return Poll::Pending;
        }
        if shared.frozen.load(Relaxed) {
            *lock(&this.task.frozen) = Some(cx.waker().clone());
            return Poll::Pending;
        }
        shared.watch.turn(shared.host);
        this.count += 1;
        if shared.yields_per_mille > 0 && this.draw.at(this.count).chance(shared.yields_per_mille) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut slot = lock(&this.task.future);
        let Some(future) = slot.as_mut() else { return Poll::Ready(()) };
        let done = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        drop(slot);
        match done {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(panic) => shared.watch.panicked(shared.host, text(&*panic)),
        }
        this.tasks.discard(&this.task);
        this.tasks.ended(this.life, this.no);
        Poll::Ready(())
    }
}

/// What a panic says.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_owned())
}
