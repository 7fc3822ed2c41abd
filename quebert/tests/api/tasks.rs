//! One task: where it is, run it, cancel it; with a broker that can look into its queues and one that can't.

use super::site::Site;
use http::{Method, StatusCode};
use quebert::{
    Envelope, Message,
    adapters::admin::{Found, FoundState},
    dispatcher::ports::broker::{Broker as _, Target},
    wire::{Bookkeeping, Form, JsonCodec, Timestamp},
};
use std::time::Duration;
use tokio::net::TcpListener;

fn found(state: FoundState) -> Found {
    let envelope = Envelope { id: Some("a".into()), ..Envelope::new("https://example.com/x") };
    let mut message: Message = envelope.to_message(Form::Envelope(&JsonCodec)).unwrap();
    let book = Bookkeeping {
        attempts: 2,
        due_at: Some(Timestamp::from_millis(60_000)),
        enqueued_at: Some(Timestamp::from_millis(1_000)),
        history: Some("1 2000 503 12ms\n2 4000 timeout 30ms".into()),
        ..Bookkeeping::default()
    };
    book.write(&mut message.headers);
    Found { queue: "medium".into(), state, message }
}

async fn site(states: &[FoundState]) -> Site {
    let site = Site::new("[lanes.mail]\nqueue = \"medium\"").await;
    *site.broker.lookup.lock().unwrap() = true;
    *site.broker.found.lock().unwrap() = states.iter().copied().map(found).collect();
    site
}

#[tokio::test]
async fn a_waiting_task_is_told_with_its_history() {
    let answer = site(&[FoundState::Delayed]).await.get("/v1/tasks/a").await;
    assert_eq!(answer.status, StatusCode::OK);
    let expect = serde_json::json!({
        "id": "a", "queue": "mail", "state": "delayed", "url": "https://example.com/x", "attempts": 2,
        "due_at": "1970-01-01T00:01:00.000Z", "enqueued_at": "1970-01-01T00:00:01.000Z", "copies": 1,
        "history": [
            {"number": 1, "outcome": "503", "at": "1970-01-01T00:00:02.000Z", "duration_ms": 12},
            {"number": 2, "outcome": "timeout", "at": "1970-01-01T00:00:04.000Z", "duration_ms": 30},
        ],
    });
    assert_eq!(answer.json(), expect);
}

#[tokio::test]
async fn of_several_copies_the_one_that_tells_most_counts() {
    let copies = [FoundState::Dead, FoundState::Ready, FoundState::Delivered];
    let answer = site(&copies).await.get("/v1/tasks/a").await.json();
    assert_eq!((&answer["state"], &answer["copies"]), (&"delivered".into(), &3.into()));
}

#[tokio::test]
async fn what_can_be_steered_depends_on_where_it_is() {
    let cases = [
        (&[FoundState::Delayed][..], Ok("delayed"), Ok(())),
        (&[FoundState::Ready], Ok("ready"), Ok(())),
        (&[], Err("task_not_found"), Err("task_not_found")),
    ];
    for (states, run, cancel) in cases {
        let site = site(states).await;
        let answer = site.post("/v1/tasks/a/run", "").await;
        match run {
            Ok(was) => assert_eq!(answer.json(), serde_json::json!({"id": "a", "was": was})),
            Err(code) => assert_eq!(answer.code(), code),
        }
        let answer = site.ask(Method::DELETE, "/v1/tasks/a", &[], "").await;
        match cancel {
            Ok(()) => assert_eq!((answer.status, &*answer.text), (StatusCode::NO_CONTENT, "")),
            Err(code) => assert_eq!(answer.code(), code),
        }
    }
}

#[tokio::test]
async fn what_a_dispatcher_works_on_and_what_is_dead_is_left_alone() {
    for (state, code) in [(FoundState::Delivered, "under_way"), (FoundState::Dead, "dead_letter")] {
        let site = site(&[state]).await;
        *site.broker.steerable.lock().unwrap() = false;
        for (method, path) in [(Method::POST, "/v1/tasks/a/run"), (Method::DELETE, "/v1/tasks/a")] {
            let answer = site.ask(method, path, &[], "").await;
            assert_eq!((answer.status.as_u16(), &*answer.code()), (409, code));
        }
    }
}

#[tokio::test]
async fn a_broker_that_cannot_look_is_not_asked_and_the_answer_says_so() {
    let site = Site::new("").await;
    for (method, path) in
        [(Method::GET, "/v1/tasks/a"), (Method::POST, "/v1/tasks/a/run"), (Method::DELETE, "/v1/tasks/a")]
    {
        let answer = site.ask(method, path, &[], "").await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (404, "task_not_held"));
    }
    assert!(site.broker.steered.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_this_dispatcher_holds_is_told_with_any_broker() {
    let site = Site::new("[lanes.mail]\nqueue = \"mail\"\nslots_max = 1").await;
    // It accepts by itself and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    for id in ["first", "second"] {
        let envelope = Envelope { id: Some(id.into()), ..Envelope::new(&url) };
        let message = envelope.to_message(Form::Envelope(&JsonCodec)).unwrap();
        site.memory.publish(Target::Queue("mail".into()), message).await.unwrap();
    }
    let state = async |id: &str| site.get(&format!("/v1/tasks/{id}")).await.json()["state"].clone();
    let reaches = async |id: &str, expect: &str| {
        let reached = async {
            while state(id).await.as_str().unwrap_or("null") != expect {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reached).await.unwrap_or_else(|_| panic!("{id} {expect}"));
    };
    reaches("first", "in_flight").await;
    reaches("second", "waiting").await;
    let view = site.get("/v1/tasks/first").await.json();
    assert_eq!((&view["queue"], &view["url"], &view["attempts"]), (&"mail".into(), &url.into(), &1.into()));
    for (method, path) in [(Method::POST, "/v1/tasks/first/run"), (Method::DELETE, "/v1/tasks/first")] {
        assert_eq!(site.ask(method, path, &[], "").await.code(), "under_way");
    }
    let run = site.post("/v1/tasks/second/run", "").await;
    assert_eq!(run.json(), serde_json::json!({"id": "second", "was": "waiting"}));
    assert_eq!(site.ask(Method::DELETE, "/v1/tasks/second", &[], "").await.status, StatusCode::NO_CONTENT);
    reaches("second", "null").await;
    assert_eq!(site.get("/v1/tasks/second").await.code(), "task_not_held");
    assert_eq!(site.get("/v1/status").await.json()["in_flight"], 1);
}

#[tokio::test]
async fn an_id_may_have_any_visible_character_and_no_other() {
    let site = site(&[FoundState::Ready]).await;
    for (path, id) in [("/v1/tasks/a%2Fb%25%3F", "a/b%?"), ("/v1/tasks/!$&'()*+,;=:@", "!$&'()*+,;=:@")] {
        assert_eq!(site.get(path).await.json()["id"], id);
    }
    for path in [
        "/v1/tasks/%20",
        "/v1/tasks/%00",
        "/v1/tasks/%C3%A9",
        "/v1/tasks/%FF",
        &format!("/v1/tasks/{}", "x".repeat(129)),
    ] {
        let answer = site.get(path).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "invalid_request"), "{path}");
    }
}
