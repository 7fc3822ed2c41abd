//! Other people's code on the other side: Standard Webhooks' own library, and the AMQP clients that producers use.

use crate::{
    recorder::now,
    site::{LONG, Site},
};
use quebert::{
    Envelope, Settlement, Timestamp,
    wire::{Binary, Form, Json, JsonCodec},
};
use quebert_broker_adapter::testing::executor::{Executor, Recorded, Reply};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_bmV3IHNlY3JldCwgb2YgMzIgYnl0ZXMgaW4gYWxsISE=";
const OTHER: &str = "whsec_bm9ib2R5IHVzZXMgdGhpcyBzZWNyZXQgaGVyZSwgb2s=";

/// A file of the peers that `scripts/setup` installs.
fn installed(file: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers").join(file);
    assert!(path.exists(), "{} is missing: run scripts/setup first", path.display());
    path
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// Runs a peer to its end and returns what it printed.
async fn run(mut command: Command, input: String) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = timeout(LONG, child.wait_with_output()).await.expect("the peer ends").unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn case(secret: &str, request: &Recorded, body: &[u8]) -> String {
    let headers: serde_json::Map<_, _> =
        request.headers.iter().map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap()))).collect();
    let body = serde_json::to_value(Binary(body.to_vec().into())).unwrap();
    json!({ "secret": secret, "headers": headers, "body": body }).to_string() + "\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_webhooks_own_library_verifies_our_signature_with_the_new_and_the_old_key() {
    let python = installed("venv/bin/python");
    let site = Site::new("peers-sign", &format!("lanes.work.slots_max = 2\nsigning.keys = [{NEW:?}, {OLD:?}]")).await;
    let executor =
        Executor::start(|request| Reply::status(if request.header("quebert-attempt") == "1" { 500 } else { 200 }))
            .await;
    let dispatching = site.run().await;
    let body = Some(Json::new("{ \"text\": \"\u{e9}\\u00e9\" }").unwrap());
    for id in ["plain", "with.dots", "percent%2E"] {
        let envelope = Envelope { id: Some(id.into()), body: body.clone(), ..Envelope::new(executor.url("/")) };
        site.publish("work", envelope.to_message(Form::Envelope(&JsonCodec)).unwrap()).await;
    }
    dispatching.until_over(3).await;
    let requests = executor.requests();
    assert_eq!(requests.len(), 6);
    let mut cases = String::new();
    let mut expected = Vec::new();
    for request in &requests {
        let tampered = [&request.body[..], b" "].concat();
        for (secret, body, valid) in [
            (NEW, &request.body[..], true),
            (OLD, &request.body[..], true),
            (OTHER, &request.body[..], false),
            (NEW, &tampered[..], false),
        ] {
            cases.push_str(&case(secret, request, body));
            expected.push(valid);
        }
    }
    let mut command = Command::new(python);
    command.arg(script("verify.py"));
    let answers = run(command, cases).await;
    assert_eq!(answers.lines().map(|line| line == "valid").collect::<Vec<_>>(), expected, "{answers}");
    dispatching.end(&site).await;
}

/// Lets a client publish its tasks, and checks what the executor gets.
async fn delivers(client: &str, mut command: Command) {
    let site = Site::new(&format!("peers-{client}"), "lanes.work.slots_max = 2").await;
    let executor = Executor::start(|_| Reply::status(200)).await;
    let dispatching = site.run().await;
    let base = executor.url("");
    command.args([&crate::site::node().await.url(), &site.queue("work"), &base]);
    run(command, String::new()).await;
    dispatching.until_over(3).await;
    assert_eq!(dispatching.seen().settled_as(Settlement::Succeeded), 3, "{:?}", dispatching.seen().buried);

    let requests = executor.requests();
    let find = |target: &str| -> Arc<Recorded> { requests.iter().find(|r| r.target == target).unwrap().clone() };
    let minimal = find("/minimal");
    assert_eq!((minimal.method.as_str(), minimal.body.len()), ("POST", 0));
    assert_eq!(minimal.header("webhook-id").len(), 36, "a UUID");

    let envelope = find("/envelope");
    let value: serde_json::Value = serde_json::from_slice(&envelope.body).unwrap();
    assert_eq!(value, json!({ "n": 1 }));
    let is = |request: &Recorded, name: &str, value: &str| assert_eq!(request.header(name), value, "{name}");
    is(&envelope, "webhook-id", &format!("{client}-envelope"));
    is(&envelope, "content-type", "application/json");
    is(&envelope, "x-peer", client);
    assert!(envelope.header("traceparent").starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    assert!(!envelope.headers.contains_key("theirs"), "message headers are not HTTP headers");
    assert!(!envelope.header("quebert-enqueued-at").is_empty(), "the message's timestamp");

    let raw = find("/raw");
    assert_eq!(raw.method, "PATCH");
    assert_eq!(raw.body, (0..=255).collect::<Vec<u8>>());
    is(&raw, "webhook-id", &format!("{client}-raw"));
    is(&raw, "content-type", "application/octet-stream");
    is(&raw, "quebert-max-attempts", "3");
    // Whole seconds: an AMQP timestamp.
    let created: Timestamp = raw.header("quebert-enqueued-at").parse().unwrap();
    assert!(now().since(created) < LONG && created.as_millis() % 1000 == 0, "{created}");
    let expires: Timestamp = raw.header("quebert-expires-at").parse().unwrap();
    assert_eq!(expires.as_millis() - created.as_millis(), 3_000_000_000);
    is(&raw, "x-peer", client);
    is(&raw, "x-bytes", "bytes");
    is(&raw, "x-number", "17");
    let list: Vec<_> = raw.headers.get_all("x-list").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(list, ["a", "b"]);
    assert!(!raw.headers.contains_key("theirs"));
    dispatching.end(&site).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_pythons_pika_are_delivered() {
    let mut command = Command::new(installed("venv/bin/python"));
    command.arg(script("publish.py"));
    delivers("pika", command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_nodes_amqplib_are_delivered() {
    let modules = installed("node_modules/amqplib/package.json").ancestors().nth(2).unwrap().to_owned();
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).arg(script("publish.js"));
    delivers("amqplib", command).await;
}
