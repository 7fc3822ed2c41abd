//! What is exported, and that list and numbers agree.

use super::*;
use crate::list::METRICS;
use prometheus::proto::MetricType;
use quebert_dispatcher::{
    backoff::RetryPolicy,
    config::LaneConfig,
    event::{Event, Settlement},
    ports::{
        broker::{Opening, Tag},
        observer::Observer,
    },
    trace::TraceParent,
    verdict::StatusRules,
};
use quebert_wire::{TaskId, Timestamp};
use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

fn lane(name: &str) -> LaneConfig {
    LaneConfig {
        name: name.into(),
        queue: name.into(),
        priority: 1,
        weight: 1,
        slots_own: 0,
        slots_max: 64,
        window: 128,
        attempt_timeout: Duration::from_secs(30),
        attempt_timeout_max: Duration::from_secs(60),
        ttl_default: None,
        retry: RetryPolicy::default(),
        status: StatusRules::default(),
    }
}

fn metrics() -> Metrics {
    let lanes = ["high", "medium", "low"].map(lane);
    let health = Arc::new(Health::new(lanes.iter().map(|l| l.name.clone())));
    Metrics::new(&lanes, 2, health, Timestamp::from_millis(1_767_225_600_500))
}

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.encode()).unwrap()
}

fn settle(lane: &str, result: Settlement) -> Event {
    Event::Settled {
        lane: lane.into(),
        result,
        task: TaskId::new("t").ok(),
        attempts: 1,
        age: Some(Duration::from_secs(1)),
        trace: None,
    }
}

#[test]
fn everything_exported_stands_in_the_list() {
    let metrics = metrics();
    metrics.process(&ProcessReading::default());
    metrics.runtime(&RuntimeReading { alive_tasks: 1, busy: vec![Duration::ZERO] });
    let text = text(&metrics);
    for line in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let spec = METRICS.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("{name} is not in the list"));
        assert_eq!(spec.kind.name(), kind, "{name}");
    }
}

#[test]
fn label_sets_that_are_known_start_at_zero() {
    let text = text(&metrics());
    for series in [
        "quebert_deliveries_total{queue=\"low\",redelivered=\"true\"} 0",
        "quebert_settlements_total{queue=\"high\",result=\"requeued\"} 0",
        "quebert_retries_scheduled_total{queue=\"high\",reason=\"overload\"} 0",
        "quebert_dead_lettered_total{queue=\"medium\",reason=\"undecodable\"} 0",
        "quebert_tasks_expired_total{queue=\"medium\",stage=\"in_flight\"} 0",
        "quebert_publish_confirms_total{purpose=\"due\",result=\"returned\"} 0",
        "quebert_broker_reconnects_total{reason=\"heartbeat\"} 0",
        "quebert_metrics_label_overflow_total{label=\"destination\"} 0",
        "quebert_config_reloads_total{result=\"error\"} 0",
        "quebert_task_wait_seconds_count{queue=\"high\"} 0",
        "quebert_task_duration_seconds_count{queue=\"high\",result=\"succeeded\"} 0",
        "quebert_queue_concurrency_limit{queue=\"high\"} 64",
        "quebert_broker_connected 0",
        "quebert_ready 0",
    ] {
        assert!(text.lines().any(|l| l == series), "{series} is missing in:\n{text}");
    }
}

#[test]
fn what_is_held_is_delivered_less_settled() {
    let metrics = metrics();
    let lane: Arc<str> = "high".into();
    for redelivered in [false, true, false] {
        metrics.observe(&Event::Delivered {
            lane: lane.clone(),
            tag: Tag { opening: Opening(1), seq: 1 },
            redelivered,
        });
    }
    metrics.observe(&settle("high", Settlement::Succeeded));
    assert_eq!(metrics.imbalance()["high"], 2, "two are held, but nobody said so yet");
    metrics.observe(&Event::Held { lane, in_flight: 1, buffered: 1 });
    assert!(metrics.imbalance().values().all(|n| *n == 0));
}

#[test]
fn an_interrupted_life_is_no_end() {
    let metrics = metrics();
    for result in Settlement::ALL {
        metrics.observe(&settle("high", result));
    }
    let text = text(&metrics);
    assert!(text.contains("quebert_task_attempts_count{queue=\"high\",result=\"expired\"} 1"));
    assert!(!text.contains("quebert_task_attempts_count{queue=\"high\",result=\"retried\"}"));
}

#[test]
fn promtool_finds_nothing_to_say() {
    let metrics = metrics();
    metrics.hooks(&["mediator"]);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs promtool: install Prometheus (Debian: apt-get install prometheus)");
    promtool.stdin.take().unwrap().write_all(&metrics.encode()).unwrap();
    let out = promtool.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn without_a_process_none_is_told_of() {
    let metrics = metrics();
    let families =
        |metrics: &Metrics| -> Vec<String> { metrics.gather().iter().map(|f| f.name().to_owned()).collect() };
    let own = |name: &String| name.starts_with("process_") || name.starts_with("quebert_runtime_workers");
    assert!(!families(&metrics).iter().any(own));
    for cpu_seconds in [2.0, 1.0] {
        metrics.process(&ProcessReading { cpu_seconds, ..ProcessReading::default() });
    }
    metrics.runtime(&RuntimeReading { alive_tasks: 3, busy: vec![Duration::from_secs(1); 2] });
    assert!(families(&metrics).iter().any(own));
    let text = text(&metrics);
    for series in [
        "process_cpu_seconds_total 2",
        "quebert_runtime_workers 2",
        "quebert_runtime_worker_busy_seconds_total{worker=\"1\"} 1",
    ] {
        assert!(text.lines().any(|l| l == series), "{series} is missing in:\n{text}");
    }
}

#[test]
fn the_time_of_a_reload_is_the_one_that_is_given() {
    let metrics = metrics();
    let told = || {
        let family = metrics.gather().into_iter().find(|f| f.name().starts_with("quebert_config_last_reload")).unwrap();
        assert_eq!(family.get_field_type(), MetricType::GAUGE);
        family.get_metric()[0].get_gauge().get_value()
    };
    assert_eq!(told(), 1_767_225_600.5);
    metrics.reloaded(false, Timestamp::from_millis(1_767_225_700_000));
    assert_eq!(told(), 1_767_225_600.5, "a reload that failed changes nothing");
    metrics.reloaded(true, Timestamp::from_millis(1_767_225_700_000));
    assert_eq!(told(), 1_767_225_700.0);
}

#[test]
fn the_document_and_the_golden_file_are_made_from_the_list() {
    const RENEW: &str = "renew it with UPDATE_DOCS=1 cargo test -p quebert-metrics --lib";
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in [("metrics.golden", document::golden()), ("../../docs/metrics.md", document::markdown())] {
        let path = here.join(path);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "{} is not made from the list; {RENEW}", path.display());
    }
}

#[test]
fn thresholds_of_service_levels_become_buckets_once() {
    let lanes = [lane("high")];
    let health = Arc::new(Health::new(lanes.iter().map(|l| l.name.clone())));
    let slos = [Duration::from_secs(5), Duration::from_secs(120)];
    let text = text(&Metrics::with_slos(&lanes, 2, &slos, health, Timestamp::default()));
    let of =
        |le: &str| text.matches(&format!("quebert_task_wait_seconds_bucket{{queue=\"high\",le=\"{le}\"}} 0\n")).count();
    assert_eq!((of("5"), of("120"), of("10")), (1, 1, 1));
    assert!(!text.contains("quebert_task_attempts_bucket{queue=\"high\",result=\"succeeded\",le=\"120\"}"));
}

/// One task with a trace, one without, and one whose names need care.
fn tasks(metrics: &Metrics) {
    let trace = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap().trace;
    for (id, trace, seconds) in [("t-1", Some(trace), 2), ("quo\"ted", None, 7), ("no-trace", None, 2)] {
        metrics.observe(&Event::Settled {
            lane: "high".into(),
            result: Settlement::Succeeded,
            task: Some(TaskId::new(id).unwrap()),
            attempts: 1,
            age: Some(Duration::from_secs(seconds)),
            trace,
        });
    }
}

#[test]
fn the_classic_text_is_what_the_library_writes() {
    let metrics = metrics();
    tasks(&metrics);
    metrics.process(&ProcessReading { cpu_seconds: 0.25, ..ProcessReading::default() });
    let mut theirs = Vec::new();
    prometheus::Encoder::encode(&prometheus::TextEncoder::new(), &metrics.gather(), &mut theirs).unwrap();
    let ours = text(&metrics);
    for (ours, theirs) in ours.lines().zip(String::from_utf8(theirs).unwrap().lines()) {
        assert_eq!(ours, theirs);
    }
}

#[test]
fn openmetrics_has_exemplars_and_its_own_rules() {
    let metrics = metrics();
    tasks(&metrics);
    let text = metrics.text(Format::OpenMetrics);
    let name = "quebert_task_duration_seconds_bucket{queue=\"high\",result=\"succeeded\"";
    for line in [
        "# TYPE quebert_deliveries counter",
        "# TYPE quebert_runtime_timer_lag_seconds histogram",
        "# UNIT quebert_task_body_bytes bytes",
        "quebert_deliveries_total{queue=\"high\",redelivered=\"true\"} 0",
        &format!("{name},le=\"2.5\"}} 2 # {{trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\",task_id=\"t-1\"}} 2"),
        &format!("{name},le=\"10.0\"}} 3 # {{task_id=\"quo\\\"ted\"}} 7"),
        &format!("{name},le=\"+Inf\"}} 3"),
        &format!("{name},le=\"5.0\"}} 2"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n") && !text.contains("_created"));
    assert!(!self::text(&metrics).contains(" # {"), "the classic format has no exemplars");
}

#[test]
fn an_exemplar_takes_no_more_room_than_the_specification_grants() {
    let metrics = metrics();
    let id = "i".repeat(128);
    metrics.observe(&Event::Waited {
        lane: "high".into(),
        task: TaskId::new(&id).unwrap(),
        trace: TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").map(|p| p.trace),
        wait: Duration::ZERO,
        skewed: false,
        at: Timestamp::default(),
    });
    let text = metrics.text(Format::OpenMetrics);
    assert!(text.contains("le=\"0.005\"} 1 # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0\n"), "{text}");
}

#[test]
fn a_client_library_of_another_language_reads_it() {
    const READ: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read
families = {f.name: f for f in read(sys.stdin.read())}
samples = families['quebert_task_duration_seconds'].samples
print(len(families), *sorted({s.exemplar.labels['task_id'] for s in samples if s.exemplar}))
";
    let metrics = metrics();
    tasks(&metrics);
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/venv/bin/python");
    // This library takes an escaped quote for the end of an exemplar's value.
    let text = metrics.text(Format::OpenMetrics).replace("quo\\\"ted", "quoted");
    let said = piped(Command::new(python).args(["-c", READ]), &text);
    assert_eq!(said.trim(), format!("{} quoted t-1", metrics.gather().len()));
}

/// What a program says to this input, which it must take.
#[track_caller]
fn piped(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs what scripts/setup installs");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}
