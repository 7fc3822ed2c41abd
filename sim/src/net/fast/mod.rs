//! The fast world: one runtime with a paused clock, on which every host's tasks run; connections are queues of segments,
//! each with a time of arrival. Nothing in it ticks: an idle world costs nothing.
//!
//! What is modelled, as Linux does it: latency by segment, order within a connection, loss (sent again after 200 ms, which
//! doubles), cuts (sent again some time after the end), SYNs that are tried again for 127 s, refusals, backlogs, half-close,
//! resets where there was something unread, a window of 64 KiB, a kernel that outlives its process, and power loss.
//!
//! What is not:
//! - Acknowledgements: a sender whose data arrives doesn't notice that the way back is cut. One whose data doesn't arrive
//!   gives up after 15 minutes, as with Linux.
//! - Bandwidth, the size of packets, congestion: one write is one segment, of up to 64 KiB, and takes as long as any.
//! - A segment that was lost in a cut is sent again at most 15 s after the cut's end, with Linux at most 120 s.
//! - Keepalives, `TIME_WAIT`, ports of the connecting side, names that don't resolve, a host's way to itself being faster.
//! - Tasks that a program starts with `tokio::spawn` instead of [`Net::spawn`](super::Net::spawn) are not killed with
//!   their host. They are cut off: their connections are gone, and they can neither connect nor listen. Nor do they freeze
//!   but at their connections, nor is a panic in them noticed.

mod conn;
mod socket;
mod wires;

pub(super) use socket::{FastListener, FastStream};

use super::{
    Controls, Director, Down, Link, Net, NetInner, Program, Ran, Stage,
    tasks::{Tasks, Watch, lock},
    wire::Wire,
};
use crate::{draw::Draw, host::Host};
use quebert_dispatcher::ports::BoxFuture;
use std::{
    collections::BTreeMap,
    future::{pending, poll_fn},
    io,
    sync::{Arc, Mutex},
    task::{Poll, ready},
    time::Duration,
};
use tokio::{
    runtime,
    time::{Instant, sleep_until},
};
use wires::Wires;

/// The world. Everything that is on a host has it.
struct World {
    /// The runtime's first moment: true time is counted from it.
    base: Instant,
    names: BTreeMap<Host, usize>,
    hosts: Vec<(Host, Program, Tasks)>,
    watch: Arc<Watch>,
    wires: Mutex<Wires>,
    /// Hosts whose program has ended by itself.
    exits: Mutex<Vec<(usize, u64)>>,
}

impl World {
    fn now(&self) -> Duration {
        self.base.elapsed()
    }
}

#[derive(Clone)]
pub(crate) struct FastNet {
    world: Arc<World>,
    at: usize,
    /// Which start of the host this is of.
    life: u64,
}

impl FastNet {
    pub(crate) fn host(&self) -> Host {
        self.world.hosts[self.at].0
    }

    pub(crate) fn now(&self) -> Duration {
        self.world.now()
    }

    pub(crate) async fn connect(&self, to: Host, port: u16) -> io::Result<FastStream> {
        self.alive().await;
        let to = *self.world.names.get(&to).ok_or(io::ErrorKind::HostUnreachable)?;
        let conn = lock(&self.world.wires).connect(self.now(), self.at, to, port);
        let mut stream = FastStream::new(self.clone(), conn, 0);
        poll_fn(|cx| stream.poll_open(cx)).await?;
        Ok(stream)
    }

    pub(crate) async fn bind(&self, port: u16) -> io::Result<FastListener> {
        self.alive().await;
        FastListener::bind(self.clone(), port)
    }

    pub(crate) fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.tasks().spawn(self.life, task);
    }

    /// What is left of a program that is no more never gets any further.
    async fn alive(&self) {
        if !self.is_alive() {
            pending::<()>().await;
        }
    }

    fn is_alive(&self) -> bool {
        self.tasks().is_alive(self.life)
    }

    fn tasks(&self) -> &Tasks {
        &self.world.hosts[self.at].2
    }
}

pub(super) fn run(stage: Stage, director: &mut dyn Director) -> Ran {
    let mut builder = runtime::Builder::new_current_thread();
    // What tokio draws for itself, such as the first branch of a `select!`. Otherwise nobody may depend on that.
    #[cfg(tokio_unstable)]
    builder.rng_seed(runtime::RngSeed::from_bytes(&stage.seed.to_le_bytes()));
    let runtime =
        builder.enable_time().start_paused(true).build().expect("a runtime without I/O needs nothing of the machine");
    runtime.block_on(async {
        let world = Arc::new(World::new(stage));
        direct(&world, director).await;
        world.end()
    })
}

/// Lets the director act at its times, and segments arrive at theirs.
async fn direct(world: &Arc<World>, director: &mut dyn Director) {
    let mut controls = FastControls { world: world.clone() };
    for at in 0..world.hosts.len() {
        controls.start(at);
    }
    let Some(mut next) = director.act(Duration::ZERO, &mut controls) else { return };
    let mut timer = Box::pin(sleep_until(world.base));
    let mut armed = Duration::ZERO;
    poll_fn(|cx| {
        world.watch.wake_on_halt(cx.waker());
        loop {
            let now = world.now();
            if world.watch.halted() {
                return Poll::Ready(());
            }
            controls.bury_the_exited();
            if now >= next {
                match director.act(now, &mut controls) {
                    Some(at) => next = at.max(now + Duration::from_millis(1)),
                    None => return Poll::Ready(()),
                }
            }
            let arrival = lock(&world.wires).run_until(now, cx.waker());
            let due = arrival.map_or(next, |at| at.min(next));
            if due != armed {
                timer.as_mut().reset(world.base + due);
                armed = due;
            }
            ready!(timer.as_mut().poll(cx));
            armed = Duration::ZERO;
        }
    })
    .await;
}

impl World {
    fn new(stage: Stage) -> Self {
        let watch = Arc::new(Watch::default());
        let draw = Draw::new(stage.seed);
        let names = stage.hosts.iter().map(|(host, _)| *host).collect::<Vec<_>>();
        let wires = Wires::new(&names, stage.seed, stage.weather, Wire::new(stage.log));
        let tasks = |host| Tasks::new(host, watch.clone(), draw, stage.weather.yields_per_mille);
        Self {
            base: Instant::now(),
            names: names.iter().enumerate().map(|(at, host)| (*host, at)).collect(),
            hosts: stage.hosts.into_iter().map(|(host, program)| (host, program, tasks(host))).collect(),
            wires: Mutex::new(wires),
            exits: Mutex::default(),
            watch,
        }
    }

    fn end(&self) -> Ran {
        lock(&self.wires).end();
        let end = self.now();
        for (_, _, tasks) in &self.hosts {
            tasks.stop();
        }
        lock(&self.wires).wire.ran(end, self.watch.take_panics())
    }
}

struct FastControls {
    world: Arc<World>,
}

impl FastControls {
    fn at(&self, host: Host) -> Option<usize> {
        self.world.names.get(&host).copied()
    }

    fn start(&mut self, at: usize) {
        let (_, program, tasks) = &self.world.hosts[at];
        let life = tasks.start();
        let (world, program) = (self.world.clone(), program.clone());
        let net = Net::new(NetInner::Fast(FastNet { world: world.clone(), at, life }));
        let main = async move {
            program(net).await;
            lock(&world.exits).push((at, life));
            lock(&world.wires).wake_pump();
        };
        tasks.spawn(life, Box::pin(main));
    }

    /// A program that ends is a process that exits: all that it had ends with it.
    fn bury_the_exited(&mut self) {
        let exits = std::mem::take(&mut *lock(&self.world.exits));
        for (at, life) in exits {
            if self.world.hosts[at].2.is_alive(life) {
                self.stop(at, Down::Kill);
            }
        }
    }

    fn stop(&mut self, at: usize, how: Down) {
        let now = self.world.now();
        match how {
            Down::Kill => lock(&self.world.wires).kill(now, at),
            Down::Power => lock(&self.world.wires).power_off(at),
        }
        self.world.hosts[at].2.stop();
    }
}

impl Controls for FastControls {
    fn link(&mut self, one: Host, other: Host, link: Link) {
        if let (Some(one), Some(other)) = (self.at(one), self.at(other)) {
            lock(&self.world.wires).set_link(self.world.now(), one, other, link);
        }
    }

    fn reset(&mut self, one: Host, other: Host) {
        if let (Some(one), Some(other)) = (self.at(one), self.at(other)) {
            lock(&self.world.wires).reset(self.world.now(), one, other);
        }
    }

    fn down(&mut self, host: Host, how: Down) {
        if let Some(at) = self.at(host)
            && self.world.hosts[at].2.is_running()
        {
            self.stop(at, how);
        }
    }

    fn up(&mut self, host: Host) {
        if let Some(at) = self.at(host)
            && !self.world.hosts[at].2.is_running()
        {
            lock(&self.world.wires).power_on(self.world.now(), at);
            self.start(at);
        }
    }

    fn freeze(&mut self, host: Host, frozen: bool) {
        if let Some(at) = self.at(host)
            && self.world.hosts[at].2.is_running()
        {
            self.world.hosts[at].2.freeze(frozen);
            if !frozen {
                lock(&self.world.wires).wake_all(at);
            }
        }
    }
}
