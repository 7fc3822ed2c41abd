//! Whether a case can be run: that it names only what it has, and asks for nothing that the world can't do. It does not
//! say whether a case is worth a run.

use super::{
    BrokerSpec, Case, CaseError, DispatcherSpec, Engine, Exec, Fault, FaultKind, LaneSpec, TaskSpec, VERSION,
    WorldSpec,
    spec::HookError,
    work::{HookSpec, Reply},
};
use crate::{host::Host, run::config::retry_policy};
use quebert_wire::{
    Limits,
    limits::{DELAY_MAX, QUEUE_BYTES_MAX},
};
use std::collections::BTreeSet;

/// The longest that a case may take: 100 days of true time.
const CASE_MS_MAX: u64 = 100 * 24 * 60 * 60 * 1000;
/// How wrong a clock may be: a day.
const CLOCK_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// How much a clock may drift: it may run at half or at one and a half of true speed.
const DRIFT_PPM_MAX: u64 = 500_000;

/// Checks everything, and tells the first thing that is wrong.
pub(super) fn check(case: &Case) -> Result<(), CaseError> {
    let top = Path(String::new());
    top.at("version")
        .must(case.version == VERSION, || format!("{} is not known; this release reads {VERSION}", case.version))?;
    top.at("heal_at_ms").range(case.heal_at_ms, 1, CASE_MS_MAX)?;
    top.at("settle_ms").range(case.settle_ms, 1, CASE_MS_MAX)?;
    check_world(&top.at("world"), &case.world)?;
    let mut numbers = BTreeSet::new();
    for (index, task) in case.tasks.iter().enumerate() {
        let path = top.at("tasks").index(index);
        path.at("no").must(numbers.insert(task.no), || format!("{} is there twice", task.no.0))?;
        check_task(&path, task, case)?;
    }
    for (index, fault) in case.faults.iter().enumerate() {
        check_fault(&top.at("faults").index(index), fault, case)?;
    }
    Ok(())
}

/// Where in a case, as in `world.dispatcher.lanes[1].window`.
struct Path(String);

impl Path {
    fn at(&self, field: &str) -> Self {
        let dot = if self.0.is_empty() { "" } else { "." };
        Self(format!("{}{dot}{field}", self.0))
    }

    fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    fn must(&self, holds: bool, detail: impl FnOnce() -> String) -> Result<(), CaseError> {
        if holds { Ok(()) } else { Err(CaseError { field: self.0.clone(), detail: detail() }) }
    }

    fn range(&self, value: impl Into<u64>, least: u64, most: u64) -> Result<(), CaseError> {
        let value = value.into();
        self.must((least..=most).contains(&value), || format!("{value} is not {least} to {most}"))
    }

    fn per_mille(&self, value: u32) -> Result<(), CaseError> {
        self.at("per_mille").range(value, 0, 1000)
    }
}

fn check_world(path: &Path, world: &WorldSpec) -> Result<(), CaseError> {
    path.at("dispatchers").range(world.dispatchers, 1, 255)?;
    path.at("executors").range(world.executors, 1, 255)?;
    path.at("producers").range(world.producers, 1, 255)?;
    check_broker(&path.at("broker"), &world.broker, &world.dispatcher)?;
    check_dispatcher(&path.at("dispatcher"), &world.dispatcher)?;
    let (path, weather) = (path.at("weather"), &world.weather);
    path.at("latency_min_ms").range(weather.latency_min_ms, 1, 60_000)?;
    path.at("latency_max_ms").range(weather.latency_max_ms, weather.latency_min_ms.into(), 60_000)?;
    path.at("yields_per_mille").range(weather.yields_per_mille, 0, 1000)
}

fn check_broker(path: &Path, broker: &BrokerSpec, dispatcher: &DispatcherSpec) -> Result<(), CaseError> {
    path.at("nodes").must([1, 3].contains(&broker.nodes), || format!("{} is not 1 or 3", broker.nodes))?;
    let alone = broker.engine == Engine::Rabbit || broker.nodes == 1;
    path.at("nodes").must(alone, || "the embedded broker has one".to_owned())?;
    path.at("delivery_limit").range(broker.delivery_limit, 1, u64::from(u32::MAX))?;
    let attempt = dispatcher.lanes.iter().map(|lane| lane.attempt_timeout_ms).max().unwrap_or(0);
    path.at("consumer_timeout_ms").must(broker.consumer_timeout_ms > attempt, || {
        format!("{} is not more than the longest attempt_timeout_ms, {attempt}", broker.consumer_timeout_ms)
    })?;
    path.at("heartbeat_ms").range(broker.heartbeat_ms, 100, CASE_MS_MAX)?;
    path.at("confirm_max_ms").range(broker.confirm_max_ms, broker.confirm_min_ms, CASE_MS_MAX)?;
    path.at("confirm_batch").range(broker.confirm_batch, 1, u64::from(u32::MAX))?;
    path.at("queue_messages_max").range(broker.queue_messages_max, 1, u64::MAX)
}

fn check_dispatcher(path: &Path, spec: &DispatcherSpec) -> Result<(), CaseError> {
    path.at("lanes").must(!spec.lanes.is_empty(), || "there is none".to_owned())?;
    let mut names = BTreeSet::new();
    for (index, lane) in spec.lanes.iter().enumerate() {
        let path = path.at("lanes").index(index);
        path.at("name").must(names.insert(&lane.name), || format!("{:?} is there twice", lane.name))?;
        check_lane(&path, lane, spec.slots_shared)?;
    }
    path.at("destination_slots").range(spec.destination_slots, 1, u64::from(u32::MAX))?;
    path.at("window_share").range(spec.window_share, 1, 100)?;
    path.at("pass_over_max").range(spec.pass_over_max.unwrap_or(1), 1, u64::from(u32::MAX))?;
    path.at("hook_timeout_ms").range(spec.hook_timeout_ms, 1, CASE_MS_MAX)
}

fn check_lane(path: &Path, lane: &LaneSpec, slots_shared: u32) -> Result<(), CaseError> {
    path.at("name").range(lane.name.len() as u64, 1, QUEUE_BYTES_MAX as u64)?;
    path.at("weight").range(lane.weight, 1, u64::from(u32::MAX))?;
    path.at("slots_max").range(lane.slots_max, 1, u64::from(u32::MAX))?;
    path.at("slots_own").range(lane.slots_own, 0, lane.slots_max.into())?;
    path.at("slots_own").must(lane.slots_own > 0 || slots_shared > 0, || {
        "it has no slots of its own, and none are shared".to_owned()
    })?;
    path.at("window").range(lane.window, 1, u64::from(u16::MAX))?;
    path.at("attempt_timeout_ms").range(lane.attempt_timeout_ms, 1, CASE_MS_MAX)?;
    path.at("ttl_ms").range(lane.ttl_ms.unwrap_or(1), 1, CASE_MS_MAX)?;
    // The policy's own words begin with the field's name.
    retry_policy(lane).check().map_err(|error| {
        let text = error.to_string();
        let (field, detail) = text.split_once(": ").unwrap_or(("retry", text.as_str()));
        let unit = if field.starts_with("backoff") { "_ms" } else { "" };
        CaseError { field: path.at(&format!("{field}{unit}")).0, detail: detail.to_owned() }
    })
}

fn check_task(path: &Path, task: &TaskSpec, case: &Case) -> Result<(), CaseError> {
    let world = &case.world;
    let delay_max = u64::try_from(DELAY_MAX.as_millis()).unwrap_or(u64::MAX);
    path.at("at_ms").range(task.at_ms, 0, case.heal_at_ms)?;
    path.at("producer").range(task.producer, 1, world.producers.into())?;
    path.at("lane").range(task.lane as u64, 0, world.dispatcher.lanes.len() as u64 - 1)?;
    path.at("executor").range(task.executor, 1, world.executors.into())?;
    path.at("delay_ms").range(task.delay_ms.unwrap_or(0), 0, delay_max)?;
    path.at("ttl_ms").range(task.ttl_ms.unwrap_or(1), 1, delay_max)?;
    path.at("max_attempts").range(task.max_attempts.unwrap_or(1), 1, u64::from(u32::MAX))?;
    path.at("body_bytes").range(task.body_bytes, 0, Limits::default().body_bytes as u64)?;
    if let Some(hook) = task.hook {
        check_hook(&path.at("hook"), hook, task, &world.dispatcher)?;
    }
    for (index, exec) in task.exec.iter().enumerate() {
        check_exec(&path.at("exec").index(index), exec)?;
    }
    Ok(())
}

fn check_hook(path: &Path, hook: HookSpec, task: &TaskSpec, spec: &DispatcherSpec) -> Result<(), CaseError> {
    path.must(spec.mediator, || "there is no mediator: world.dispatcher.mediator is false".to_owned())?;
    // Putting off counts no attempt, so "until the nth attempt" never comes.
    let fails = matches!(hook, HookSpec::Panic { until } | HookSpec::Hang { until } if until > 0);
    let expires = task.ttl_ms.is_some() || spec.lanes[task.lane].ttl_ms.is_some();
    path.must(!fails || spec.hook_error != HookError::PutOff || expires, || {
        "puts the task off for ever (world.dispatcher.hook_error is put_off): it needs a ttl_ms".to_owned()
    })
}

fn check_exec(path: &Path, exec: &Exec) -> Result<(), CaseError> {
    path.at("after_ms").range(exec.after_ms, 0, CASE_MS_MAX)?;
    match exec.reply {
        Reply::Status(status)
        | Reply::RetryAfter { status, .. }
        | Reply::Torn { status }
        | Reply::Trickle { status, .. } => path.at("reply").range(status, 200, 599),
        Reply::Large { bytes } => path.at("reply").range(bytes, 0, 100_000_000),
        _ => Ok(()),
    }
}

fn check_fault(path: &Path, fault: &Fault, case: &Case) -> Result<(), CaseError> {
    let world = &case.world;
    path.at("at_ms").range(fault.at_ms, 0, case.heal_at_ms)?;
    path.at("for_ms").range(fault.for_ms, 0, CASE_MS_MAX)?;
    for (field, host, roles) in fault.kind.hosts() {
        check_host(&path.at(field), host, roles, world)?;
    }
    match &fault.kind {
        FaultKind::Cut { one, other, .. }
        | FaultKind::Hold { one, other }
        | FaultKind::Slow { one, other, .. }
        | FaultKind::Loss { one, other, .. }
        | FaultKind::Reset { one, other } => {
            path.at("other").must(one != other, || format!("{other} has no link to itself"))?;
        }
        FaultKind::CancelConsumer { lane, .. } | FaultKind::Pause { lane, .. } => {
            path.at("lane").range(*lane as u64, 0, world.dispatcher.lanes.len() as u64 - 1)?;
        }
        FaultKind::Executor { per_mille, exec, .. } => {
            path.per_mille(*per_mille)?;
            check_exec(&path.at("exec"), exec)?;
        }
        FaultKind::Sluggish { times, ms, .. } => {
            path.at("times").range(*times, 1, 1_000_000)?;
            path.at("ms").range(*ms, 0, CASE_MS_MAX)?;
        }
        FaultKind::ClockJump { ms, .. } => path.at("ms").range(ms.unsigned_abs(), 0, CLOCK_MS_MAX)?,
        FaultKind::ClockDrift { ppm, .. } => path.at("ppm").range(ppm.unsigned_abs(), 0, DRIFT_PPM_MAX)?,
        FaultKind::LeaderChange => {
            path.at("fault").must(world.broker.nodes == 3, || "a single node has no leader to change".to_owned())?;
        }
        FaultKind::Reconfigure { slots_max, .. } => path.at("slots_max").range(*slots_max, 1, u64::from(u32::MAX))?,
        FaultKind::DiskFull | FaultKind::DiskReadErrors { .. } | FaultKind::DiskSlow { .. } => {
            let embedded = world.broker.engine == Engine::Embedded;
            path.at("fault").must(embedded, || "only the embedded broker has a disk".to_owned())?;
        }
        _ => {}
    }
    match fault.kind {
        FaultKind::Slow { ms, .. } => path.at("ms").range(ms, 0, 3_600_000),
        FaultKind::ConfirmLate { ms } | FaultKind::DiskSlow { ms } => path.at("ms").range(ms, 0, CASE_MS_MAX),
        FaultKind::Loss { per_mille, .. }
        | FaultKind::ConfirmNever { per_mille }
        | FaultKind::ConfirmNack { per_mille }
        | FaultKind::DiskReadErrors { per_mille } => path.per_mille(per_mille),
        _ => Ok(()),
    }
}

/// Which hosts a fault can be about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Roles {
    Any,
    Dispatcher,
    Executor,
    /// Of the broker: dispatchers and producers.
    Client,
}

fn check_host(path: &Path, host: Host, roles: Roles, world: &WorldSpec) -> Result<(), CaseError> {
    let (n, most) = match host {
        Host::Broker(n) => (n, world.broker.nodes),
        Host::Dispatcher(n) => (n, world.dispatchers),
        Host::Executor(n) => (n, world.executors),
        Host::Producer(n) => (n, world.producers),
    };
    path.must((1..=most).contains(&n), || format!("there is no {host}"))?;
    let (fits, wanted) = match roles {
        Roles::Any => (true, ""),
        Roles::Dispatcher => (matches!(host, Host::Dispatcher(_)), "dispatcher"),
        Roles::Executor => (matches!(host, Host::Executor(_)), "executor"),
        Roles::Client => (matches!(host, Host::Dispatcher(_) | Host::Producer(_)), "client of the broker"),
    };
    path.must(fits, || format!("{host} is no {wanted}"))
}

impl FaultKind {
    /// The hosts that it names, with their fields.
    fn hosts(&self) -> Vec<(&'static str, Host, Roles)> {
        match self {
            Self::Down { host, .. } | Self::Freeze { host } => vec![("host", *host, Roles::Any)],
            Self::ClockJump { host, .. } | Self::ClockDrift { host, .. } => vec![("host", *host, Roles::Any)],
            Self::KillAt { host, .. }
            | Self::Drain { host, .. }
            | Self::Pause { host, .. }
            | Self::Reconfigure { host, .. }
            | Self::CancelConsumer { host, .. } => vec![("host", *host, Roles::Dispatcher)],
            Self::Executor { host, .. } | Self::Sluggish { host, .. } => vec![("host", *host, Roles::Executor)],
            Self::CloseConnection { host } => vec![("host", *host, Roles::Client)],
            Self::Cut { one, other, .. }
            | Self::Hold { one, other }
            | Self::Slow { one, other, .. }
            | Self::Loss { one, other, .. }
            | Self::Reset { one, other } => vec![("one", *one, Roles::Any), ("other", *other, Roles::Any)],
            Self::Alarm
            | Self::ConfirmLate { .. }
            | Self::ConfirmNever { .. }
            | Self::ConfirmNack { .. }
            | Self::LeaderChange
            | Self::DiskFull
            | Self::DiskReadErrors { .. }
            | Self::DiskSlow { .. } => vec![],
        }
    }

    /// The hosts that it names; none if it is about the broker as a whole.
    pub fn named_hosts(&self) -> Vec<Host> {
        self.hosts().into_iter().map(|(_, host, _)| host).collect()
    }
}
