//! The library as its users see it: bugs in their mediators, policies and executors are found, made small and told.

use quebert_dispatcher::{
    outcome::Outcome,
    ports::mediator::{Attempt, Before, Mediator},
    verdict::{RetryAfter, Verdict},
};
use quebert_sim::{
    Faults, Finding, Workload, World, WorldBuilder,
    case::{Case, Exec, Fault, FaultKind, LaneSpec, TaskSpec, work::Reply},
    history::{Entry, TaskNo, What},
    host::Host,
    judge::Oracle,
    net::Down,
    shrink::Limits,
    world::{Broken, Failure},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Rows that a mediator writes for each task.
type Table = Arc<Mutex<BTreeMap<String, u32>>>;

/// Writes a row for each task, once. Which ones it has written it keeps in memory: that is the bug.
struct OneRow {
    table: Table,
    written: Mutex<BTreeSet<String>>,
}

impl Mediator for OneRow {
    async fn before(&self, attempt: &mut Attempt) -> Before {
        let id = attempt.task.id.as_str().to_owned();
        if self.written.lock().expect("nobody panics with it").insert(id.clone()) {
            *self.table.lock().expect("nobody panics with it").entry(id).or_default() += 1;
        }
        Before::Send
    }
}

fn folder(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("quebert-sim-library-{test}-{}", std::process::id()))
}

/// One dispatcher, whose tasks fail once and are done at their second attempt.
fn small(test: &str) -> WorldBuilder {
    let twice = |case: &Case| -> Vec<_> {
        let reply = |status| Exec { after_ms: 5, reply: Reply::Status(status) };
        let task = |n| TaskSpec {
            executor: u8::try_from(n % u32::from(case.world.executors)).expect("few") + 1,
            exec: vec![reply(503), reply(200)],
            ..TaskSpec::new(n + 1, u64::from(n) * 200)
        };
        (0..20).map(task).collect()
    };
    let lane = LaneSpec { jitter: false, ..LaneSpec::named("only", 1) };
    let limits = Limits { runs: 300, cpu: Duration::from_secs(20) };
    World::builder()
        .dispatchers(1)
        .executors(2)
        .lanes([lane])
        .workload(Workload::made(twice))
        .shrink(limits)
        .keep_in(folder(test))
        .heals_after(Duration::from_secs(12))
        .seeds([1])
}

fn broken(world: &World) -> Broken {
    match world.run() {
        Err(Failure::Broken(broken)) => *broken,
        other => panic!("{other:?}"),
    }
}

fn kill(at_ms: u64) -> Fault {
    Fault { at_ms, for_ms: 500, kind: FaultKind::Down { host: Host::Dispatcher(1), how: Down::Kill } }
}

fn one_row(test: &str, faults: Faults) -> World {
    let table = Table::default();
    let (reset, rows) = (table.clone(), table.clone());
    let twice = move |case: &Case, entries: &[Entry]| -> Vec<_> {
        let end = entries.last().map_or(Duration::ZERO, |entry| entry.at);
        let rows = rows.lock().expect("nobody panics with it");
        let more = case.tasks.iter().filter(|task| rows.get(&task.no.to_string()).is_some_and(|rows| *rows > 1));
        more.map(|task| Finding::of(task.no, end, "it has two rows")).collect()
    };
    small(test)
        .faults(faults)
        .mediator(move |_| OneRow { table: table.clone(), written: Mutex::default() })
        .for_each_run(move || reset.lock().expect("nobody panics with it").clear())
        // Only the promise of one's own matters here.
        .without(Oracle::Priority)
        .oracle("one row a task", twice)
        .build()
}

#[test]
fn what_a_mediator_keeps_only_in_memory_is_found_made_small_and_told() {
    assert!(one_row("quiet", Faults::none()).run().is_ok(), "without a fault there is nothing to find");
    let faults = [kill(1_100), kill(9_000), Fault { at_ms: 5_000, for_ms: 1_000, kind: FaultKind::Alarm }];
    let world = one_row("rows", Faults::these(faults));
    let broken = broken(&world);
    assert_eq!((broken.case.tasks.len(), broken.case.faults.len()), (1, 1), "{broken}");
    assert_eq!(broken.was, (20, 3));
    let kept = broken.kept.clone().expect("it was written");
    assert_eq!(Case::from_json(&std::fs::read_to_string(&kept).unwrap()).unwrap(), broken.case);
    assert!(std::fs::read_to_string(broken.page.clone().unwrap()).unwrap().contains("one row a task"));
    let text = broken.to_string();
    let task = broken.case.tasks[0].no;
    for said in [
        format!("seed 1 breaks one row a task of {task}"),
        "dispatcher-1 is killed".to_owned(),
        format!("attempt {task} n=1"),
        format!("again: QUEBERT_SIM_CASE={} cargo test -p quebert-sim", kept.display()),
        "what_a_mediator_keeps_only_in_memory_is_found_made_small_and_told -- --exact".to_owned(),
    ] {
        assert!(text.contains(&said), "{said:?} is missing in:\n{text}");
    }
    assert!(text.lines().count() <= 20, "{text}");
    std::fs::remove_dir_all(folder("rows")).unwrap();
}

/// Tries again at once, whatever the policy says.
struct Hasty;

impl Mediator for Hasty {
    fn verdict(&self, _attempt: &Attempt, _outcome: &Outcome, proposed: Verdict) -> Verdict {
        match proposed {
            Verdict::Retry(retry) => Verdict::Retry(quebert_dispatcher::verdict::Retry {
                after: RetryAfter::Exactly(Duration::ZERO),
                ..retry
            }),
            other => other,
        }
    }
}

/// Attempts of one task that follow each other within less than the policy's shortest backoff.
fn too_soon(_case: &Case, entries: &[Entry]) -> Vec<Finding> {
    let mut last: BTreeMap<TaskNo, Duration> = BTreeMap::new();
    let mut found = Vec::new();
    for entry in entries {
        let What::Request { task, .. } = entry.what else { continue };
        if last.insert(task, entry.at).is_some_and(|before| entry.at - before < Duration::from_millis(500)) {
            found.push(Finding::of(task, entry.at, "it was sent again within half a second"));
        }
    }
    found
}

#[test]
fn a_hasty_policy_is_found() {
    let world = |builder: WorldBuilder| builder.faults(Faults::none()).oracle("no haste", too_soon).build();
    assert!(world(small("patient")).run().is_ok());
    let broken = broken(&world(small("hasty").mediator(|_| Hasty)));
    assert_eq!((broken.case.tasks.len(), broken.case.faults.len()), (1, 0), "{broken}");
    std::fs::remove_dir_all(folder("hasty")).unwrap();
}

/// Puts each task off by a time that grows from run to run.
struct Counting(Arc<AtomicU64>);

impl Mediator for Counting {
    async fn before(&self, attempt: &mut Attempt) -> Before {
        let ms = self.0.fetch_add(1, Relaxed);
        attempt.task.headers.append("n", ms.into());
        if attempt.number == 1 && ms.is_multiple_of(3) {
            Before::PutOff(Duration::from_millis(ms))
        } else {
            Before::Send
        }
    }
}

#[test]
fn what_one_run_leaves_for_the_next_is_found() {
    let counter = Arc::new(AtomicU64::new(0));
    let world = small("counting").faults(Faults::none()).mediator(move |_| Counting(counter.clone())).build();
    match world.run() {
        Err(Failure::Differs(differs)) => {
            let text = differs.to_string();
            assert!(text.starts_with("seed 1: two runs of the same case differ"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn executors_and_envelopes_can_be_a_users_own() {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let (sees, reset) = (seen.clone(), seen.clone());
    let done = |_: &Case, entries: &[Entry]| -> Vec<_> {
        let bad = entries.iter().filter(|entry| matches!(entry.what, What::Reply { status: Some(418), .. }));
        bad.map(|entry| Finding::at(entry.at, "a request did not say for which shop")).collect()
    };
    let world = small("executors")
        .faults(Faults::none())
        .envelope(|task, envelope| {
            drop(envelope.headers.insert("shop".to_owned(), format!("shop-{}", task.no).as_str().into()));
        })
        .execute(move |asked| {
            let shop = asked.headers.get("shop").and_then(|shop| shop.to_str().ok());
            let right = shop == Some(format!("shop-{}", asked.task).as_str());
            sees.lock().expect("nobody panics with it").insert(asked.task);
            Exec { after_ms: 5, reply: Reply::Status(if right { 200 } else { 418 }) }
        })
        .for_each_run(move || reset.lock().expect("nobody panics with it").clear())
        .oracle("each shop", done)
        .build();
    world.run().expect("every request says so");
    assert_eq!(seen.lock().unwrap().len(), 20);
}

#[test]
fn the_template_of_the_docs_is_the_one_that_runs() {
    let docs = include_str!("../../docs/simulation.md");
    let template = include_str!("template.rs");
    let (_, code) = template.split_once("\n\n").expect("it has a header");
    assert!(docs.contains(code.trim()), "docs/simulation.md has another one");
}
