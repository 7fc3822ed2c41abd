//! What the core alone costs for one task, and how that grows with the number of destinations. Two lanes hold a full window
//! each, a hundred tasks are under way, and every answer is a success: each turn settles a task, takes in the next one and
//! grants a slot. No broker, no HTTP, no metrics. Prints figures and judges none.
//!
//! `cargo bench -p quebert-dispatcher` tells CPU time, `-- --instructions` what callgrind counts; `docs/performance.md` has
//! figures.

#![expect(clippy::print_stdout, reason = "figures are what this program is for")]
#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use bytes::Bytes;
use http::StatusCode;
use quebert_dispatcher::{
    backoff::RetryPolicy,
    config::{CoreConfig, DestinationConfig, HookErrorRule, LaneConfig, Schedule},
    core::{Action, Core, Input, TicketId},
    outcome::{Outcome, Response},
    ports::{
        broker::{BrokerEvent, Delivery, Opening, Source, Tag},
        clock::Now,
        mediator::Attempt,
    },
    verdict::StatusRules,
    wire::{Codecs, Limits, Message, Timestamp},
};
use std::{collections::VecDeque, env, fs, process::Command, time::Duration};

/// Destinations of the tasks, which take turns.
const DESTINATIONS: [usize; 3] = [1, 1_000, 100_000];

/// Deliveries that each of the two lanes holds.
const WINDOW: u16 = 50_000;

/// Attempts under way.
const SLOTS: u32 = 100;

/// Tasks that are measured, by CPU time and in the short and the long run of callgrind.
const TASKS: u64 = 400_000;
const TASKS_COUNTED: [u64; 2] = [20_000, 60_000];

/// Bodies, so many that no task is there twice.
const BODIES: usize = 4 * WINDOW as usize;

/// What passes between two answers.
const STEP: Duration = Duration::from_micros(10);

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => by_cpu_time(),
        ["--instructions"] => by_instructions(),
        // What `--instructions` runs under callgrind.
        ["once", destinations, tasks] => drop(measured(destinations.parse().unwrap(), tasks.parse().unwrap())),
        _ => println!("cargo bench -p quebert-dispatcher [-- --instructions]"),
    }
}

fn by_cpu_time() {
    println!("{} tasks held, {SLOTS} under way, CPU time of a task", 2 * u32::from(WINDOW));
    let rounds: Vec<_> = (0..3).map(|_| DESTINATIONS.map(|destinations| measured(destinations, TASKS))).collect();
    let medians: Vec<u64> = (0..DESTINATIONS.len()).map(|at| median(rounds.iter().map(|round| round[at]))).collect();
    for (destinations, nanos) in DESTINATIONS.iter().zip(&medians) {
        println!("{destinations:>8} destinations {nanos:>6} ns  {:.2}", *nanos as f64 / medians[0] as f64);
    }
}

fn by_instructions() {
    println!("{} tasks held, {SLOTS} under way, instructions of a task", 2 * u32::from(WINDOW));
    let counts = DESTINATIONS.map(|destinations| {
        let [short, long] = TASKS_COUNTED.map(|tasks| instructions(destinations, tasks));
        (long - short) / (TASKS_COUNTED[1] - TASKS_COUNTED[0])
    });
    for (destinations, count) in DESTINATIONS.iter().zip(&counts) {
        println!("{destinations:>8} destinations {count:>6}  {:.2}", *count as f64 / counts[0] as f64);
    }
}

/// All instructions of a run with that many tasks, its start among them.
fn instructions(destinations: usize, tasks: u64) -> u64 {
    let file = env::temp_dir().join(format!("callgrind.core.{destinations}"));
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", &format!("--callgrind-out-file={}", file.display())])
        .arg(env::current_exe().unwrap())
        .args(["once", &destinations.to_string(), &tasks.to_string()])
        .status()
        .expect("--instructions needs valgrind");
    assert!(status.success(), "callgrind failed");
    let text = fs::read_to_string(file).unwrap();
    text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap().trim().parse().unwrap()
}

/// Nanoseconds of CPU time for one of `tasks` tasks, once the windows are full and every destination is known.
fn measured(destinations: usize, tasks: u64) -> u64 {
    let mut bench = Bench::new(destinations);
    for _ in 0..2 * u32::from(WINDOW) {
        bench.turn();
    }
    let before = cpu_nanos();
    for _ in 0..tasks {
        bench.turn();
    }
    (cpu_nanos() - before) / tasks
}

fn cpu_nanos() -> u64 {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// A core, and what answers it at once.
struct Bench {
    core: Core,
    now: Now,
    under_way: VecDeque<(TicketId, Box<Attempt>)>,
    /// Lanes with room in their windows.
    room: VecDeque<Opening>,
    bodies: Vec<Bytes>,
    delivered: u64,
}

impl Bench {
    /// With full windows.
    fn new(destinations: usize) -> Self {
        let now = Now { mono: Duration::from_secs(5), wall: Timestamp::from_millis(1_800_000_000_000) };
        let mut bench = Self {
            core: Core::new(config(), Codecs::default(), now),
            now,
            under_way: VecDeque::new(),
            room: VecDeque::new(),
            bodies: (0..BODIES).map(|task| body(task, task % destinations)).collect(),
            delivered: 0,
        };
        bench.carry_out();
        for _ in 0..WINDOW {
            for lane in 0..2 {
                bench.room.push_back(Opening(lane));
            }
        }
        while !bench.room.is_empty() {
            bench.deliver();
        }
        bench
    }

    /// One task is answered and settled, another comes in its place.
    fn turn(&mut self) {
        self.now.mono += STEP;
        let (ticket, attempt) = self.under_way.pop_front().expect("there is always something to send");
        let response =
            Response { status: StatusCode::OK, headers: http::HeaderMap::new(), body: Bytes::new(), truncated: false };
        self.feed(Input::Answered { ticket, attempt, outcome: Outcome::Answered(response) });
        self.deliver();
    }

    fn deliver(&mut self) {
        let opening = self.room.pop_front().expect("what was settled leaves room");
        let message = Message {
            content_type: Some("application/json".to_owned()),
            body: self.bodies[self.delivered as usize % BODIES].clone(),
            ..Message::default()
        };
        self.delivered += 1;
        let tag = Tag { opening, seq: self.delivered };
        self.feed(Input::Broker(BrokerEvent::Delivered(Delivery { tag, redelivered: false, message })));
    }

    fn feed(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.core.poll() {
            match action {
                Action::Open { source, .. } => {
                    let Source::Queue(queue) = &source else { unreachable!("nothing is delayed") };
                    let opening = Opening(u64::from(&**queue == "b"));
                    self.core.handle(self.now, Input::Broker(BrokerEvent::Opened { source, opening }));
                }
                Action::Send { ticket, attempt, .. } => self.under_way.push_back((ticket, attempt)),
                Action::Ack(tag) => self.room.push_back(tag.opening),
                Action::Emit(_) => {}
                other => unreachable!("every attempt succeeds at once, and the core wants {other:?}"),
            }
        }
    }
}

/// 300 bytes, as in the benchmark of the whole.
fn body(task: usize, destination: usize) -> Bytes {
    let (host, port) = (destination % 250, 1_024 + destination / 250);
    let start = format!(r#"{{"id":"task-{task}","url":"http://127.0.0.{host}:{port}/task","body":{{"fill":""#);
    let fill = "x".repeat(300_usize.saturating_sub(start.len() + 3));
    format!(r#"{start}{fill}"}}}}"#).into()
}

fn config() -> CoreConfig {
    CoreConfig {
        lanes: vec![lane("a", 1), lane("b", 0)],
        slots_shared: SLOTS,
        schedule: Schedule::Strict { pass_over_max: Some(16) },
        destinations: DestinationConfig {
            slots: SLOTS,
            slots_of: Default::default(),
            window_share: 50,
            // Nothing is put off: that would be another task's life.
            patience: Duration::from_secs(3_600),
            put_off_min: Duration::from_secs(2),
            put_off_max: Duration::from_secs(60),
        },
        limits: Limits::default(),
        hold_max: Duration::from_secs(1),
        consumer_timeout: Duration::from_secs(1_800),
        redeliveries_max: None,
        delay_window: 4,
        bury_expired: false,
        bury_unknown_fields: false,
        hook_error: HookErrorRule::PutOff,
        mediated: false,
        seed: 1,
    }
}

fn lane(name: &str, priority: u8) -> LaneConfig {
    LaneConfig {
        name: name.into(),
        queue: name.into(),
        priority,
        weight: 1,
        slots_own: 0,
        slots_max: SLOTS,
        window: WINDOW,
        attempt_timeout: Duration::from_secs(30),
        attempt_timeout_max: Duration::from_secs(60),
        ttl_default: None,
        retry: RetryPolicy::default(),
        status: StatusRules::default(),
    }
}
