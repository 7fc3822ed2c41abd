//! What can't be read, or is not allowed, is kept with the reason and as it came, and holds nobody up.

use crate::site::Site;
use quebert::{
    BuryReason, Envelope, Message, Settlement,
    wire::{Binary, Form, HeaderValue, HeaderValues, JsonCodec},
};
use quebert_broker_adapter::testing::executor::{Executor, Reply};
use serde_json::json;
use std::collections::BTreeMap;

/// What comes, why it is buried, and what the reason in words must hold.
struct Case {
    message: Message,
    reason: BuryReason,
    words: &'static str,
}

fn plain(body: impl Into<Vec<u8>>) -> Message {
    Message { body: body.into().into(), ..Message::default() }
}

fn undecodable(message: Message, words: &'static str) -> Case {
    Case { message, reason: BuryReason::Undecodable, words }
}

fn not_allowed(message: Message, words: &'static str) -> Case {
    Case { message, reason: BuryReason::NotAllowed, words }
}

/// A task by JSON, field by field.
fn task(json: &serde_json::Value) -> Message {
    plain(json.to_string())
}

fn to(url: &str) -> Message {
    task(&json!({ "url": url }))
}

fn raw(url: &str, headers: impl IntoIterator<Item = (String, HeaderValue)>, body: Vec<u8>) -> Message {
    let url = ("quebert-url".to_owned(), HeaderValue::Text(url.to_owned()));
    Message { headers: headers.into_iter().chain([url]).collect(), body: body.into(), ..Message::default() }
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::Text(text.to_owned())
}

fn cases(url: &str) -> Vec<Case> {
    let mut all = vec![
        undecodable(plain("not json"), "json"),
        undecodable(plain(""), ""),
        undecodable(plain([0xff, 0xfe, 0x00]), ""),
        undecodable(plain("[".repeat(100_000)), ""),
        undecodable(plain(format!("{{\"url\":\"{url}\",\"body\":{}", "[".repeat(100_000))), ""),
        undecodable(task(&json!({ "method": "POST" })), "url"),
        undecodable(task(&json!({ "url": url, "delay_ms": "soon" })), "delay_ms"),
        undecodable(
            Message { content_type: Some("application/x-protobuf".into()), ..plain("\u{8}\u{1}") },
            "application/x-protobuf",
        ),
        undecodable(raw(url, [("quebert-delay-ms".to_owned(), text("soon"))], vec![1]), "quebert-delay-ms"),
        // Text that is in the address of no host.
        not_allowed(to("ftp://host/file"), "url"),
        not_allowed(to("file:///etc/passwd"), "url"),
        not_allowed(to("javascript:alert(1)"), "url"),
        not_allowed(to("gopher://127.0.0.1:70/_x"), "url"),
        // The guard.
        not_allowed(to("http://10.1.2.3/"), "10.1.2.3"),
        not_allowed(to("http://169.254.169.254/latest/meta-data/"), "169.254.169.254"),
        not_allowed(to("http://[::ffff:10.0.0.1]/"), "10.0.0.1"),
        not_allowed(to("http://[::1]:1/"), "::1"),
        not_allowed(to("http://0x0a000001/"), "10.0.0.1"),
        not_allowed(to("http://167772161/"), "10.0.0.1"),
        // Sizes.
        not_allowed(task(&json!({ "url": url, "body_text": "x".repeat(10 << 20) })), "body"),
        not_allowed(raw(url, [], vec![7; 10 << 20]), "body"),
        not_allowed(to(&format!("{url}{}", "x".repeat(5_000))), "url"),
        not_allowed(
            task(&json!({
                "url": url,
                "headers": (0..1000).map(|n| (format!("x-h-{n}"), "1")).collect::<BTreeMap<_, _>>(),
            })),
            "headers",
        ),
        not_allowed(raw(url, (0..1000).map(|n| (format!("quebert-h-x-{n}"), text("1"))), vec![1]), "1000 entries"),
    ];
    // Injection: into values, names, method and target.
    let injected = [
        json!({ "url": url, "headers": { "x-a": "1\r\nx-evil: 1" } }),
        json!({ "url": url, "headers": { "x-a\r\nx-evil": "1" } }),
        json!({ "url": url, "headers": { "x-a: 1\r\nx-evil": "1" } }),
        json!({ "url": url, "headers": { "x-a": ["1", "2\nx-evil: 1"] } }),
        json!({ "url": url, "headers": { "x-a": "1\u{0}" } }),
        json!({ "url": url, "method": "GET / HTTP/1.1\r\nx-evil: 1\r\n\r\n" }),
        json!({ "url": format!("{url} HTTP/1.1\r\nx-evil: 1\r\n\r\n") }),
        json!({ "url": url, "id": "a\r\nx-evil: 1" }),
    ];
    all.extend(injected.iter().map(|json| undecodable(task(json), "")));
    all.push(undecodable(raw(url, [("quebert-h-x-a".to_owned(), text("1\r\nx-evil: 1"))], vec![1]), "x-a"));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_kept_as_it_came_and_the_lane_goes_on() {
    let site = Site::new("poison", "lanes.work.slots_max = 2").await;
    let executor = Executor::start(|_| Reply::status(200)).await;
    let cases = cases(&executor.url("/"));
    let n = cases.len();
    let dispatching = site.run().await;
    for (number, case) in cases.iter().enumerate() {
        let mut message = case.message.clone();
        message.correlation_id = Some(number.to_string());
        message.headers.insert("theirs".into(), HeaderValue::Int(number as i64));
        site.publish("work", message).await;
        let good = Envelope { id: Some(format!("good-{number}")), ..Envelope::new(executor.url("/good")) };
        site.publish("work", good.to_message(Form::Envelope(&JsonCodec)).unwrap()).await;
    }
    dispatching.until_over(2 * n as u64).await;
    assert_eq!(dispatching.seen().settled_as(Settlement::Succeeded), n as u64);

    let dead = site.dead("work", n).await;
    let mut numbers = Vec::new();
    for kept in &dead {
        let number: usize = kept.correlation_id.as_deref().unwrap().parse().unwrap();
        numbers.push(number);
        let case = &cases[number];
        let header = |name: &str| match &kept.headers[name] {
            HeaderValue::Text(text) => text.clone(),
            other => panic!("{name}: {other:?}"),
        };
        let shown = String::from_utf8_lossy(&case.message.body[..case.message.body.len().min(80)]).into_owned();
        assert_eq!(
            header("quebert-dead-reason"),
            case.reason.label(),
            "{number}: {shown}: {}",
            header("quebert-dead-detail")
        );
        let detail = header("quebert-dead-detail");
        assert!(detail.contains(case.words), "{number}: {shown}: {detail:?} does not hold {:?}", case.words);
        assert!(!detail.contains("x-evil: 1"), "{number}: values are not repeated: {detail:?}");
        assert_eq!(header("quebert-dead-lane"), "work");
        assert_eq!(kept.body, case.message.body, "{number}: {shown}");
        assert_eq!(kept.content_type, case.message.content_type, "{number}");
        assert_eq!(kept.headers["theirs"], HeaderValue::Int(number as i64));
        for (name, value) in &case.message.headers {
            assert_eq!(kept.headers.get(name), Some(value), "{number}: {name}");
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..n).collect::<Vec<_>>(), "each is kept once");
    for request in executor.requests() {
        assert_eq!(request.target, "/good", "poison is never sent");
        assert!(!request.headers.contains_key("x-evil"));
    }
    let summary = dispatching.end(&site).await;
    assert_eq!(summary.deliveries, 2 * n as u64, "nothing is delivered twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_whose_headers_fill_a_frame_is_kept_all_the_same() {
    let site = Site::new("poison-frame", "lanes.work.slots_max = 2").await;
    let executor = Executor::start(|_| Reply::status(200)).await;
    let dispatching = site.run().await;
    // As large as a publish can be: with the notes of a dead letter, or of a retry, it does not fit any more.
    let filler = HeaderValue::Text("x".repeat(129_000));
    for body in ["not json".to_owned(), format!("{{\"url\":\"{}\"}}", executor.url("/never"))] {
        let headers = [("theirs".to_owned(), filler.clone()), ("small".to_owned(), text("stays"))];
        site.publish("work", Message { headers: headers.into(), ..plain(body) }).await;
    }
    let good = Envelope { body_base64: Some(Binary(vec![1].into())), ..Envelope::new(executor.url("/good")) };
    let mut good = good.to_message(Form::Raw).unwrap();
    good.headers.insert("quebert-h-x-several".into(), HeaderValue::List(vec![text("a"), text("b")]));
    site.publish("work", good).await;
    dispatching.until_over(3).await;
    for dead in site.dead("work", 2).await {
        assert_eq!(dead.headers["quebert-dead-reason"], text("not_allowed"));
        assert_eq!(dead.headers["quebert-dead-shed"], HeaderValue::List(vec![text("theirs")]), "what went is named");
        assert_eq!(dead.headers["small"], text("stays"));
    }
    assert!(executor.requests().iter().all(|request| request.target == "/good"));
    dispatching.end(&site).await;
}

/// Not poison: what looks like it and is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_at_its_limits_is_delivered() {
    let site = Site::new("poison-limits", "lanes.work.slots_max = 2").await;
    let executor = Executor::start(|_| Reply::status(200)).await;
    let dispatching = site.run().await;
    let body = vec![0xff; 1 << 20];
    let headers = (0..100).map(|n| (format!("x-{n}"), HeaderValues::One("v".repeat(300)))).collect();
    let largest =
        Envelope { body_base64: Some(Binary(body.clone().into())), headers, ..Envelope::new(executor.url("/")) };
    site.publish("work", largest.to_message(Form::Raw).unwrap()).await;
    site.publish("work", largest.to_message(Form::Envelope(&JsonCodec)).unwrap()).await;
    dispatching.until_over(2).await;
    let requests = executor.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.body == body && request.header("x-99").len() == 300));
    dispatching.end(&site).await;
}
