//! The program as users meet it: a process with flags, signals, exit codes and addresses.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod demo;
mod embedded;
mod observability;
mod process;

use process::{Dispatcher, LONG, NOWHERE, done};
use quebert::sample::SampleExecutor;
use quebert_broker_adapter::testing::PrivateRabbit;
use serde_json::Value;
use std::time::Duration;
use tokio::{net::TcpListener, time::timeout};

#[tokio::test]
async fn a_broker_that_is_not_there_is_tried_on_and_told_of() {
    let mut program = Dispatcher::start(&["--broker", NOWHERE]).await;
    let line = program.line("not connected to the broker").await;
    assert_eq!(line["level"], "WARN");
    assert_eq!(program.get("/healthz").await.0, 200);
    let (status, text) = program.get("/readyz").await;
    assert!(status == 503 && text.contains("not connected to the broker"), "{text}");
    assert!(program.get("/metrics").await.1.contains("\nquebert_broker_connected 0\n"));
    program.signal("TERM").await;
    program.line("ended").await;
    assert_eq!(program.exit_code().await, Some(0));
    assert!(!program.seen.contains("hunter2"), "the password stands in the logs:\n{}", program.seen);
}

#[tokio::test]
async fn hangup_takes_over_what_it_can_and_names_the_rest() {
    let path = std::env::temp_dir().join(format!("quebert-reload-{}.toml", std::process::id()));
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("[pool]\nslots = 5\n[topology]\nprefix = \"a\"");
    let mut program = Dispatcher::start(&["--broker", NOWHERE, "--config", path.to_str().unwrap()]).await;
    program.line("started").await;
    write("[pool]\nslots = 6\n[topology]\nprefix = \"b\"\n[log]\nlevel = \"debug\"\n[lane_defaults]\nslots_max = 3\n");
    program.signal("HUP").await;
    let line = program.line("config reloaded").await;
    assert!(line["taken_over"].as_str().unwrap().contains("pool.slots"), "{line}");
    let keys = program.line("these take effect after a restart only").await["keys"].clone();
    assert!(keys.as_str().unwrap().contains("topology.prefix"), "{keys}");
    program.signal("HUP").await;
    assert_eq!(program.line("config reloaded").await["taken_over"], "", "nothing changed since");
    assert_eq!(program.line("these take effect after a restart only").await["keys"], keys, "it still waits for one");
    write("[pool]\nslots = \"many\"");
    program.signal("HUP").await;
    program.line("config not reloaded; everything stays as it is").await;
    let (_, metrics) = program.get("/metrics").await;
    for series in ["quebert_config_reloads_total{result=\"ok\"} 2", "quebert_config_reloads_total{result=\"error\"} 1"]
    {
        assert!(metrics.contains(series), "{series}");
    }
    program.signal("INT").await;
    assert_eq!(program.exit_code().await, Some(0));
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn exit_codes_tell_what_kind_of_failure_it_was() {
    assert_eq!(done(&["frobnicate"], "").await.code, Some(2));
    let wrong = done(&["check", "--set", "pool.slots=many", "--set", "no.such=key"], "").await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("pool.slots") && wrong.err.contains("no"), "all faults at once: {}", wrong.err);
    assert_eq!(done(&["check", "--offline"], "").await.code, Some(0));
    let unreachable = done(&["enqueue", "--broker", NOWHERE, "http://localhost/"], "").await;
    assert_eq!(unreachable.code, Some(3), "{}", unreachable.err);
    assert!(!unreachable.err.contains("hunter2"), "{}", unreachable.err);
    let lines = "{\"url\": \"http://localhost/\"}\n\n{\"url\": 5}\n";
    let partly = done(&["enqueue", "--dry-run"], lines).await;
    assert_eq!(partly.code, Some(1));
    assert!(partly.err.contains("line 3:") && partly.err.contains("url"), "{}", partly.err);
    assert!(partly.out.contains("1 would be enqueued, 1 refused"), "{}", partly.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_go_from_the_command_line_through_rabbitmq_to_an_executor_and_back_from_the_dead() {
    let node = PrivateRabbit::start().await.unwrap();
    let executor = SampleExecutor::start().await.unwrap();
    let url = node.url();
    let common = ["--broker", &url, "--set", "topology.queue_type=classic", "--set", "http.guard.enabled=false"];
    let with = |args: &[&'static str]| -> Vec<String> { args.iter().chain(&common).map(|s| (*s).to_owned()).collect() };
    let quebert = async |args: &[&'static str], input: &str| {
        let args = with(args);
        done(&args.iter().map(String::as_str).collect::<Vec<_>>(), input).await
    };

    let missing = quebert(&["check"], "").await;
    assert_eq!(missing.code, Some(1), "nothing is declared yet: {}{}", missing.out, missing.err);
    let applied = quebert(&["topology", "apply"], "").await;
    assert_eq!(applied.code, Some(0), "{}{}", applied.out, applied.err);
    assert!(applied.out.contains("quebert.high"), "{}", applied.out);

    let task = |id: &str, path: &str| {
        format!("{{\"id\": \"{id}\", \"url\": \"{}\", \"queue\": \"high\"}}\n", executor.url(path))
    };
    let lines = format!("{}{}not a task\n", task("good", "/ok"), task("bad", "/gone"));
    let enqueued = quebert(&["enqueue"], &lines).await;
    assert_eq!(enqueued.code, Some(1), "{}{}", enqueued.out, enqueued.err);
    assert!(enqueued.out.contains("2 enqueued, 1 refused, 0 failed"), "{}", enqueued.out);

    let args = with(&[]);
    let mut program = Dispatcher::start(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let settled = timeout(LONG, async {
        loop {
            let (_, metrics) = program.get("/metrics").await;
            let has = |series: &str| metrics.lines().any(|l| l == series);
            if has("quebert_settlements_total{queue=\"high\",result=\"succeeded\"} 1")
                && has("quebert_settlements_total{queue=\"high\",result=\"dead_lettered\"} 1")
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    settled.await.expect("both tasks are settled");
    assert_eq!(program.get("/readyz").await.0, 200);
    program.signal("TERM").await;
    assert_eq!(program.line("ended").await["held"], 0);
    assert_eq!(program.exit_code().await, Some(0));

    let listed = quebert(&["dead", "list", "--json"], "").await;
    let letter: Value = serde_json::from_str(listed.out.trim()).unwrap_or_else(|e| panic!("{e}: {}", listed.out));
    assert_eq!((&letter["id"], &letter["reason"]), (&"bad".into(), &"permanent".into()));
    let shown = quebert(&["dead", "show", "bad"], "").await;
    assert!(shown.out.contains("\nattempts    1\n"), "{}{}", shown.out, shown.err);
    let looked = quebert(&["dead", "replay", "--dry-run"], "").await;
    assert!(looked.out.contains("1 would be replayed"), "{}{}", looked.out, looked.err);
    let none = quebert(&["dead", "replay", "--reason", "undecodable"], "").await;
    assert!(none.out.contains("0 replayed"), "{}{}", none.out, none.err);
    let replayed = quebert(&["dead", "replay", "--id", "bad", "--rate", "100"], "").await;
    assert!(replayed.code == Some(0) && replayed.out.contains("1 replayed"), "{}{}", replayed.out, replayed.err);
    assert!(quebert(&["dead", "list"], "").await.out.contains("0 dead letters"));
    assert!(quebert(&["dead", "purge", "--yes"], "").await.out.contains("0 deleted"));

    // An executor that takes requests and never answers: the first signal waits for it, the second does not.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = silent.local_addr().unwrap();
    let line = format!("{{\"url\": \"http://{address}/\", \"queue\": \"low\"}}");
    assert_eq!(quebert(&["enqueue"], &line).await.code, Some(0));
    let mut program = Dispatcher::start(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let _request = timeout(LONG, silent.accept()).await.expect("the request comes").unwrap();
    program.signal("TERM").await;
    program.line("draining: nothing new starts").await;
    assert_eq!(program.get("/readyz").await.0, 503);
    program.signal("TERM").await;
    assert_eq!(program.exit_code().await, Some(143));
}
