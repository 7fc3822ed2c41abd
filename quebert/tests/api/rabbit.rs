//! Queues and dead letters over the API on a real RabbitMQ, which gives no positions and hides what is looked at.

use super::{shelf::letter, site::Site};
use http::{Method, StatusCode};
use quebert::{
    Config,
    adapters::{
        admin::{Admin as _, Enqueue},
        amqp::RabbitAdmin,
        testing::PrivateRabbit,
    },
    compose,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

fn keys(page: &Value) -> Vec<&str> {
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
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_the_same_on_rabbitmq() {
    let node = PrivateRabbit::start().await.unwrap();
    let toml = format!("[broker]\nurl = \"{}\"", node.url());
    let config = Config::from_toml(&toml).unwrap();
    let admin = Arc::new(RabbitAdmin::new(compose::rabbit_config(&config).unwrap()).unwrap());
    let site = Site::over(&toml, admin.clone()).await;
    let before = site.get("/v1/queues/high").await.json();
    assert_eq!((&before["ready"], &before["dead"]), (&Value::Null, &0.into()), "there is no such queue yet");
    assert_eq!(site.get("/v1/dead").await.json(), json!({"letters": [], "next_cursor": null, "complete": true}));
    admin.apply().await.unwrap();

    for (i, (id, queue)) in [("a", "high"), ("b", "low"), ("c", "high"), ("d", "low")].into_iter().enumerate() {
        let message = letter(id, "max_attempts", "http://host/", 1000 * (i as i64 + 1));
        admin.publish_to("", &format!("quebert.{queue}.dead"), &message).await.unwrap();
    }
    admin.publish_to("", "quebert.dead", &letter("e", "permanent", "http://host/", 5000)).await.unwrap();
    let task = letter("waiting", "hook", "http://host/", 1);
    let stored = admin.enqueue(vec![Enqueue { queue: "quebert.high".into(), message: task, once: None }]).await;
    assert!(stored[0].is_ok(), "{stored:?}");

    let (mut all, mut cursor) = (Vec::new(), String::new());
    while all.len() < 5 {
        let page = site.get(&format!("/v1/dead?limit=2{cursor}")).await.json();
        assert_eq!(page["complete"], true);
        all.extend(keys(&page).into_iter().map(str::to_owned));
        cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap_or_default());
    }
    assert_eq!((all.concat(), &*cursor), ("abcde".to_owned(), "&cursor="), "by the moment of their deaths");
    let both = tokio::join!(site.get("/v1/dead"), site.get("/v1/dead"));
    assert_eq!(
        (keys(&both.0.json()).len(), keys(&both.1.json()).len()),
        (5, 5),
        "neither hides letters from the other"
    );
    assert_eq!(site.get("/v1/dead/c").await.json()["replays_to"], "quebert.high");

    assert_eq!(site.post("/v1/dead/c/replay", "").await.status, StatusCode::OK);
    assert_eq!(site.ask(Method::DELETE, "/v1/dead/a", &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(site.post("/v1/dead/e/replay", "").await.code(), "no_way_back");
    let replayed = site.post("/v1/dead/replay", json!({"filter": {}, "rate_per_s": 100}).to_string()).await.json();
    let replayed = ended(&site, &replayed).await;
    let counts = ["seen", "matched", "done", "stuck"].map(|count| replayed[count].as_u64().unwrap());
    assert_eq!((&replayed["state"], counts), (&"done".into(), [3, 3, 2, 1]));

    let queues = site.get("/v1/queues").await.json();
    assert_eq!(queues["engine"], "rabbitmq");
    let of = |at: usize, what: &str| queues["queues"][at][what].as_u64();
    assert_eq!((of(0, "ready"), of(0, "dead"), of(2, "ready"), of(2, "dead")), (Some(2), Some(0), Some(2), Some(0)));
    assert_eq!(queues["queues"][0]["pause_scope"], "dispatcher");
    assert_eq!(site.post("/v1/queues/high/purge", "").await.json()["purged"], 2);
    node.kill();
    let away = site.get("/v1/queues/high").await.json();
    assert_eq!((&away["ready"], &away["dead"]), (&Value::Null, &Value::Null));
    assert_eq!(site.get("/v1/dead").await.code(), "broker_unavailable");
}
