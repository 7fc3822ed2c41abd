//! Queues and dead letters over the API on the embedded broker, which gives positions.

use super::{shelf::letter, site::Site};
use http::{Method, StatusCode};
use quebert::{
    Broker as _, Target,
    adapters::embedded::{EmbeddedBroker, EmbeddedConfig},
};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// A folder that is there for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quebert-api-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// With five dead letters, the last one in the place of those that no lane claims.
async fn site(folder: &Folder) -> (Site, Arc<EmbeddedBroker>) {
    let queues = ["high", "medium", "low"].map(|lane| format!("quebert.{lane}").into()).to_vec();
    let config = EmbeddedConfig { folder: folder.0.clone(), queues, ..EmbeddedConfig::default() };
    let broker = Arc::new(EmbeddedBroker::open(config).unwrap());
    let queues = ["quebert.high", "quebert.low", "quebert.high", "quebert.low", "nobody's"];
    for (i, (key, queue)) in ["a", "b", "c", "d", "e"].into_iter().zip(queues).enumerate() {
        let message = letter(key, "max_attempts", "http://host/", 1000 * (i as i64 + 1));
        broker.publish(Target::Dead(queue.into()), message).await.unwrap();
    }
    (Site::over("", broker.clone()).await, broker)
}

fn keys(page: &Value) -> String {
    page["letters"].as_array().unwrap().iter().map(|letter| letter["key"].as_str().unwrap()).collect()
}

async fn ended(site: &Site, begun: &Value) -> Value {
    let path = format!("/v1/operations/{}", begun["id"].as_str().unwrap());
    let waiting = async {
        loop {
            let operation = site.get(&path).await.json();
            if operation["state"] != "running" {
                return operation;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it ends")
}

fn counts(operation: &Value) -> [u64; 4] {
    ["seen", "matched", "done", "stuck"].map(|count| operation[count].as_u64().unwrap())
}

#[tokio::test]
async fn letters_are_listed_shown_replayed_and_deleted() {
    let folder = Folder::new("dead");
    let (site, _broker) = site(&folder).await;
    let (mut all, mut cursor) = (String::new(), String::new());
    while all.len() < 5 {
        let page = site.get(&format!("/v1/dead?limit=2{cursor}")).await.json();
        all += &keys(&page);
        cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap_or_default());
    }
    assert_eq!((&*all, &*cursor), ("acbde", "&cursor="), "in the order they lie, queue by queue");
    assert_eq!(site.get("/v1/dead/c").await.json()["replays_to"], "quebert.high");
    assert_eq!(site.post("/v1/dead/c/replay", "").await.status, StatusCode::OK);
    assert_eq!(site.post("/v1/dead/c/replay", "").await.code(), "dead_letter_not_found");
    assert_eq!(site.ask(Method::DELETE, "/v1/dead/a", &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(site.post("/v1/dead/e/replay", "").await.code(), "no_way_back");

    let replayed = site.post("/v1/dead/replay", json!({"filter": {}}).to_string()).await.json();
    let replayed = ended(&site, &replayed).await;
    assert_eq!((&replayed["state"], counts(&replayed)), (&"done".into(), [3, 3, 2, 1]));
    let queues = site.get("/v1/queues").await.json();
    let of = |at: usize, what: &str| queues["queues"][at][what].as_u64();
    assert_eq!(queues["engine"], "embedded");
    assert_eq!((of(0, "ready"), of(0, "dead"), of(2, "ready"), of(2, "dead")), (Some(1), Some(0), Some(2), Some(0)));
    assert!(queues["queues"][0]["oldest_age_ms"].is_u64() && queues["queues"][0]["ready_bytes"].is_u64());
    assert_eq!(site.post("/v1/queues/low/purge", "").await.json()["purged"], 2);
}

#[tokio::test]
async fn who_replays_the_same_letter_at_the_same_time_replays_it_once() {
    let folder = Folder::new("twice");
    let (site, _broker) = site(&folder).await;
    let replay = || site.post("/v1/dead/c/replay", "");
    let (one, two, three) = tokio::join!(replay(), replay(), replay());
    let done = [one, two, three].iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!((done, site.get("/v1/queues/high").await.json()["ready"].as_u64()), (1, Some(1)));
}

#[tokio::test]
async fn a_pause_is_remembered_by_the_broker() {
    let folder = Folder::new("pause");
    let (site, broker) = site(&folder).await;
    assert_eq!(site.post("/v1/queues/high/pause", "").await.json()["scope"], "broker");
    let remembered = quebert::adapters::admin::Admin::paused(&*broker).await.unwrap();
    assert_eq!(remembered, ["quebert.high".into()]);
}
