//! The committed JSON Schema is the type's own, and says what the type does. `UPDATE_SCHEMA=1` writes it anew.

use quebert_wire::{Envelope, Limits, envelope_schema};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_committed_schema_is_the_types() {
    let path = root().join("schema/envelope.schema.json");
    let text = serde_json::to_string_pretty(&envelope_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == text, "stale: run UPDATE_SCHEMA=1 cargo test -p quebert-wire");
}

#[test]
fn golden_envelopes_pass_the_schema() {
    let validator = jsonschema::validator_for(&envelope_schema()).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(root().join("golden/v1")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap();
        if name.ends_with(".json") && !name.ends_with(".raw.json") {
            let instance: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert!(
                validator.is_valid(&instance),
                "{name}: {:?}",
                validator.iter_errors(&instance).collect::<Vec<_>>()
            );
            count += 1;
        }
    }
    assert!(count >= 4);
}

#[test]
fn schema_and_type_agree() {
    let validator = jsonschema::validator_for(&envelope_schema()).unwrap();
    let check = |fields: Value, expect: bool| {
        let mut instance = json!({"url": "http://a/"});
        instance.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        // As text, since that is what comes in.
        let by_type = serde_json::from_str::<Envelope>(&instance.to_string())
            .is_ok_and(|envelope| envelope.check(&Limits::default()).is_ok());
        assert_eq!((validator.is_valid(&instance), by_type), (expect, expect), "(schema, type) of {instance}");
    };
    for good in [
        json!({}),
        json!({"url": "HTTPS://Example.com:1/x?y#z"}),
        json!({"id": "a.b~", "method": "PURGE", "headers": {"a": "1", "b": ["2", "3"]}}),
        json!({"body": null}),
        json!({"body": null, "body_text": null}),
        json!({"body_base64": "AAH/", "not_before": "2026-11-23T10:00:00Z", "ttl_ms": 1}),
        json!({"body_base64": "AAE", "expires_at": 5, "delay_ms": 0, "created_at": 0}),
        json!({"timeout_ms": 86_400_000, "delay_ms": 34_560_000_000_u64}),
        json!({"timeout_ms": 1000.0}),
        json!({"retry": {"max_attempts": 1, "schedule_ms": [0]}}),
        json!({"retry": {}, "headers": {}, "labels": {}}),
        json!({"id": null, "method": null, "headers": null, "retry": null, "labels": null, "callback": null, "ttl_ms": null}),
        json!({"labels": {"a": ""}, "queue": "q", "flow_key": "ü", "callback": "https://b"}),
    ] {
        check(good, true);
    }
    for bad in [
        json!({"url": null}),
        json!({"url": 1}),
        json!({"url": "ftp://a/"}),
        json!({"url": "http:///x"}),
        json!({"url": "http://u:p@a/"}),
        json!({"nope": 1}),
        json!({"retry": {"nope": 1}}),
        json!({"id": ""}),
        json!({"id": "a b"}),
        json!({"id": "x".repeat(129)}),
        json!({"id": 1}),
        json!({"method": "A B"}),
        json!({"method": ""}),
        json!({"headers": {"a": 1}}),
        json!({"headers": []}),
        json!({"body": 1, "body_text": ""}),
        json!({"body": null, "body_base64": ""}),
        json!({"body_text": "", "body_base64": ""}),
        json!({"body_text": 1}),
        json!({"body_base64": "*"}),
        json!({"not_before": 1, "delay_ms": 1}),
        json!({"expires_at": 1, "ttl_ms": 1}),
        json!({"created_at": -1}),
        json!({"created_at": 253_402_300_800_000_u64}),
        json!({"created_at": 1.5}),
        json!({"delay_ms": -1}),
        json!({"delay_ms": 0.5}),
        json!({"delay_ms": 34_560_000_001_u64}),
        json!({"ttl_ms": 0}),
        json!({"timeout_ms": 0}),
        json!({"timeout_ms": 86_400_001}),
        json!({"timeout_ms": "1"}),
        json!({"retry": {"max_attempts": 0}}),
        json!({"retry": {"max_attempts": 4_294_967_296_u64}}),
        json!({"retry": {"schedule_ms": []}}),
        json!({"retry": {"schedule_ms": vec![1; 101]}}),
        json!({"retry": {"schedule_ms": [-1]}}),
        json!({"retry": {"max_age_ms": 34_560_000_001_u64}}),
        json!({"queue": ""}),
        json!({"queue": "q".repeat(256)}),
        json!({"flow_key": "q".repeat(257)}),
        json!({"callback": "mailto:a@b"}),
        json!({"labels": {"": "x"}}),
        json!({"labels": {"x": "v".repeat(257)}}),
        json!({"labels": {"x": 1}}),
        json!({"labels": (0..65).map(|i| (format!("l{i}"), json!(""))).collect::<serde_json::Map<_, _>>()}),
    ] {
        check(bad, false);
    }
}
