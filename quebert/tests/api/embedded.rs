//! One task, from enqueue to cancel, on the embedded broker, which can look into its queues and remembers keys.

use super::site::Site;
use http::{Method, StatusCode};
use quebert::{Config, compose};
use serde_json::json;
use std::path::PathBuf;

/// A folder of this test's own, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("quebert-api-restart-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn tasks_are_found_cancelled_and_stored_once_over_a_restart() {
    let folder = Folder::new();
    let toml = format!("[broker]\nurl = \"embedded:{}\"", folder.0.display());
    let config = Config::from_toml(&toml).unwrap();
    let keyed = [("content-type", "application/json"), ("idempotency-key", "monday")];
    let task = r#"{"url": "https://example.com/a", "queue": "high"}"#;

    let engine = compose::engine(&config).unwrap();
    let site = Site::over(&toml, engine.admin.clone()).await;
    assert_eq!(site.get("/v1/status").await.json()["engine"], "embedded");
    let first = site.ask(Method::POST, "/v1/tasks", &keyed, task).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    let path = first.header("location").to_owned();
    let view = site.get(&path).await.json();
    assert_eq!((&view["state"], &view["queue"], &view["copies"]), (&"ready".into(), &"high".into(), &1.into()));
    assert_eq!((&view["url"], &view["attempts"]), (&"https://example.com/a".into(), &0.into()));
    assert_eq!(site.post(&format!("{path}/run"), "").await.json()["was"], "ready");
    let batch = site.post("/v1/tasks/batch", r#"[{"url": "https://h/", "id": "b"}, {"url": "https://h/"}]"#).await;
    assert_eq!(batch.json()["enqueued"], 2);
    assert_eq!(site.ask(Method::DELETE, "/v1/tasks/b", &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(site.get("/v1/tasks/b").await.code(), "task_not_found");
    assert_eq!(site.ask(Method::DELETE, "/v1/tasks/b", &[], "").await.code(), "task_not_found");
    site.stop().await;
    engine.close().await;
    drop(engine);

    let engine = compose::engine(&config).unwrap();
    let site = Site::over(&toml, engine.admin.clone()).await;
    let again = site.ask(Method::POST, "/v1/tasks", &keyed, task).await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, first.json()), "the key outlives the process");
    assert_eq!(
        site.ask(Method::POST, "/v1/tasks", &keyed, "{\"url\": \"https://h/\"}").await.code(),
        "idempotency_conflict"
    );
    let queue = site.get("/v1/queues/high").await.json();
    assert_eq!(json!([queue["ready"], queue["open"]]), json!([1, true]));
    site.stop().await;
    engine.close().await;
}
