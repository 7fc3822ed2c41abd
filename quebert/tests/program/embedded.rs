//! `quebert run` with nothing but itself: the embedded broker over kills, a second process, damage, and the one line
//! that leads to RabbitMQ.

use crate::process::{Dispatcher, Folder, LONG, ask, quebert};
use quebert_broker_adapter::testing::{
    PrivateRabbit,
    executor::{Executor, Reply},
};
use std::{
    collections::BTreeSet,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

/// Executors are on this machine.
const UNGUARDED: [&str; 2] = ["--set", "http.guard.enabled=false"];

fn task(id: u32, executor: &Executor) -> String {
    format!("{{\"id\": \"task-{id}\", \"url\": \"{}\"}}", executor.url("/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_config_tasks_outlive_a_kill_and_are_delivered_after_it() {
    let folder = Folder::new("run-embedded");
    let well = Arc::new(AtomicBool::new(false));
    let script = well.clone();
    let executor =
        Executor::start(move |_| if script.load(Ordering::Relaxed) { Reply::status(200) } else { Reply::Hang }).await;
    let mut program = Dispatcher::start_in(&folder.0, &UNGUARDED).await;
    program.ready().await;
    for id in 0..30 {
        program.enqueue(&task(id, &executor)).await;
    }
    // Some are under way, the rest waits.
    executor.wait_for(1, LONG).await;
    let told = timeout(LONG, async {
        while !program.get("/metrics").await.1.contains("\nquebert_store_file_bytes ") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    told.await.expect("the metrics tell of the file");
    program.child.kill().await.unwrap();
    drop(program);

    well.store(true, Ordering::Relaxed);
    let before = executor.requests().len();
    let mut program = Dispatcher::start_in(&folder.0, &UNGUARDED).await;
    let done = timeout(LONG, async {
        loop {
            let seen: BTreeSet<_> =
                executor.requests()[before..].iter().map(|request| request.header("webhook-id").to_owned()).collect();
            if seen.len() == 30 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    done.await.expect("every task is delivered");
    program.signal("TERM").await;
    program.line("ended").await;
    assert_eq!(program.exit_code().await, Some(0));

    let mut program = Dispatcher::start_in(&folder.0, &UNGUARDED).await;
    let opened =
        program.seen.lines().find(|line| line.contains("store opened")).unwrap_or_else(|| panic!("{}", program.seen));
    assert!(opened.contains("\"messages\":0"), "nothing is left: {opened}");
    program.signal("INT").await;
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused_and_told_what_to_do() {
    let folder = Folder::new("run-second");
    let program = Dispatcher::start_in(&folder.0, &[]).await;
    program.ready().await;
    let second = async |args: &[&str]| {
        let output = quebert(args).current_dir(&folder.0).stdin(Stdio::null()).output();
        let output = timeout(LONG, output).await.expect("it ends").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, words) = second(&["run", "--admin", "127.0.0.1:0", "--api", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("quebert-data/quebert.redb is in use") && words.contains("broker.url"), "{words}");
    let (code, words, _) = second(&["check"]).await;
    assert!(code == Some(0) && words.contains("in use by a running process"), "{words}");
    assert_eq!(program.get("/readyz").await.0, 200, "the first one goes on");
}

#[tokio::test]
async fn a_damaged_file_is_named_and_left_as_it_is() {
    let folder = Folder::new("run-damaged");
    let mut program = Dispatcher::start_in(&folder.0, &[]).await;
    program.ready().await;
    program.signal("TERM").await;
    assert_eq!(program.exit_code().await, Some(0));
    let file = folder.0.join("quebert-data/quebert.redb");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let output = quebert(&["run"]).current_dir(&folder.0).stdin(Stdio::null()).output();
    let output = timeout(LONG, output).await.expect("it ends").unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{words}");
    assert!(words.contains("quebert.redb is damaged") && words.contains("restore it"), "{words}");
    assert_eq!(std::fs::read(&file).unwrap(), whole[..whole.len() / 2]);
}

#[tokio::test]
async fn new_tasks_are_refused_while_it_drains_and_the_api_answers_to_the_end() {
    let folder = Folder::new("run-drain");
    let executor = Executor::start(|_| Reply::Hang).await;
    let mut program = Dispatcher::start_in(&folder.0, &UNGUARDED).await;
    program.ready().await;
    program.enqueue(&task(1, &executor)).await;
    executor.wait_for(1, LONG).await;
    program.signal("TERM").await;
    program.line("draining: nothing new starts").await;
    let (status, text) = ask(&program.api, "POST", "/v1/tasks", &task(2, &executor)).await;
    assert!(status == 503 && text.to_lowercase().contains("\r\nretry-after:"), "{text}");
    assert_eq!(ask(&program.api, "GET", "/v1/status", "").await.0, 200);
    program.signal("TERM").await;
    assert_eq!(program.exit_code().await, Some(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_of_the_config_leads_to_rabbitmq() {
    let folder = Folder::new("run-one-line");
    let node = PrivateRabbit::start().await.unwrap();
    let executor = Executor::start(|_| Reply::status(200)).await;
    let rest = "[http.guard]\nenabled = false\n[topology]\nqueue_type = \"classic\"\n";
    for (n, (url, engine)) in [("embedded:data", "embedded"), (&*node.url(), "rabbitmq")].into_iter().enumerate() {
        std::fs::write(folder.0.join("quebert.toml"), format!("[broker]\nurl = \"{url}\"\n{rest}")).unwrap();
        let mut program = Dispatcher::start_in(&folder.0, &[]).await;
        assert_eq!(program.line("started").await["engine"], engine);
        program.ready().await;
        program.enqueue(&task(n as u32, &executor)).await;
        let request = executor.wait_for(n + 1, LONG).await.pop().unwrap();
        assert_eq!(request.header("webhook-id"), format!("task-{n}"));
        program.signal("TERM").await;
        assert_eq!(program.exit_code().await, Some(0));
    }
}

#[tokio::test]
async fn a_pause_outlives_a_restart() {
    let folder = Folder::new("run-paused");
    let executor = Executor::start(|_| Reply::status(200)).await;
    let mut program = Dispatcher::start_in(&folder.0, &UNGUARDED).await;
    program.ready().await;
    assert_eq!(ask(&program.api, "POST", "/v1/queues/low/pause", "").await.0, 200);
    program.signal("TERM").await;
    assert_eq!(program.exit_code().await, Some(0));

    let mut program = Dispatcher::start_in(&folder.0, &UNGUARDED).await;
    program.ready().await;
    for (id, lane) in [("waits", "low"), ("goes", "high")] {
        let url = executor.url("/");
        program.enqueue(&format!("{{\"id\": \"{id}\", \"url\": \"{url}\", \"queue\": \"{lane}\"}}")).await;
    }
    assert_eq!(executor.wait_for(1, LONG).await[0].header("webhook-id"), "goes");
    let (_, low) = ask(&program.api, "GET", "/v1/queues/low", "").await;
    assert!(low.contains("\"paused\":true") && low.contains("\"ready\":1"), "{low}");
    assert_eq!(ask(&program.api, "POST", "/v1/queues/low/resume", "").await.0, 200);
    assert_eq!(executor.wait_for(2, LONG).await[1].header("webhook-id"), "waits");
    program.signal("TERM").await;
    assert_eq!(program.exit_code().await, Some(0));
}
