//! Adding one task. What may be in a task is the wire's to test.

use super::site::Site;
use http::{Method, StatusCode};
use quebert::Envelope;
use quebert::dispatcher::{
    event::Event,
    ports::{broker::PublishError, observer::Observer as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_task_can_be_enqueued() {
    let site = Site::new("").await;
    let answer = site.post("/v1/tasks", r#"{"url": "https://example.com/a", "queue": "high", "id": "a/b"}"#).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(answer.header("location"), "/v1/tasks/a%2Fb");
    assert_eq!(answer.json(), serde_json::json!({"id": "a/b", "queue": "high"}));
    {
        let stored = site.broker.stored.lock().unwrap();
        assert_eq!((stored.len(), stored[0].message.id.as_deref()), (1, Some("a/b")));
        let envelope: Envelope = serde_json::from_slice(&stored[0].message.body).unwrap();
        assert_eq!((&*envelope.url, envelope.created_at.is_some()), ("https://example.com/a", true));
    }
    site.stop().await;
}

#[tokio::test]
async fn what_is_no_task_is_refused_with_the_field() {
    let site = Site::new("[api]\nrequest_bytes_max = 1000").await;
    let long = format!(r#"{{"url": "https://h/", "body_text": "{}"}}"#, "x".repeat(1000));
    let cases = [
        (r#"{"url": "https://h/", "delay": 5}"#, 422, "invalid_task", "delay"),
        (r#"{"url": "https://h/", "delay_ms": "5"}"#, 422, "invalid_task", "delay_ms"),
        (r#"{"url": "http://127.0.0.1/"}"#, 422, "invalid_task", "url"),
        (r#"{"url": "https://h/", "queue": "urgent"}"#, 422, "unknown_queue", "queue"),
        (r#"[]"#, 422, "invalid_task", ""),
        (r#"{"url""#, 400, "invalid_json", ""),
        ("", 400, "invalid_json", ""),
        (&long, 413, "too_large", ""),
    ];
    for (body, status, code, field) in cases {
        let answer = site.post("/v1/tasks", body).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (status, code), "{body}: {}", answer.text);
        assert_eq!(answer.json()["errors"][0]["field"].as_str().unwrap_or_default(), field, "{body}");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml"] {
        let answer = site.ask(Method::POST, "/v1/tasks", &[("content-type", content_type)], "{}").await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (415, "unsupported_media_type"));
    }
    assert_eq!(site.ask(Method::POST, "/v1/tasks", &[], "{}").await.code(), "unsupported_media_type");
    assert!(site.broker.stored.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_same_key_and_body_store_once() {
    let site = Site::new("").await;
    let send = async |key: &str, body: &str| {
        site.ask(Method::POST, "/v1/tasks", &[JSON, ("idempotency-key", key)], body).await
    };
    let first = send("k", r#"{"url": "https://h/1"}"#).await;
    let again = send("k", r#"{"url": "https://h/1"}"#).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
    assert_eq!(first.json(), again.json());
    assert_eq!(send("k", r#"{"url": "https://h/2"}"#).await.code(), "idempotency_conflict");
    assert_eq!(site.broker.stored.lock().unwrap().len(), 1);
    for key in ["", "two words", &"x".repeat(256)] {
        assert_eq!(send(key, r#"{"url": "https://h/1"}"#).await.code(), "invalid_request", "{key:?}");
    }
}

#[tokio::test]
async fn what_the_broker_can_never_store_is_not_to_be_tried_again() {
    let site = Site::new("").await;
    *site.broker.failing.lock().unwrap() = Some(PublishError::Unfit("1001 bytes, and 1000 is the limit".into()));
    let answer = site.post("/v1/tasks", r#"{"url": "https://h/"}"#).await;
    assert_eq!((answer.status.as_u16(), &*answer.code()), (413, "too_large"), "{}", answer.text);
    assert!(answer.headers.get("retry-after").is_none(), "{answer:?}");
    site.stop().await;
}

#[tokio::test]
async fn while_the_broker_is_away_or_blocked_nothing_is_taken() {
    let site = Site::new("").await;
    let task = r#"{"url": "https://h/"}"#;
    let refused = async |code: &str| {
        let answer = site.post("/v1/tasks", task).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (503, code), "{}", answer.text);
        assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    };
    site.health.observe(&Event::BrokerBlocked(true));
    refused("broker_blocked").await;
    site.health.observe(&Event::BrokerDisconnected { reason: "io", detail: String::new() });
    refused("broker_unavailable").await;
    site.health.observe(&Event::BrokerConnected);
    let errors = [
        (PublishError::Refused("full".into()), "queue_full"),
        (PublishError::NotConnected("gone".into()), "broker_unavailable"),
        (PublishError::Returned("no such queue".into()), "broker_unavailable"),
        (PublishError::Unknown("no confirmation".into()), "unconfirmed"),
    ];
    for (error, code) in errors {
        *site.broker.failing.lock().unwrap() = Some(error);
        refused(code).await;
    }
    *site.broker.failing.lock().unwrap() = None;
    assert_eq!(site.post("/v1/tasks", task).await.status, StatusCode::CREATED);
    for answer in ["ack", "nack", "not_connected", "returned", "timeout"] {
        assert_eq!(site.enqueues(answer), 1, "{answer}: what did not reach the broker is not counted");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_though_the_client_sends_it_all_first() {
    let site = Site::new("[api]\nrequest_bytes_max = 8000000").await;
    // More than fits into the buffers of a connection.
    let body = "x".repeat(15_000_000);
    for chunked in [false, true] {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        let length =
            if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {}", body.len()) };
        let head = format!(
            "POST /v1/tasks HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n{length}\r\n\r\n",
            site.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        if chunked {
            stream.write_all(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes()).await.unwrap();
        } else {
            stream.write_all(body.as_bytes()).await.unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}

#[tokio::test]
async fn a_bug_is_a_problem_and_the_server_goes_on() {
    let site = Site::new("").await;
    let task = r#"{"url": "https://h/"}"#;
    *site.broker.panicking.lock().unwrap() = true;
    assert_eq!(site.post("/v1/tasks", task).await.code(), "internal");
    // With a key the broker is asked on a task of its own; what became of it, nobody knows.
    let keyed = site.ask(Method::POST, "/v1/tasks", &[JSON, ("idempotency-key", "k")], task).await;
    assert_eq!(keyed.code(), "unconfirmed");
    *site.broker.panicking.lock().unwrap() = false;
    assert_eq!(site.post("/v1/tasks", task).await.status, StatusCode::CREATED);
}
