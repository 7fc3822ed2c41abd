//! Many tasks in one request.

use super::site::Site;
use http::{Method, StatusCode};
use quebert::dispatcher::ports::broker::PublishError;
use serde_json::Value;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn task(n: usize) -> String {
    format!(r#"{{"url": "https://example.com/{n}", "id": "t{n}"}}"#)
}

fn codes(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().unwrap();
    results.iter().map(|result| result["problem"]["code"].as_str().unwrap_or("stored")).collect()
}

#[tokio::test]
async fn each_item_is_stored_or_refused_by_itself_in_order() {
    let site = Site::new("[api]\nrequest_bytes_max = 200").await;
    let long = format!(r#"{{"url": "https://h/", "body_text": "{}"}}"#, "x".repeat(200));
    let items = [&*task(0), "{}", &task(1), r#"{"url": "https://h/", "queue": "urgent"}"#, &long, "5", &task(2)];
    let expect = ["stored", "invalid_task", "stored", "unknown_queue", "too_large", "invalid_task", "stored"];
    let array = site.post("/v1/tasks/batch", format!("[{}]", items.join(","))).await;
    let lines = site.ask(Method::POST, "/v1/tasks/batch", &[NDJSON], items.join("\n\n")).await;
    for answer in [array, lines] {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let answer = answer.json();
        assert_eq!(codes(&answer), expect);
        assert_eq!((&answer["enqueued"], &answer["refused"]), (&3.into(), &4.into()));
        assert_eq!(answer["results"][6], serde_json::json!({"index": 6, "task": {"id": "t2", "queue": "low"}}));
    }
    let stored: Vec<_> =
        site.broker.stored.lock().unwrap().iter().map(|task| task.message.id.clone().unwrap()).collect();
    assert_eq!(stored, ["t0", "t1", "t2", "t0", "t1", "t2"]);
    // A line that is no JSON is that line's problem; an array that is no JSON has no items.
    let broken = site.ask(Method::POST, "/v1/tasks/batch", &[NDJSON], format!("{{\n{}", task(0))).await.json();
    assert_eq!(codes(&broken), ["invalid_json", "stored"]);
}

#[tokio::test]
async fn of_a_batch_that_is_refused_as_a_whole_nothing_is_stored() {
    let site = Site::new("[api]\nbatch_items_max = 3\nbatch_bytes_max = 1000").await;
    let many = (0..4).map(task).collect::<Vec<_>>();
    let long = format!(r#"[{}, "{}"]"#, task(0), "x".repeat(1000));
    let cases = [
        (&*format!("[{}]", many.join(",")), "too_large"),
        (&long, "too_large"),
        (&format!("[{}", task(0)), "invalid_json"),
        (&format!("[{},]", task(0)), "invalid_json"),
        (&task(0), "invalid_body"),
        ("", "invalid_json"),
    ];
    for (body, code) in cases {
        assert_eq!(site.post("/v1/tasks/batch", body).await.code(), code, "{body}");
    }
    assert_eq!(site.ask(Method::POST, "/v1/tasks/batch", &[NDJSON], many.join("\n")).await.code(), "too_large");
    let other = [("content-type", "text/csv")];
    assert_eq!(site.ask(Method::POST, "/v1/tasks/batch", &other, "").await.code(), "unsupported_media_type");
    assert!(site.broker.stored.lock().unwrap().is_empty());
    assert_eq!(site.post("/v1/tasks/batch", "[]").await.json()["results"], serde_json::json!([]));
}

#[tokio::test]
async fn a_batch_of_more_than_one_chunk_keeps_its_order() {
    let site = Site::new("").await;
    let lines = (0..1000).map(task).collect::<Vec<_>>().join("\n");
    let answer = site.ask(Method::POST, "/v1/tasks/batch", &[NDJSON], lines).await.json();
    assert_eq!(answer["enqueued"], 1000);
    for (n, result) in answer["results"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&result["index"], &result["task"]["id"]), (&n.into(), &format!("t{n}").into()));
    }
}

#[tokio::test]
async fn a_batch_that_is_sent_again_with_its_key_stores_only_what_is_missing() {
    let site = Site::new("").await;
    let send = async |body: String| {
        let headers = [("content-type", "application/json"), ("idempotency-key", "monday")];
        site.ask(Method::POST, "/v1/tasks/batch", &headers, body).await.json()
    };
    let first = send(format!("[{},{{}}]", task(0))).await;
    assert_eq!((&first["enqueued"], &first["refused"]), (&1.into(), &1.into()));
    let again = send(format!("[{},{}]", task(0), task(1))).await;
    assert_eq!(again["enqueued"], 2);
    assert_eq!((&again["results"][0]["replayed"], &again["results"][1]["replayed"]), (&true.into(), &Value::Null));
    assert_eq!(codes(&send(format!("[{}]", task(5))).await), ["idempotency_conflict"]);
    assert_eq!(site.broker.stored.lock().unwrap().len(), 2);
    let long = "x".repeat(241);
    let headers = [("content-type", "application/json"), ("idempotency-key", &*long)];
    assert_eq!(site.ask(Method::POST, "/v1/tasks/batch", &headers, "[]").await.code(), "invalid_request");
}

#[tokio::test]
async fn a_broker_that_fails_is_each_items_problem() {
    let site = Site::new("").await;
    *site.broker.failing.lock().unwrap() = Some(PublishError::Unknown("no confirmation".into()));
    let answer = site.post("/v1/tasks/batch", format!("[{},{{}}]", task(0))).await.json();
    assert_eq!(codes(&answer), ["unconfirmed", "invalid_task"]);
}
