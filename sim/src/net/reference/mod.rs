//! The reference world: turmoil, a simulated network of somebody else's. One turmoil host per host, each with a paused
//! runtime of its own; time goes in ticks of `TICK`, which is what it costs. It has the controls of the fast world,
//! and programs can't tell the two apart but by what is listed here.
//!
//! - **Ticks.** What is sent arrives at the next tick at the earliest, so that a hop takes up to 10 ms whatever its latency.
//!   Faults begin and end at ticks.
//! - **Latency** is exponential between its bounds, in turmoil's way, and drawn from one stream of numbers: a case with a
//!   task less has other latencies everywhere.
//! - **Cuts.** turmoil never sends anything again. A connection that lost something to a cut would be dead for ever and
//!   nobody would know: it is reset at both ends when the cut ends, as by a firewall that has forgotten it. The fast
//!   world's go on instead; so each world tests what the other can't.
//! - **SYNs** that meet a cut or a machine without power are tried again for 127 s, here as there; turmoil by itself would
//!   refuse them at once.
//! - **Loss** keeps the sender waiting until the time at which the segment would have been sent again. turmoil's own would
//!   take everything along that is on its way.
//! - **Connecting** to a program that does not accept, since it is frozen or busy, waits until it does; in the fast world its
//!   kernel says yes. The yes takes no time.
//! - **Windows** count 4,096 writes, not bytes.
//! - **Closing** with something unread looks like any other in the hash; turmoil's own resets are not in it.
//! - Tasks that a program starts with `tokio::spawn` live on after their host, cut off, as in the fast world. A panic in
//!   one of them takes the whole run down if tokio is built with `--cfg tokio_unstable`, and is not noticed otherwise.
//!
//! Hosts are never crashed in turmoil's sense, which would drop their runtimes and with them tasks in an order that
//! depends on how many tasks the process has ever had. Each has one task of turmoil's, which starts programs and buries
//! them, in the order in which their tasks were spawned.

mod socket;
mod wires;

pub(super) use socket::{TurmoilListener, TurmoilStream};

use super::{
    Controls, Director, Down, Link, Net, NetInner, Program, Ran, Stage, Weather,
    tasks::{Remains, Tasks, Watch, lock},
    wire::Wire,
};
use crate::{clock::EPOCH_MS, draw::Draw, host::Host};
use quebert_dispatcher::ports::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::{pending, poll_fn},
    net::IpAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    time::{Duration, UNIX_EPOCH},
};
use tokio::time::Instant;
use turmoil::{Builder, Sim};
use wires::Wires;

/// One step of time. Each costs about 2 µs a host, so that ten hosts make some 500 virtual seconds a CPU second; with
/// 5 ms it would be half of that.
const TICK: Duration = Duration::from_millis(10);
/// Segments that one side can send which the other has not read; and SYNs that a listener has not accepted, beyond which
/// turmoil panics.
const SEGMENTS_MAX: usize = 4096;
/// No case is as long.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

/// The world. Everything that is on a host has it.
struct World {
    names: BTreeMap<Host, usize>,
    machines: Vec<Machine>,
    watch: Arc<Watch>,
    wires: Mutex<Wires>,
    /// Hosts have their turns; otherwise it is between two ticks.
    ticking: AtomicBool,
    /// When the last tick ended.
    elapsed: Mutex<Duration>,
}

/// A host.
struct Machine {
    host: Host,
    address: IpAddr,
    program: Program,
    tasks: Tasks,
    /// The first moment of its runtime, which is the world's, too.
    base: OnceLock<Instant>,
    orders: Mutex<Orders>,
}

/// What is to be done at a host's next turn.
#[derive(Default)]
struct Orders {
    bury: Vec<Remains>,
    start: bool,
    waker: Option<Waker>,
}

impl Orders {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl World {
    fn new(stage: Stage, addresses: &[IpAddr]) -> Self {
        let watch = Arc::new(Watch::default());
        let draw = Draw::new(stage.seed);
        let names = stage.hosts.iter().map(|(host, _)| *host).collect::<Vec<_>>();
        let wires = Wires::new(&names, addresses, draw.of("wires"), Wire::new(stage.log));
        let machine = |((host, program), address): ((Host, Program), &IpAddr)| Machine {
            host,
            address: *address,
            program,
            tasks: Tasks::new(host, watch.clone(), draw, stage.weather.yields_per_mille),
            base: OnceLock::new(),
            orders: Mutex::default(),
        };
        Self {
            names: names.iter().enumerate().map(|(at, host)| (*host, at)).collect(),
            machines: stage.hosts.into_iter().zip(addresses).map(machine).collect(),
            wires: Mutex::new(wires),
            watch,
            ticking: AtomicBool::new(false),
            elapsed: Mutex::default(),
        }
    }

    /// True time, at a host. Runtimes are made together and ticked alike.
    fn now(&self, at: usize) -> Duration {
        match self.machines[at].base.get() {
            Some(base) if self.ticking.load(Relaxed) => Instant::now().saturating_duration_since(*base),
            _ => *lock(&self.elapsed),
        }
    }

    /// Does what is to be done at a host, on its runtime.
    fn tend(self: &Arc<Self>, at: usize) {
        let machine = &self.machines[at];
        let (bury, start) = {
            let mut orders = lock(&machine.orders);
            (std::mem::take(&mut orders.bury), std::mem::take(&mut orders.start))
        };
        for remains in bury {
            machine.tasks.bury(remains);
        }
        if start {
            let life = machine.tasks.start();
            let net = Net::new(NetInner::Turmoil(TurmoilNet { world: self.clone(), at, life }));
            let (world, program) = (self.clone(), machine.program.clone());
            let main = async move {
                program(net).await;
                world.exited(at, life);
            };
            machine.tasks.spawn(life, Box::pin(main));
        }
    }

    /// A program that ends is a process that exits: all that it had ends with it.
    fn exited(&self, at: usize, life: u64) {
        let machine = &self.machines[at];
        if machine.tasks.is_alive(life) {
            let mut orders = lock(&machine.orders);
            orders.bury.push(machine.tasks.end());
            orders.wake();
        }
    }
}

/// A host's one task of turmoil's.
async fn tend(world: Arc<World>, at: usize) -> turmoil::Result {
    world.machines[at].base.get_or_init(Instant::now);
    poll_fn(|cx| {
        lock(&world.machines[at].orders).waker = Some(cx.waker().clone());
        world.tend(at);
        Poll::<()>::Pending
    })
    .await;
    Ok(())
}

pub(super) fn run(stage: Stage, director: &mut dyn Director) -> Ran {
    let weather = stage.weather;
    let mut sim = simulation(stage.seed, weather);
    let addresses = stage.hosts.iter().map(|(host, _)| sim.lookup(host.to_string())).collect::<Vec<_>>();
    let world = Arc::new(World::new(stage, &addresses));
    for (at, address) in addresses.into_iter().enumerate() {
        let world = world.clone();
        sim.host(address, move || tend(world.clone(), at));
    }
    let mut controls = TurmoilControls { sim, world, weather, raising: BTreeSet::new() };
    for at in 0..controls.world.machines.len() {
        lock(&controls.world.machines[at].orders).start = true;
    }
    let mut next = director.act(Duration::ZERO, &mut controls);
    while let Some(at) = next
        && !controls.world.watch.halted()
    {
        let now = controls.sim.elapsed();
        if now >= at {
            next = director.act(now, &mut controls).map(|at| at.max(now + Duration::from_millis(1)));
        } else {
            controls.tick();
            controls.raise();
        }
    }
    controls.end()
}

fn simulation(seed: u64, weather: Weather) -> Sim<'static> {
    Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + Duration::from_millis(EPOCH_MS.unsigned_abs()))
        .simulation_duration(FOR_EVER)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(weather.latency_min_ms.max(1).into()))
        .max_message_latency(Duration::from_millis(weather.latency_max_ms.max(weather.latency_min_ms.max(1)).into()))
        .tcp_capacity(SEGMENTS_MAX)
        .enable_random_order()
        .build()
}

#[derive(Clone)]
pub(crate) struct TurmoilNet {
    world: Arc<World>,
    at: usize,
    /// Which start of the host this is of.
    life: u64,
}

impl TurmoilNet {
    pub(crate) fn host(&self) -> Host {
        self.machine().host
    }

    pub(crate) fn now(&self) -> Duration {
        self.world.now(self.at)
    }

    pub(crate) fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.machine().tasks.spawn(self.life, task);
    }

    /// What is left of a program that is no more never gets any further.
    async fn alive(&self) {
        if !self.is_alive() {
            pending::<()>().await;
        }
    }

    fn is_alive(&self) -> bool {
        self.machine().tasks.is_alive(self.life)
    }

    fn machine(&self) -> &Machine {
        &self.world.machines[self.at]
    }
}

struct TurmoilControls {
    sim: Sim<'static>,
    world: Arc<World>,
    weather: Weather,
    /// Hosts that are to be started as soon as what was there is buried.
    raising: BTreeSet<usize>,
}

impl TurmoilControls {
    fn at(&self, host: Host) -> Option<usize> {
        self.world.names.get(&host).copied()
    }

    fn tick(&mut self) {
        self.world.ticking.store(true, Relaxed);
        let result = self.sim.step();
        self.world.ticking.store(false, Relaxed);
        result.expect("no host's task ends, so none fails");
        *lock(&self.world.elapsed) = self.sim.elapsed();
    }

    /// Whether the host has a program, or will have one at its next turn.
    fn is_up(&self, at: usize) -> bool {
        let machine = &self.world.machines[at];
        machine.tasks.is_running() || self.raising.contains(&at) || lock(&machine.orders).start
    }

    /// Starts what is to be started. A machine gets its power back only after what was there is buried: it would say goodbye.
    fn raise(&mut self) {
        for at in std::mem::take(&mut self.raising) {
            let off = lock(&self.world.wires).is_off(at);
            if off && !lock(&self.world.machines[at].orders).bury.is_empty() {
                self.raising.insert(at);
                continue;
            }
            if off {
                lock(&self.world.wires).set_off(at, false);
                self.set_links_of(at);
            }
            let mut orders = lock(&self.world.machines[at].orders);
            orders.start = true;
            orders.wake();
        }
    }

    fn set_links_of(&self, at: usize) {
        for other in (0..self.world.machines.len()).filter(|other| *other != at) {
            self.set_link(at.min(other), at.max(other));
        }
    }

    /// Tells turmoil of the way between two hosts. It has one state a direction, so that the whole is set anew.
    fn set_link(&self, one: usize, other: usize) {
        let [a, b] = [one, other].map(|at| self.world.machines[at].address);
        let mut wires = lock(&self.world.wires);
        let (former, link) = wires.refresh(one, other);
        if (former.cut_to, former.cut_from, former.held) != (link.cut_to, link.cut_from, link.held) {
            if link.held {
                self.sim.hold(a, b);
            } else if former.held {
                self.sim.release(a, b);
            } else {
                self.sim.repair(a, b);
            }
            for (cut, from, to) in [(link.cut_to, a, b), (link.cut_from, b, a)] {
                if cut {
                    self.sim.links(|links| wires.lose(links, from, to));
                    self.sim.partition_oneway(from, to);
                }
            }
        }
        if former.slower_ms != link.slower_ms {
            let (least, most) = (self.weather.latency_min_ms.max(1), self.weather.latency_max_ms);
            let slower = |ms: u32| Duration::from_millis((ms + link.slower_ms).into());
            self.sim.set_link_latency(a, b, slower(least));
            self.sim.set_link_max_message_latency(a, b, slower(most.max(least)));
        }
        let now = *lock(&self.world.elapsed);
        wires.reset_the_lost(now, one, other);
    }

    /// Buries everybody, where runtimes are there to do so; nothing of it is sent.
    fn end(mut self) -> Ran {
        let end = self.sim.elapsed();
        lock(&self.world.wires).end();
        for machine in &self.world.machines {
            let mut orders = lock(&machine.orders);
            orders.start = false;
            orders.bury.push(machine.tasks.end());
            orders.wake();
        }
        self.tick();
        let panics = self.world.watch.take_panics();
        lock(&self.world.wires).wire.ran(end, panics)
    }
}

impl Controls for TurmoilControls {
    fn link(&mut self, one: Host, other: Host, link: Link) {
        let (Some(one), Some(other)) = (self.at(one), self.at(other)) else { return };
        if one == other {
            return;
        }
        if lock(&self.world.wires).set_link(one, other, link) {
            self.set_link(one.min(other), one.max(other));
        }
    }

    fn reset(&mut self, one: Host, other: Host) {
        if let (Some(one), Some(other)) = (self.at(one), self.at(other)) {
            lock(&self.world.wires).reset(self.sim.elapsed(), one, other);
        }
    }

    fn down(&mut self, host: Host, how: Down) {
        let Some(at) = self.at(host).filter(|at| self.is_up(*at)) else { return };
        self.raising.remove(&at);
        if how == Down::Power {
            lock(&self.world.wires).set_off(at, true);
            self.set_links_of(at);
        }
        let machine = &self.world.machines[at];
        let mut orders = lock(&machine.orders);
        orders.start = false;
        if machine.tasks.is_running() {
            orders.bury.push(machine.tasks.end());
        }
        orders.wake();
    }

    fn up(&mut self, host: Host) {
        if let Some(at) = self.at(host).filter(|at| !self.is_up(*at)) {
            self.raising.insert(at);
            self.raise();
        }
    }

    fn freeze(&mut self, host: Host, frozen: bool) {
        if let Some(at) = self.at(host).filter(|at| self.is_up(*at)) {
            self.world.machines[at].tasks.freeze(frozen);
            if !frozen {
                lock(&self.world.wires).wake_all(at);
            }
        }
    }
}
