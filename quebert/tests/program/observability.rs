//! What a running program shows of itself: to `quebert top`, and to a real Prometheus with its exemplars.

use crate::process::{Dispatcher, Folder, LONG, ask, ask_with, done};
use quebert::sample::SampleExecutor;
use serde_json::Value;
use std::{process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A program with nothing but itself, and an executor whose tasks are all done.
async fn busy(folder: &Folder, tasks: usize) -> (Dispatcher, SampleExecutor) {
    let executor = SampleExecutor::start().await.unwrap();
    let args = ["--set", "http.guard.enabled=false", "--set", "metrics.depth_interval=50ms"];
    let program = Dispatcher::start_in(&folder.0, &args).await;
    program.ready().await;
    for n in 0..tasks {
        let url = executor.url("/status/200");
        program.enqueue(&format!(r#"{{"id":"t{n}","url":"{url}","queue":"high"}}"#)).await;
    }
    let finished = format!("quebert_settlements_total{{queue=\"high\",result=\"succeeded\"}} {tasks}\n");
    let all = timeout(LONG, async {
        while !program.get("/metrics").await.1.contains(&finished) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    all.await.expect("every task is done");
    (program, executor)
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_the_queues_and_destinations_of_a_running_program() {
    let folder = Folder::new("top");
    let (program, executor) = busy(&folder, 5).await;
    let url = format!("http://{}", program.admin);
    let shown = done(&["top", &url, "--once", "--interval", "100ms"], "").await;
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    let host = executor.url("");
    for part in ["1 of 1 dispatchers ready", "\nhigh ", "\nlow ", "WAIT p50", host.trim_end_matches('/')] {
        assert!(shown.out.contains(part), "{part} in:\n{}", shown.out);
    }
    let away = done(&["top", &url, "http://127.0.0.1:9", "--once", "--interval", "100ms"], "").await;
    assert_eq!(away.code, Some(1), "{}", away.err);
    assert!(away.out.contains("no answer: ") && away.out.contains("1 of 2 dispatchers ready"), "{}", away.out);
    let nobody = done(&["top", "http://127.0.0.1:9", "--once"], "").await;
    assert_eq!(nobody.code, Some(3), "{}", nobody.err);
}

/// A real Prometheus that scrapes an address every 200 ms, on a port that it picks.
async fn prometheus(folder: &Folder, target: &str) -> (tokio::process::Child, String) {
    let config = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: quebert\n  static_configs: [{{targets: ['{target}']}}]\n"
    );
    std::fs::write(folder.0.join("prometheus.yml"), config).unwrap();
    // A port that is free now; Prometheus does not tell which one it got for port 0.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = Command::new("prometheus")
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--enable-feature=exemplar-storage"])
        .arg(format!("--web.listen-address={free}"))
        .current_dir(&folder.0)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("this test needs prometheus: see scripts/setup");
    (child, free.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_takes_the_metrics_with_their_exemplars() {
    let (folder, data) = (Folder::new("prometheus"), Folder::new("prometheus-data"));
    let (program, executor) = busy(&folder, 1).await;
    let (_prometheus, address) = prometheus(&data, &program.admin).await;
    let url = executor.url("/status/200");
    let traced = format!(r#"{{"id":"traced","url":"{url}","queue":"high"}}"#);
    let context = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n");
    assert_eq!(ask_with(&program.api, "POST", "/v1/tasks", &context, &traced).await.0, 201);
    let query = "/api/v1/query_exemplars?query=quebert_task_duration_seconds_bucket&start=0&end=9999999999";
    let found = timeout(LONG, async {
        loop {
            if let Some(answer) = query_of(&address, query).await
                && let Some(exemplar) = all(&answer).find(|labels| labels["task_id"] == "traced")
            {
                return exemplar.clone();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let exemplar = found.await.expect("an exemplar arrives");
    assert_eq!(exemplar["trace_id"], TRACE);
    let series = query_of(&address, "/api/v1/query?query=count(quebert_settlements_total)").await.unwrap();
    let series: f64 = series["data"]["result"][0]["value"][1].as_str().unwrap().parse().unwrap();
    assert_eq!(series, 21.0, "three queues, seven results");
}

/// The labels of all exemplars.
fn all(answer: &Value) -> impl Iterator<Item = &Value> {
    let series = answer["data"].as_array().into_iter().flatten();
    series.flat_map(|one| one["exemplars"].as_array().into_iter().flatten()).map(|exemplar| &exemplar["labels"])
}

/// `None` as long as it does not listen.
async fn query_of(address: &str, path: &str) -> Option<Value> {
    tokio::net::TcpStream::connect(address).await.ok()?;
    let (status, text) = ask(address, "GET", path, "").await;
    let body = text.split_once("\r\n\r\n")?.1;
    (status == 200).then(|| serde_json::from_str(body).ok())?
}
