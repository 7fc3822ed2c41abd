//! An executor that fails some times and then succeeds: what it gets, and when.

use crate::{
    recorder::now,
    site::{LONG, Site},
};
use quebert::{
    Envelope, Json, Message, Settlement, Timestamp,
    wire::{Binary, Form, HeaderValue, JsonCodec},
};
use quebert_broker_adapter::testing::executor::{Executor, Recorded, Reply};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Beyond its upper bound an attempt may be that late on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// One lane, with delays of 0.5, 1, 2, 2, ... s, of which half is jitter: in memory, and in the grid.
const POLICY: &str = "
    lanes.work.slots_max = 4
    retry.backoff_min = \"400ms\"
    retry.backoff_max = \"2s\"
    retry.curve = \"schedule\"
    retry.schedule = [\"500ms\", \"1s\", \"2s\"]
    retry.max_attempts = 9";

/// What the executor answers, one after the other, and what the next attempt is told of it.
const ANSWERS: [(u16, &str); 5] = [(500, "5xx"), (503, "5xx"), (429, "429"), (404, "4xx"), (200, "")];

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn failing_executor() -> Executor {
    Executor::start(|request| {
        let attempt: usize = request.header("quebert-attempt").parse().unwrap();
        Reply::status(ANSWERS[attempt - 1].0)
    })
    .await
}

fn every_byte() -> Vec<u8> {
    (0..=255).chain([0, 13, 10, 13, 10]).collect()
}

fn traced(mut message: Message) -> Message {
    let text = |text: &str| HeaderValue::Text(text.to_owned());
    message.headers.insert("traceparent".into(), text(&format!("00-{TRACE}-00f067aa0ba902b7-01")));
    message.headers.insert("tracestate".into(), text("vendor=1"));
    message
}

/// Sends one task through all its attempts, checks what is the same for both forms, and returns the requests.
async fn all_attempts(name: &str, make: impl FnOnce(Envelope) -> Message) -> Vec<Arc<Recorded>> {
    let site = Site::new(name, POLICY).await;
    let executor = failing_executor().await;
    let dispatching = site.run().await;
    let created = now();
    let envelope = Envelope {
        id: Some("order/17.a".into()),
        method: Some("PUT".into()),
        headers: [
            ("X-Mine", "as it is; q=\"1\""),
            ("webhook-id", "forged"),
            ("quebert-attempt", "77"),
            ("Connection", "close"),
            ("Transfer-Encoding", "chunked"),
        ]
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into(),
        created_at: Some(created),
        ttl_ms: Some(600_000),
        ..Envelope::new(executor.url("/a%20b?x=%2F&y"))
    };
    site.publish("work", traced(make(envelope))).await;
    dispatching.until_over(1).await;
    let requests = executor.requests();
    let summary = dispatching.end(&site).await;
    assert_eq!(summary.settlements[&Settlement::Succeeded], 1);

    assert_eq!(requests.len(), ANSWERS.len());
    let expires = Timestamp::from_millis(created.as_millis() + 600_000);
    let mut ids = BTreeSet::new();
    let mut spans = BTreeSet::new();
    for (n, request) in requests.iter().enumerate() {
        let is = |name: &str, value: &str| assert_eq!(request.header(name), value, "{name} of attempt {}", n + 1);
        assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/a%20b?x=%2F&y"));
        is("quebert-attempt", &(n + 1).to_string());
        is("quebert-max-attempts", "9");
        is("quebert-queue", "work");
        is("webhook-id", "order/17%2Ea");
        is("idempotency-key", "\"order/17.a\"");
        is("quebert-enqueued-at", &created.to_string());
        is("quebert-expires-at", &expires.to_string());
        is("quebert-redelivered", "");
        is("webhook-signature", "");
        is("x-mine", "as it is; q=\"1\"");
        is("tracestate", "vendor=1");
        is("user-agent", concat!("Quebert/", env!("CARGO_PKG_VERSION")));
        is("host", &executor.address().to_string());
        is("content-length", &request.body.len().to_string());
        is("connection", "");
        is("transfer-encoding", "");
        ids.insert(request.header("quebert-delivery-id").to_owned());
        let trace: Vec<_> = request.header("traceparent").split('-').map(str::to_owned).collect();
        assert_eq!((trace[0].as_str(), trace[1].as_str(), trace[3].as_str()), ("00", TRACE, "01"));
        spans.insert(trace[2].clone());
        let sent: i64 = request.header("webhook-timestamp").parse().unwrap();
        assert!((created.as_millis() / 1000..=now().as_millis() / 1000).contains(&sent), "{sent}");
        let deadline: Timestamp = request.header("quebert-deadline").parse().unwrap();
        assert!(deadline.as_millis() / 1000 - sent >= 29 && deadline <= expires, "{deadline}");
        if n == 0 {
            is("quebert-eta", "");
            is("quebert-previous-status", "");
            is("quebert-retry-reason", "");
        } else {
            let (status, reason) = ANSWERS[n - 1];
            is("quebert-previous-status", &status.to_string());
            is("quebert-retry-reason", reason);
            let eta: Timestamp = request.header("quebert-eta").parse().unwrap();
            assert!(eta.as_millis() / 1000 <= sent, "due at {eta}, sent in second {sent}");
        }
    }
    assert_eq!(ids.len(), ANSWERS.len(), "each attempt has a delivery id of its own");
    assert_eq!(spans.len(), ANSWERS.len(), "each attempt has a span of its own");
    assert!(!spans.contains("00f067aa0ba902b7"), "the producer's span is the parent");

    let policy = &site.config.core.lanes[0].retry;
    for (made, pair) in (1..).zip(requests.windows(2)) {
        let gap = pair[1].at - pair[0].at;
        let (least, most) = policy.bounds(made);
        assert!(gap >= least && gap <= most + SLACK, "after attempt {made}: {gap:?}, of {least:?} to {most:?}");
    }
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_of_a_raw_task_are_numbered_and_spaced_and_its_bytes_arrive_unchanged() {
    let requests = all_attempts("attempts-raw", |envelope| {
        let body_base64 = Some(Binary(every_byte().into()));
        let mut message = Envelope { body_base64, ..envelope }.to_message(Form::Raw).unwrap();
        message.content_type = Some("application/x-mine".into());
        message
    })
    .await;
    for request in requests {
        assert_eq!(request.body, every_byte());
        assert_eq!(request.header("content-type"), "application/x-mine");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_of_a_json_task_are_numbered_and_spaced_and_its_body_arrives_as_written() {
    // Neither the spaces, nor the numbers, nor the order may change.
    let body = "{ \"b\" : 1.10,\t\"a\": 12345678901234567890123, \"a\": \"\\u00e9\u{e9}\" }";
    let requests = all_attempts("attempts-json", |envelope| {
        Envelope { body: Some(Json::new(body).unwrap()), ..envelope }.to_message(Form::Envelope(&JsonCodec)).unwrap()
    })
    .await;
    for request in requests {
        assert_eq!(request.body, body.as_bytes());
        assert_eq!(request.header("content-type"), "application/json");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_without_an_id_keeps_the_one_that_it_is_given() {
    let site = Site::new("attempts-id", POLICY).await;
    let executor = Executor::start(|request| Reply::status(if request.number < 2 { 500 } else { 204 })).await;
    let dispatching = site.run().await;
    let message = Message { body: format!("{{\"url\":\"{}\"}}", executor.url("/")).into(), ..Message::default() };
    site.publish("work", message).await;
    let requests = executor.wait_for(3, LONG).await;
    let ids: BTreeSet<_> = requests.iter().map(|request| request.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(ids.first().unwrap().len(), 36, "a UUID: {ids:?}");
    dispatching.until_over(1).await;
    dispatching.end(&site).await;
}
