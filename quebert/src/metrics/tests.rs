//! What is exported, and that the list, the document and the numbers agree.

use super::*;
use crate::config::{Config, Sources};
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

fn lanes() -> Vec<LaneConfig> {
    Config::load(&Sources::default()).unwrap().core.lanes
}

fn metrics() -> Metrics {
    let lanes = lanes();
    let health = Arc::new(Health::new(lanes.iter().map(|l| l.name.clone())));
    Metrics::new(&lanes, 2, health)
}

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.encode()).unwrap()
}

fn settle(lane: &str, result: Settlement) -> Event {
    Event::Settled { lane: lane.into(), result, task: None, attempts: 1, age: Some(Duration::from_secs(1)) }
}

#[test]
fn everything_exported_stands_in_the_list() {
    let text = text(&metrics());
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
        "quebert_dispatch_attempts_total{destination=\"_other\",outcome=\"5xx\",queue=\"low\"} 0",
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
        metrics.observe(&Event::Delivered { lane: lane.clone(), redelivered });
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

#[tokio::test]
async fn the_process_and_the_runtime_are_told_of() {
    let text = text(&metrics());
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 100_000.0);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_start_time_seconds") > 1.6e9);
    assert!(value("quebert_runtime_workers") >= 1.0);
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
fn the_document_is_made_from_the_list() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).unwrap();
        std::fs::write(path, list::markdown()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, list::markdown(), "docs/metrics.md is not made from the list; run with UPDATE_DOCS=1");
}
