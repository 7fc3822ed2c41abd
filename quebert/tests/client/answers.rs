//! What the commands make of the API's answers, above all of those that say "later".

use crate::{
    canned::{Asked, Canned, Reply, problem},
    done, quebert,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

/// A batch's answer that takes each line but those that `refuse` has a problem for.
fn taken(asked: &Asked, refuse: impl Fn(usize) -> Option<Value>) -> Reply {
    let mut results = Vec::new();
    for (index, line) in asked.body.lines().enumerate() {
        let task: Value = serde_json::from_str(line).unwrap();
        results.push(match refuse(index) {
            Some(problem) => json!({"index": index, "problem": problem}),
            None => json!({"index": index, "task": {"id": task["id"], "queue": "low"}}),
        });
    }
    let refused = results.iter().filter(|result| result.get("problem").is_some()).count();
    let answer = json!({"enqueued": results.len() - refused, "refused": refused, "results": results});
    Reply::Answer(200, "Content-Type: application/json\r\n", answer.to_string())
}

fn passing() -> Value {
    serde_json::from_str(&problem(503, "broker_blocked", &json!([]))).unwrap()
}

const LINES: &str =
    "{\"url\": \"http://h/1\"}\n\n{\"url\": \"http://h/2\", \"id\": \"mine\"}\n{\"url\": \"http://h/3\"}\n";

#[tokio::test]
async fn what_is_sent_again_after_a_refusal_or_a_cut_is_the_same_to_the_byte() {
    let api = Canned::start(|n, asked| match n {
        0 => Reply::Answer(503, "Retry-After: 0\r\n", problem(503, "broker_unavailable", &json!([]))),
        1 => Reply::Cut,
        2 => Reply::Answer(409, "Retry-After: 0\r\n", problem(409, "idempotency_under_way", &json!([]))),
        3 => taken(asked, |index| (index == 1).then(passing)),
        _ => taken(asked, |_| None),
    })
    .await;
    let done = done(quebert(&["enqueue", "--json", "--api", &api.url]), LINES).await;
    let lines: Vec<Value> = done.good().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked = api.asked();
    assert_eq!(asked.len(), 5);
    assert!(asked.iter().all(|again| again == &asked[0]), "{asked:?}");
    assert_eq!(asked[0].line, "POST /v1/tasks/batch");
    assert!(asked[0].header("idempotency-key").is_some_and(|key| key.len() == 36), "{asked:?}");
    let sent: Vec<Value> = asked[0].body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines.iter().map(|line| (line["line"].as_u64().unwrap(), &line["id"])).collect();
    assert_eq!(told, [(1, &sent[0]["id"]), (3, &sent[1]["id"]), (4, &sent[2]["id"])], "in the order of the lines");
    assert_eq!(sent[1]["id"], "mine");
    assert!(lines.iter().all(|line| line["enqueued"] == true && line["queue"] == "low"), "{lines:?}");
}

#[tokio::test]
async fn patience_has_an_end() {
    let later = || Reply::Answer(503, "Retry-After: 0\r\n", problem(503, "broker_blocked", &json!([])));
    let api = Canned::start(move |_, _| later()).await;
    for args in [&["enqueue", "http://h/"][..], &["enqueue"]] {
        let args = [args, &["--retry-for", "0s", "--api", &api.url]].concat();
        let err = done(quebert(&args), LINES).await.failed(3);
        assert!(err.contains("broker_blocked: in words"), "{err}");
    }
    let api = Canned::start(|_, asked| taken(asked, |index| (index == 0).then(passing))).await;
    let partly = done(quebert(&["enqueue", "--retry-for", "0s", "--api", &api.url]), LINES).await;
    assert_eq!(partly.out, "2 enqueued, 0 refused, 1 failed\n");
    assert!(partly.failed(1).contains("line 1: task "));
}

#[tokio::test]
async fn a_proxy_that_misses_the_api_is_asked_again() {
    let api = Canned::start(|n, asked| match n {
        0..3 => Reply::Answer([502, 503, 504][n], "Retry-After: 0\r\n", "<html>".into()),
        _ => taken(asked, |_| None),
    })
    .await;
    let out = done(quebert(&["enqueue", "--api", &api.url]), LINES).await.good();
    assert_eq!(out, "3 enqueued, 0 refused, 0 failed\n");
    let asked = api.asked();
    assert!(asked.len() == 4 && asked.iter().all(|again| again == &asked[0]), "{asked:?}");
    let away = Canned::start(|_, _| Reply::Answer(502, "", "<html>".into())).await;
    let err = done(quebert(&["enqueue", "--retry-for", "0s", "--api", &away.url]), LINES).await.failed(3);
    assert!(err.contains("502 Bad Gateway"), "{err}");
}

#[tokio::test]
async fn after_a_failure_every_line_that_was_read_is_told_of() {
    // Nothing is answered before three batches are under way; then all but the second of them is stored.
    let (seen, ids) = (Mutex::new(BTreeSet::new()), Arc::new(Mutex::new([BTreeSet::new(), BTreeSet::new()])));
    let told = ids.clone();
    let api = Canned::start(move |_, asked| {
        let lines: Vec<Value> = asked.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut batch = lines.iter().map(|line| line["id"].as_str().unwrap().to_owned());
        let first = batch.next().unwrap();
        let mut seen = seen.lock().unwrap();
        seen.insert(first.clone());
        if seen.len() < 3 {
            return Reply::Answer(503, "Retry-After: 0\r\n", problem(503, "broker_blocked", &json!([])));
        }
        let refused = seen.iter().nth(1) == Some(&first);
        ids.lock().unwrap()[usize::from(refused)].extend(batch.chain([first]));
        match refused {
            true => Reply::Answer(403, "", problem(403, "forbidden", &json!([]))),
            false => taken(asked, |_| None),
        }
    })
    .await;
    // At most 500 lines are a batch.
    let id = |n: usize| format!("t-{n:04}");
    let lines: String = (1..=1500).map(|n| format!("{{\"url\": \"http://h/\", \"id\": \"{}\"}}\n", id(n))).collect();
    let done = done(quebert(&["enqueue", "--json", "--api", &api.url]), &lines).await;
    let [stored, refused] = &*told.lock().unwrap();
    assert!(stored.last() > refused.last() && !refused.is_empty(), "some were stored after those that failed");
    let told: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(told.len() >= stored.len() + refused.len(), "{} of {stored:?} {refused:?}", told.len());
    for (n, told) in (1..).zip(&told) {
        assert_eq!((&told["line"], &told["id"]), (&json!(n), &json!(id(n))));
        assert_eq!(told["enqueued"], stored.contains(&id(n)), "{told}");
        if refused.contains(&id(n)) {
            assert_eq!(told["error"], "forbidden: in words");
        }
    }
    assert_eq!(done.failed(2), "quebert: forbidden: in words\n");
}

#[tokio::test]
async fn a_bad_line_is_told_with_its_number_in_its_turn() {
    let wrong = |index| {
        let errors = json!([{"field": "url", "detail": "no scheme"}, {"field": "ttl_ms", "detail": "too small"}]);
        (index == 1).then(|| serde_json::from_str(&problem(422, "invalid_task", &errors)).unwrap())
    };
    let api = Canned::start(move |_, asked| taken(asked, wrong)).await;
    let lines = "{\"url\": \"http://h/1\"}\nno json\n{\"url\": \"h\"}\n{\"url\": \"http://h/4\"}\n";
    let done = done(quebert(&["enqueue", "--api", &api.url]), lines).await;
    assert_eq!(done.out, "2 enqueued, 2 refused, 0 failed\n");
    let err = done.failed(1);
    let (first, second) = err.split_once("line 3: ").unwrap();
    assert!(first.starts_with("line 2: "), "{err}");
    assert!(second.ends_with("invalid_task: in words\n  url: no scheme\n  ttl_ms: too small\n"), "{err}");
}

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_parts() {
    let api = Canned::start(|_, asked| match asked.body.lines().count() {
        0..=2 => taken(asked, |_| None),
        _ => Reply::Answer(413, "", problem(413, "too_large", &json!([]))),
    })
    .await;
    let lines: String = (0..7).map(|n| format!("{{\"url\": \"http://h/{n}\", \"id\": \"{n}\"}}\n")).collect();
    let out = done(quebert(&["enqueue", "--json", "--api", &api.url]), &lines).await.good();
    let ids: Vec<Value> = out.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["id"].clone()).collect();
    assert_eq!(ids, ["0", "1", "2", "3", "4", "5", "6"]);
}

#[tokio::test]
async fn a_key_of_the_producers_own_makes_the_same_request_each_time() {
    let stored = || Reply::Answer(201, "", json!({"id": "t-1", "queue": "high"}).to_string());
    let api = Canned::start(move |_, _| stored()).await;
    let args = ["enqueue", "http://h/", "-q", "high", "--idempotency-key", "order 17", "--api", &api.url];
    for _ in 0..2 {
        assert_eq!(done(quebert(&args), "").await.good(), "t-1\n");
    }
    let asked = api.asked();
    assert_eq!(asked[0], asked[1]);
    assert_eq!(asked[0].header("idempotency-key"), Some("order 17"));
    assert_eq!(asked[0].body, r#"{"url":"http://h/","queue":"high"}"#);
}

#[tokio::test]
async fn the_token_is_sent_and_never_shown() {
    let no = || Reply::Answer(403, "", problem(403, "forbidden", &json!([])));
    let api = Canned::start(move |_, _| no()).await;
    let file = std::env::temp_dir().join(format!("quebert-token-{}", std::process::id()));
    std::fs::write(&file, "hunter2-of-the-file\n").unwrap();
    let file_name = file.to_str().unwrap().to_owned();
    for args in [&["queues"][..], &["queues", "--token-file", &file_name]] {
        let mut command = quebert(&[args, &["--api", &api.url]].concat());
        command.env("QUEBERT_TOKEN", "hunter2-of-the-variable");
        let done = done(command, "").await;
        assert!(!format!("{done:?}").contains("hunter2"), "{done:?}");
        assert_eq!(done.failed(2), "quebert: forbidden: in words\n");
    }
    std::fs::remove_file(file).unwrap();
    let sent: Vec<_> = api.asked().iter().map(|asked| asked.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(sent, ["Bearer hunter2-of-the-variable", "Bearer hunter2-of-the-file"]);
}

#[tokio::test]
async fn each_kind_of_answer_has_its_exit_code() {
    for (status, code, exit) in [
        (401, "unauthorized", 2),
        (404, "queue_not_found", 2),
        (501, "not_supported", 2),
        (503, "broker_unavailable", 3),
        (500, "internal", 4),
    ] {
        let api = Canned::start(move |_, _| Reply::Answer(status, "", problem(status, code, &json!([])))).await;
        let err = done(quebert(&["queues", "high", "--api", &api.url]), "").await.failed(exit);
        assert_eq!(err, format!("quebert: {code}: in words\n"));
    }
    let page = Canned::start(|_, _| Reply::Answer(200, "", "<html>".into())).await;
    assert!(done(quebert(&["queues", "--api", &page.url]), "").await.failed(4).contains("not one of Quebert's API"));
    // Nobody listens there: the port belongs to a protocol that is not spoken any more.
    for args in [&["queues"][..], &["enqueue", "http://h/"], &["events"], &["dead", "list"], &["pause", "high"]] {
        let err = done(quebert(&[args, &["--api", "127.0.0.1:9"]].concat()), "").await.failed(3);
        assert!(err.contains("no API could be reached") && err.contains("http://127.0.0.1:9"), "{err}");
    }
}

#[tokio::test]
async fn what_needs_a_running_program_is_refused_at_a_broker() {
    let broker = ["--broker", "amqp://127.0.0.1:9"];
    for args in [&["pause", "high"][..], &["resume", "high"], &["events"]] {
        let err = done(quebert(&[args, &broker].concat()), "").await.failed(2);
        assert!(err.contains("leave out --broker"), "{err}");
    }
    let both = done(quebert(&[&["queues", "--api", "127.0.0.1:9"][..], &broker].concat()), "").await.failed(2);
    assert!(both.contains("exclude each other"), "{both}");
    let keyed = ["enqueue", "http://h/", "--idempotency-key", "k"];
    let err = done(quebert(&[&keyed[..], &broker].concat()), "").await.failed(2);
    assert!(err.contains("needs the API"), "{err}");
}
