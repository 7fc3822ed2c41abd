//! Dead letters over the API, with brokers that tell positions and with those that don't.

use super::{
    shelf::{Shelf, dead, letter, queue},
    site::Site,
};
use http::{Method, StatusCode};
use quebert::{
    adapters::admin::Place,
    wire::{Bookkeeping, HeaderValue, Message, header},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Five letters of two lanes, and one that no lane claims, with these keys in the order of their deaths.
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

async fn site(positions: bool) -> (Site, Arc<Shelf>) {
    let shelf = Shelf::new(positions);
    for (i, key) in KEYS.into_iter().enumerate() {
        let reason = if i < 3 { "max_attempts" } else { "permanent" };
        let url = format!("http://host-{}/{key}", i % 2);
        let letter = letter(key, reason, &url, 1000 * (i as i64 + 1));
        let place = match i {
            5 => Place::CommonDead,
            _ if i % 2 == 0 => dead("high"),
            _ => dead("low"),
        };
        shelf.put(place, letter);
    }
    (Site::over("", shelf.clone()).await, shelf)
}

fn keys(page: &Value) -> Vec<&str> {
    page["letters"].as_array().unwrap().iter().map(|letter| letter["key"].as_str().unwrap()).collect()
}

/// The keys of all pages of a listing, page by page.
async fn pages(site: &Site, query: &str) -> Vec<Vec<String>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("/v1/dead?{query}{cursor}")).await.json();
        assert_eq!(page["complete"], true, "{page}");
        pages.push(keys(&page).into_iter().map(str::to_owned).collect());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
        assert!(pages.len() < 20, "it goes round in circles");
    }
}

#[tokio::test]
async fn letters_come_page_by_page_each_once() {
    for (positions, order) in [(true, "acebdf"), (false, "abcdef")] {
        let (site, _shelf) = site(positions).await;
        for limit in 1..=7 {
            let pages = pages(&site, &format!("limit={limit}")).await;
            assert_eq!(pages.concat().concat(), order, "{limit} on a page, positions: {positions}");
            assert_eq!(pages.len(), 6usize.div_ceil(limit), "no empty page at the end: {pages:?}");
        }
        assert_eq!(pages(&site, "queue=low&limit=1").await, [["b"], ["d"]]);
    }
}

#[tokio::test]
async fn letters_that_are_gone_meanwhile_shift_nothing() {
    for positions in [true, false] {
        let (site, _shelf) = site(positions).await;
        let first = site.get("/v1/dead?limit=2").await.json();
        let gone: Vec<_> = keys(&first);
        for key in &gone {
            assert_eq!(site.ask(Method::DELETE, &format!("/v1/dead/{key}"), &[], "").await.status, 204);
        }
        let next = first["next_cursor"].as_str().unwrap();
        let second = site.get(&format!("/v1/dead?limit=500&cursor={next}")).await.json();
        assert_eq!(keys(&second).len(), 4, "all others: {second}");
    }
}

#[tokio::test]
async fn filters_narrow_a_listing_down() {
    for positions in [true, false] {
        let (site, _shelf) = site(positions).await;
        for (query, expect) in [
            ("", "abcdef"),
            ("queue=high", "ace"),
            ("reason=permanent", "def"),
            ("url_prefix=http://host-1/", "bdf"),
            ("search=HOST-0/C", "c"),
            ("id=d", "d"),
            ("older_than_ms=1000", "abcdef"),
            ("newer_than_ms=1000", ""),
            ("queue=high&reason=permanent", "e"),
            ("id=nope", ""),
        ] {
            let mut found: Vec<_> = pages(&site, query).await.concat();
            found.sort();
            assert_eq!(found.concat(), expect, "{query}");
        }
    }
}

#[tokio::test]
async fn a_listing_that_makes_no_sense_is_refused() {
    let (site, _shelf) = site(true).await;
    let cursor = site.get("/v1/dead?limit=1").await.json()["next_cursor"].as_str().unwrap().to_owned();
    let other = format!("reason=permanent&cursor={cursor}");
    let broken = format!("cursor={}", &cursor[2..]);
    for query in
        ["queue=nope", "reason=nope", "limit=0", "limit=501", "cursor=x", "older_than_ms=-1", "who=me", &other, &broken]
    {
        assert_eq!(site.get(&format!("/v1/dead?{query}")).await.code(), "invalid_request", "{query}");
    }
}

#[tokio::test]
async fn a_letter_is_shown_in_full_without_its_secrets() {
    for positions in [true, false] {
        let (site, shelf) = site(positions).await;
        let mut message = letter("order/17?", "hook", "http://h/", 5000);
        message.headers.insert("quebert-h-authorization".into(), HeaderValue::Text("hunter2".into()));
        message.body =
            r#"{"url":"http://h/","id":"order/17?","headers":{"Cookie":"hunter2"},"body":{"amount":1.50}}"#.into();
        shelf.bury("low", message);
        let answer = site.get("/v1/dead/order%2F17%3F").await;
        let shown = answer.json();
        assert_eq!(
            (&shown["key"], &shown["queue"], &shown["attempts"]),
            (&"order/17?".into(), &"low".into(), &20.into())
        );
        assert_eq!(shown["dead_at"], "1970-01-01T00:00:05.000Z");
        assert_eq!(
            shown["history"],
            json!([
                {"number": 19, "outcome": "500", "at": "1970-01-01T00:00:01.000Z", "duration_ms": 3},
                {"number": 20, "outcome": "timeout", "at": "1970-01-01T00:00:02.000Z", "duration_ms": 30000},
            ])
        );
        assert_eq!(shown["replays_to"], "quebert.low");
        assert!(shown["body"].as_str().unwrap().contains(r#""amount":1.50"#), "as it was written");
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
        assert_eq!(site.get("/v1/dead/nope").await.code(), "dead_letter_not_found");
        assert_eq!(shelf.buried("low"), ["b", "d", "order/17?"], "looking changes nothing");
    }
}

#[tokio::test]
async fn a_letter_without_an_id_is_named_by_a_hash() {
    for positions in [true, false] {
        let (site, shelf) = site(positions).await;
        let junk = Message { body: "junk".into(), ..Message::default() };
        shelf.put(Place::CommonDead, junk);
        let page = site.get("/v1/dead?limit=500").await.json();
        let key = keys(&page).into_iter().find(|key| key.starts_with("h-")).unwrap();
        let shown = site.get(&format!("/v1/dead/{key}")).await.json();
        assert_eq!((&shown["body"], &shown["id"], &shown["replays_to"]), (&"junk".into(), &Value::Null, &Value::Null));
        let refused = site.post(&format!("/v1/dead/{key}/replay"), "").await;
        assert_eq!((refused.status, &*refused.code()), (StatusCode::CONFLICT, "no_way_back"));
        assert_eq!(site.ask(Method::DELETE, &format!("/v1/dead/{key}"), &[], "").await.status, 204);
        assert_eq!(shelf.pile(&Place::CommonDead).len(), 1);
    }
}

#[tokio::test]
async fn one_letter_is_replayed_to_its_queue_as_a_new_copy() {
    for positions in [true, false] {
        let (site, shelf) = site(positions).await;
        let answer = site.post("/v1/dead/c/replay", "").await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"key": "c", "replayed": true})));
        assert_eq!((shelf.queued("high"), shelf.buried("high")), (vec!["c".to_owned()], vec!["a".into(), "e".into()]));
        let message = &shelf.pile(&queue("high"))[0];
        let book = Bookkeeping::read(&message.headers);
        assert_eq!((book.attempts, book.copy), (0, 1));
        assert!(!message.headers.contains_key(header::DEAD_REASON));
        assert_eq!(site.post("/v1/dead/c/replay", "").await.code(), "dead_letter_not_found", "it is gone from there");
        // Given up in a lane that is no more.
        let mut stray = letter("stray", "unroutable", "http://h/", 5);
        stray.headers.insert(header::RETURN_TO.into(), HeaderValue::Text("gone".into()));
        shelf.put(Place::CommonDead, stray);
        assert_eq!(site.post("/v1/dead/stray/replay", "").await.code(), "no_way_back");
        assert_eq!(shelf.pile(&Place::CommonDead).len(), 2, "it stays");
    }
}

/// An operation's state once it has ended.
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
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it ends")
}

/// What an operation has counted: seen, matched, done, stuck.
fn counts(operation: &Value) -> [u64; 4] {
    ["seen", "matched", "done", "stuck"].map(|count| operation[count].as_u64().unwrap())
}

#[tokio::test]
async fn letters_are_replayed_by_filter_and_those_without_a_way_back_stay() {
    for positions in [true, false] {
        let (site, shelf) = site(positions).await;
        let action = json!({"filter": {"reason": "permanent"}});
        let dry =
            site.post("/v1/dead/replay", json!({"filter": {"reason": "permanent"}, "dry_run": true}).to_string()).await;
        assert_eq!(dry.status, StatusCode::OK);
        let dry = dry.json();
        assert_eq!((&dry["state"], &dry["dry_run"], counts(&dry)), (&"done".into(), &true.into(), [6, 3, 0, 1]));
        assert_eq!((shelf.buried("high").len(), shelf.buried("low").len()), (3, 2), "nothing is changed");

        let begun = site.post("/v1/dead/replay", action.to_string()).await;
        assert_eq!(begun.status, StatusCode::ACCEPTED);
        let done = ended(&site, &begun.json()).await;
        assert_eq!((&done["state"], &done["kind"], counts(&done)), (&"done".into(), &"replay".into(), [6, 3, 2, 1]));
        assert_eq!((shelf.queued("high"), shelf.queued("low")), (vec!["e".to_owned()], vec!["d".to_owned()]));
        assert_eq!((shelf.buried("high").concat(), shelf.buried("low").concat()), ("ac".into(), "b".into()));
        assert_eq!(shelf.pile(&Place::CommonDead).len(), 1);
    }
}

#[tokio::test]
async fn letters_are_deleted_by_filter_up_to_a_limit() {
    for positions in [true, false] {
        let (site, shelf) = site(positions).await;
        let begun = site.post("/v1/dead/delete", json!({"filter": {"queue": "high"}, "limit": 2}).to_string()).await;
        let done = ended(&site, &begun.json()).await;
        assert_eq!((&done["state"], &done["kind"], counts(&done)), (&"done".into(), &"delete".into(), [2, 2, 2, 0]));
        assert_eq!((shelf.buried("high").concat(), shelf.buried("low").concat()), ("e".into(), "bd".into()));
        let begun = site.post("/v1/dead/delete", "{}").await;
        assert_eq!(counts(&ended(&site, &begun.json()).await), [4, 4, 4, 0], "an empty filter means all");
        assert!(shelf.pile(&Place::CommonDead).is_empty() && shelf.buried("low").is_empty());
    }
}

#[tokio::test]
async fn what_dies_again_during_a_replay_is_not_replayed_again() {
    let (site, shelf) = site(true).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    shelf.bury("high", letter("again", "max_attempts", "http://h/", i64::try_from(now).unwrap() + 60_000));
    let begun = site.post("/v1/dead/replay", json!({"filter": {"queue": "high"}}).to_string()).await;
    assert_eq!(counts(&ended(&site, &begun.json()).await), [4, 3, 3, 0]);
    assert_eq!(shelf.buried("high"), ["again"]);
}

#[tokio::test]
async fn an_operation_keeps_to_its_rate_and_can_be_cancelled() {
    for positions in [true, false] {
        let (site, shelf) = site(positions).await;
        // The second letter is due in a quarter of an hour.
        let action = json!({"filter": {}, "rate_per_s": 0.001});
        let begun = site.post("/v1/dead/delete", action.to_string()).await.json();
        let path = format!("/v1/operations/{}", begun["id"].as_str().unwrap());
        let first_gone = async {
            while site.get(&path).await.json()["done"] != 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), first_gone).await.expect("the first one goes at once");
        let cancelled = site.ask(Method::DELETE, &path, &[], "").await;
        assert_eq!(cancelled.status, StatusCode::OK);
        let operation = cancelled.json();
        assert_eq!((&operation["state"], counts(&operation)), (&"cancelled".into(), [1, 1, 1, 0]));
        assert_eq!(shelf.buried("high").len(), 2);
        assert_eq!(site.ask(Method::DELETE, &path, &[], "").await.json()["state"], "cancelled", "again, it stays");
    }
    let (site, _shelf) = site(true).await;
    assert_eq!(site.get("/v1/operations/nope").await.code(), "operation_not_found");
}

#[tokio::test]
async fn an_operation_without_a_broker_fails_and_says_why() {
    let (site, shelf) = site(true).await;
    shelf.away.store(true, std::sync::atomic::Ordering::Relaxed);
    let begun = site.post("/v1/dead/delete", "{}").await;
    let failed = ended(&site, &begun.json()).await;
    assert_eq!(
        (&failed["state"], failed["error"].as_str()),
        (&"failed".into(), Some("broker not available: gone fishing"))
    );
    assert_eq!(site.get("/v1/dead").await.code(), "broker_unavailable");
    assert_eq!(site.get("/v1/dead/a").await.code(), "broker_unavailable");
}

#[tokio::test]
async fn at_most_eight_operations_run_at_a_time() {
    let (site, _shelf) = site(true).await;
    let slow = json!({"rate_per_s": 0.001}).to_string();
    for _ in 0..8 {
        assert_eq!(site.post("/v1/dead/delete", slow.clone()).await.status, StatusCode::ACCEPTED);
    }
    assert_eq!(site.post("/v1/dead/delete", slow).await.code(), "busy");
}

#[tokio::test]
async fn an_action_that_makes_no_sense_is_refused_with_its_fields() {
    let (site, shelf) = site(true).await;
    for (body, code, field) in [
        ("", "invalid_json", None),
        ("{", "invalid_json", None),
        ("[]", "invalid_body", Some("")),
        (r#"{"filter": []}"#, "invalid_body", Some("filter")),
        (r#"{"filter": null}"#, "invalid_body", Some("filter")),
        (r#"{"filter": {"reason": "nope"}}"#, "invalid_body", Some("filter.reason")),
        (r#"{"filter": {"queue": "nope"}}"#, "invalid_body", Some("filter.queue")),
        (r#"{"filter": {"queues": "high"}}"#, "invalid_body", Some("filter.queues")),
        (r#"{"filters": {"queue": "high"}}"#, "invalid_body", Some("filters")),
        (r#"{"dry_run": 1}"#, "invalid_body", Some("dry_run")),
        (r#"{"limit": 0}"#, "invalid_body", Some("limit")),
        (r#"{"limit": 9223372036854775808}"#, "invalid_body", Some("limit")),
        (r#"{"rate_per_s": 0}"#, "invalid_body", Some("rate_per_s")),
        (r#"{"rate_per_s": 1e300}"#, "invalid_body", Some("rate_per_s")),
    ] {
        let answer = site.post("/v1/dead/delete", body).await;
        assert_eq!(answer.code(), code, "{body}");
        if let Some(field) = field {
            assert_eq!(answer.json()["errors"][0]["field"], field, "{body}: {}", answer.text);
        }
    }
    assert_eq!(site.ask(Method::POST, "/v1/dead/delete", &[], "{}").await.code(), "unsupported_media_type");
    assert_eq!(shelf.buried("high").len(), 3, "a misspelt filter must not mean all");
}

#[tokio::test]
async fn listings_wait_for_each_other_where_looking_hides() {
    let (site, _shelf) = site(false).await;
    let site = Arc::new(site);
    let both: Vec<_> = (0..10)
        .map(|_| {
            let site = site.clone();
            tokio::spawn(async move { pages(&site, "limit=500").await.concat().concat() })
        })
        .collect();
    for listing in both {
        assert_eq!(listing.await.unwrap(), "abcdef");
    }
}

#[tokio::test]
async fn the_smallest_rate_is_a_rate() {
    let (site, _shelf) = site(true).await;
    let begun = site.post("/v1/dead/delete", json!({"rate_per_s": 5e-324}).to_string()).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
}

#[tokio::test]
async fn who_replays_the_same_letter_at_the_same_time_replays_it_once() {
    for positions in [true, false] {
        let (site, shelf) = site(positions).await;
        let replay = || site.post("/v1/dead/c/replay", "");
        let (one, two, three) = tokio::join!(replay(), replay(), replay());
        let mut told = [one, two, three].map(|answer| answer.status.as_u16());
        told.sort_unstable();
        assert_eq!((told, shelf.queued("high")), ([200, 404, 404], vec!["c".to_owned()]));
    }
}

/// Takes six seconds: the operation hides letters for five at a time.
#[tokio::test]
async fn a_slow_operation_lets_others_look_in_between_and_counts_each_letter_once() {
    let shelf = Shelf::new(false);
    for i in 0..10 {
        let reason = if i < 3 { "permanent" } else { "max_attempts" };
        shelf.bury("low", letter(&format!("t-{i}"), reason, "http://h/", 1000 + i));
    }
    let site = Site::over("", shelf.clone()).await;
    let action = json!({"filter": {"queue": "low", "reason": "max_attempts"}, "rate_per_s": 1});
    let begun = site.post("/v1/dead/replay", action.to_string()).await.json();
    let looked = site.get("/v1/dead?queue=low").await.json();
    assert!(keys(&looked).starts_with(&["t-0", "t-1", "t-2"]), "{looked}");
    let done = ended(&site, &begun).await;
    assert_eq!((&done["state"], counts(&done)), (&"done".into(), [10, 7, 7, 0]));
    assert_eq!((shelf.queued("low").len(), shelf.buried("low").len()), (7, 3));
}
