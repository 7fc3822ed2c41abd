//! Golden files: every form of message that was ever released is read for ever, and means what it meant.
//!
//! `golden/v1/NAME.{json,msgpack,raw.json}` is a message, `NAME.EXTENSION.task` what it must decode to. With
//! `UPDATE_GOLDEN=1` missing expectations are written; an existing one is never changed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use quebert_wire::{Codecs, Decoded, HeaderValue, Headers, Limits, Message, TaskId, Timestamp, decode};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

const NOW: Timestamp = Timestamp::from_millis(1_795_424_500_000);

#[test]
fn golden_files_mean_what_they_meant() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1");
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".task") {
            continue;
        }
        let message = message(&name, fs::read(&path).unwrap());
        let decoded = decode(&message, &Codecs::default(), &Limits::default(), NOW, || TaskId::v7(NOW, [7; 10]));
        let got = facts(&decoded.unwrap_or_else(|e| panic!("{name}: {e}")));
        let expectation = dir.join(format!("{name}.task"));
        if !expectation.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expectation, &got).unwrap();
        }
        let expect = fs::read_to_string(&expectation).unwrap_or_else(|e| panic!("{name}.task: {e}"));
        assert_eq!(got, expect, "{name}");
        seen.insert(name);
    }
    assert!(seen.len() >= 9, "golden files were removed: {seen:?}");
}

fn message(name: &str, bytes: Vec<u8>) -> Message {
    if name.ends_with(".raw.json") {
        return raw(&serde_json::from_slice(&bytes).expect("a raw message is a JSON file"));
    }
    let content_type = if name.ends_with(".msgpack") { "application/msgpack" } else { "application/json" };
    Message { content_type: Some(content_type.to_owned()), body: bytes.into(), ..Message::default() }
}

fn raw(file: &Value) -> Message {
    let text = |name: &str| file[name].as_str().map(str::to_owned);
    let headers = file["headers"].as_object().expect("headers are a map");
    Message {
        id: text("id"),
        content_type: text("content_type"),
        timestamp: file["timestamp_s"].as_i64().map(|s| Timestamp::from_millis(s * 1000)),
        headers: headers.iter().map(|(n, v)| (n.clone(), header(v))).collect::<Headers>(),
        body: STANDARD
            .decode(file["body_base64"].as_str().expect("the body is text"))
            .expect("the body is base64")
            .into(),
        ..Message::default()
    }
}

fn header(value: &Value) -> HeaderValue {
    match value {
        Value::Number(n) => HeaderValue::Int(n.as_i64().expect("AMQP integers are signed")),
        Value::String(s) => HeaderValue::Text(s.clone()),
        Value::Array(list) => HeaderValue::List(list.iter().map(header).collect()),
        other => panic!("no header: {other}"),
    }
}

/// All that was decoded, a line each.
fn facts(d: &Decoded) -> String {
    let t = &d.task;
    let headers: Vec<_> = t.headers.iter().map(|(n, v)| format!("{n}: {}", v.as_bytes().escape_ascii())).collect();
    let retry = &t.retry;
    [
        format!("{} {}", t.method, t.url),
        format!("destination: {}", t.destination),
        format!("id: {} (given: {})", t.id, t.id_given),
        format!("headers: {headers:?}"),
        format!("body: {}", t.body.escape_ascii()),
        format!("created_at: {:?}", t.created_at.map(Timestamp::as_millis)),
        format!("enqueued_at: {:?}", d.enqueued_at.map(Timestamp::as_millis)),
        format!("not_before: {:?}", t.not_before.map(Timestamp::as_millis)),
        format!("expires_at: {:?}", t.expires_at.map(Timestamp::as_millis)),
        format!("timeout: {:?}", t.timeout),
        format!("max_attempts: {:?}, max_age: {:?}", retry.max_attempts, retry.max_age),
        format!("backoff: {:?} to {:?}, schedule: {:?}", retry.backoff_min, retry.backoff_max, retry.schedule),
        format!("queue: {:?}, flow_key: {:?}", t.queue, t.flow_key),
        format!("callback: {:?}", t.callback.as_ref().map(ToString::to_string)),
        format!("labels: {:?}", t.labels),
        format!("attempts: {}, unknown: {:?}", d.book.attempts, d.unknown_fields),
        String::new(),
    ]
    .join("\n")
}
