//! Queues and destinations as the API tells of them, pausing and purging.

use super::{
    shelf::{Shelf, letter, queue},
    site::Site,
};
use http::StatusCode;
use serde_json::Value;
use std::sync::atomic::Ordering;

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

#[tokio::test]
async fn queues_are_told_with_what_waits_and_what_is_dead() {
    let shelf = Shelf::new(true);
    let site = Site::over(
        "[lanes.high]\nslots_max = 5\npriority = 2\n[lanes.low]\n[broker]\nurl = \"embedded:x\"",
        shelf.clone(),
    )
    .await;
    shelf.put(queue("high"), letter("a", "hook", "http://h/", now_ms() - 60_000));
    shelf.bury("high", letter("b", "hook", "http://h/", 5));
    let all = site.get("/v1/queues").await.json();
    assert_eq!(all["engine"], "shelf");
    let names: Vec<_> = all["queues"].as_array().unwrap().iter().map(|queue| queue["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["high", "low"], "the highest priority first");
    let high = &all["queues"][0];
    assert_eq!((&high["ready"], &high["dead"], &high["consumers"]), (&1.into(), &1.into(), &1.into()));
    assert!(high["oldest_age_ms"].as_i64().unwrap() >= 60_000);
    assert_eq!((&high["limits"]["slots_max"], &high["limits"]["messages_max"]), (&5.into(), &10_000_000.into()));
    assert_eq!((&high["unsettled"], &high["pause_scope"]), (&Value::Null, &"broker".into()));
    assert_eq!(high["recent"]["succeeded_by_s"].as_array().unwrap().len(), 60);
    let low = site.get("/v1/queues/low").await.json();
    assert_eq!((&low["ready"], &low["dead"]), (&0.into(), &0.into()), "nothing was ever dead there");
    assert_eq!(site.get("/v1/queues/nope").await.code(), "queue_not_found");
}

#[tokio::test]
async fn what_was_reloaded_is_what_is_gone_by_and_told() {
    let site = Site::new("[lanes.high]\nslots_max = 5\nwindow = 30").await;
    let task = format!(r#"{{"url": "http://h/", "body_text": "{}"}}"#, "x".repeat(500));
    let batch = format!("[{task}]");
    let enqueued = async || {
        let batch = site.post("/v1/tasks/batch", batch.clone()).await.json();
        (site.post("/v1/tasks", task.clone()).await.status, batch["enqueued"].clone())
    };
    assert_eq!(enqueued().await, (StatusCode::CREATED, 1.into()));
    let next = |body_bytes: u32| {
        format!(
            "[lanes.high]\nslots_max = 6\nslots_own = 2\npriority = 3\nwindow = 40\nattempt_timeout = \"7s\"\n\
             retry.max_attempts = 4\n[pool]\nslots = 77\n[limits]\nbody_bytes = {body_bytes}"
        )
    };
    site.reload(&next(499));
    assert_eq!(enqueued().await, (StatusCode::UNPROCESSABLE_ENTITY, 0.into()));
    site.reload(&next(500));
    assert_eq!(enqueued().await, (StatusCode::CREATED, 1.into()));
    assert_eq!(site.get("/v1/status").await.json()["slots"], 77);
    let high = site.get("/v1/queues/high").await.json();
    assert_eq!(high["priority"], 3);
    let expected = serde_json::json!({
        "slots_max": 6, "slots_own": 2, "window": 30, "max_attempts": 4, "attempt_timeout_ms": 7000,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&high["limits"][key], value, "{key}");
    }
    assert_eq!(site.get("/v1/config").await.json()["lanes"]["high"]["slots_max"], 5, "as at the start");
}

#[tokio::test]
async fn while_the_broker_is_away_the_dispatchers_own_figures_are_told() {
    let shelf = Shelf::new(true);
    let site = Site::over("", shelf.clone()).await;
    shelf.away.store(true, Ordering::Relaxed);
    let high = site.get("/v1/queues/high").await.json();
    for unknown in ["ready", "unsettled", "delayed", "dead", "ready_bytes", "oldest_age_ms", "consumers"] {
        assert_eq!(high[unknown], Value::Null, "{unknown}");
    }
    assert_eq!((&high["delivered"], &high["settled"]["succeeded"]), (&0.into(), &0.into()));
    assert_eq!(site.post("/v1/queues/high/purge", "").await.code(), "broker_unavailable");
}

#[tokio::test]
async fn a_pause_is_done_when_it_is_answered_and_remembered() {
    let shelf = Shelf::new(true);
    let site = Site::over("", shelf.clone()).await;
    for (verb, paused) in [("pause", true), ("pause", true), ("resume", false)] {
        let answer = site.post(&format!("/v1/queues/high/{verb}"), "").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json(), serde_json::json!({"queue": "high", "paused": paused, "scope": "broker"}));
        assert_eq!(site.get("/v1/queues/high").await.json()["paused"], paused);
        assert_eq!(shelf.paused.lock().unwrap().contains("quebert.high"), paused);
        assert_eq!(site.get("/v1/queues/low").await.json()["paused"], false, "and no other");
    }
    assert_eq!(site.post("/v1/queues/nope/pause", "").await.code(), "queue_not_found");
}

#[tokio::test]
async fn a_pause_that_can_not_be_remembered_is_not_made() {
    let shelf = Shelf::new(true);
    let site = Site::over("", shelf.clone()).await;
    shelf.away.store(true, Ordering::Relaxed);
    assert_eq!(site.post("/v1/queues/high/pause", "").await.code(), "broker_unavailable");
    assert_eq!(site.get("/v1/queues/high").await.json()["paused"], false);
}

#[tokio::test]
async fn a_purge_takes_what_waits_and_no_dead_letters() {
    let shelf = Shelf::new(false);
    let site = Site::over("", shelf.clone()).await;
    shelf.put(queue("high"), letter("a", "hook", "http://h/", 5));
    shelf.put(queue("low"), letter("b", "hook", "http://h/", 5));
    shelf.bury("high", letter("c", "hook", "http://h/", 5));
    let purge = async |query: &str| site.post(&format!("/v1/queues/high/purge{query}"), "").await;
    assert_eq!(purge("?dry_run=true").await.json(), serde_json::json!({"queue": "high", "purged": 1, "dry_run": true}));
    assert_eq!(shelf.queued("high"), ["a"]);
    assert_eq!(purge("").await.json()["purged"], 1);
    assert_eq!((shelf.queued("high").len(), shelf.queued("low").len(), shelf.buried("high").len()), (0, 1, 1));
    assert_eq!(purge("?dry_run=maybe").await.code(), "invalid_request");
    assert_eq!(purge("?dryrun=true").await.code(), "invalid_request", "a misspelt dry run must not purge");
    assert_eq!(site.post("/v1/queues/nope/purge", "").await.code(), "queue_not_found");
}

#[tokio::test]
async fn destinations_are_told_once_they_are_heard_of() {
    let site = Site::new("").await;
    assert_eq!(site.get("/v1/destinations").await.json(), serde_json::json!({"destinations": [], "more": false}));
}
