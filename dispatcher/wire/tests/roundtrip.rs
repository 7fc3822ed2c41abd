//! What is written is read again, by both codecs and in both forms; and nothing that comes makes decoding panic.

use bytes::Bytes;
use proptest::{collection::btree_map, collection::vec, option, prelude::*};
use quebert_wire::{
    Binary, Codec, Codecs, Decoded, Envelope, EnvelopeRetry, Form, HeaderValue, HeaderValues, Headers, Json, JsonCodec,
    Limits, Message, MessagePackCodec, TaskId, Timestamp, decode,
};

const NOW: Timestamp = Timestamp::from_millis(1_795_424_400_000);

fn read(message: &Message) -> Result<Decoded, quebert_wire::DecodeError> {
    decode(message, &Codecs::default(), &Limits::default(), NOW, || TaskId::v7(NOW, [7; 10]))
}

#[derive(Debug, Clone)]
enum Body {
    None,
    Json(String),
    Text(String),
    Binary(Vec<u8>),
}

fn bodies() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::None),
        "[ -~]{0,20}".prop_map(|s| Body::Json(format!("{{ \"k\" :{}}}", serde_json::json!(s)))),
        Just(Body::Json("null".into())),
        "\\PC{0,40}".prop_map(Body::Text),
        vec(any::<u8>(), 0..100).prop_map(Body::Binary),
    ]
}

fn headers() -> impl Strategy<Value = std::collections::BTreeMap<String, HeaderValues>> {
    let value = || "[!-~é]([ -~]{0,10}[!-~])?";
    let values = prop_oneof![value().prop_map(HeaderValues::One), vec(value(), 1..3).prop_map(HeaderValues::Many)];
    btree_map("x-[a-z]{1,8}|content-type", values, 0..4)
}

fn retries() -> impl Strategy<Value = EnvelopeRetry> {
    let ms = || option::of(0..34_560_000_000_u64);
    (option::of(1..u32::MAX), ms(), ms(), option::of(vec(0..1_000_000_u64, 1..5))).prop_map(
        |(n, age, min, schedule)| EnvelopeRetry {
            max_attempts: n,
            max_age_ms: age,
            backoff_min_ms: min,
            backoff_max_ms: min,
            schedule_ms: schedule,
        },
    )
}

prop_compose! {
    fn envelopes()(
        path in "[a-z0-9/]{0,20}",
        id in option::of("[!-~]{1,128}"),
        method in option::of("GET|PUT|PURGE"),
        headers in headers(),
        body in bodies(),
        created in option::of(0..1_795_424_400_000_i64),
        delay in option::of(0..1_000_000_u64),
        ttl in option::of(1_000_001..34_560_000_000_u64),
        timeout in option::of(1..86_400_000_u64),
        retry in option::of(retries()),
        names in (option::of("[ -~é]{1,60}"), option::of("[a-z]{1,60}")),
        labels in btree_map("[ -~é]{1,20}", "\\PC{0,20}", 0..3),
    ) -> Envelope {
        let mut e = Envelope {
            id, method, headers, delay_ms: delay, ttl_ms: ttl, timeout_ms: timeout, retry, labels,
            created_at: created.map(Timestamp::from_millis),
            queue: names.0, flow_key: names.1,
            callback: ttl.map(|n| format!("https://c.example/{n}")),
            ..Envelope::new(format!("http://a.example/{path}"))
        };
        match body {
            Body::None => {}
            Body::Json(text) => e.body = Some(Json::new(text).expect("the strategy writes JSON")),
            Body::Text(text) => e.body_text = Some(text),
            Body::Binary(bytes) => e.body_base64 = Some(Binary(bytes.into())),
        }
        e
    }
}

/// All that a task is, so that tasks can be compared.
fn facts(d: Decoded) -> String {
    let t = d.task;
    let mut headers: Vec<_> = t.headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
    // Their order across names means nothing; within a name it stays.
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    format!(
        "{} {} {} {} {headers:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        t.id,
        t.id_given,
        t.url,
        t.method,
        t.body,
        t.created_at,
        t.not_before,
        t.expires_at,
        t.timeout,
        t.retry,
        t.queue,
        t.flow_key,
        t.callback,
        t.labels,
        d.unknown_fields
    )
}

fn values() -> impl Strategy<Value = HeaderValue> {
    let leaf = prop_oneof![
        Just(HeaderValue::Null),
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<i64>().prop_map(HeaderValue::Int),
        any::<f64>().prop_map(HeaderValue::Float),
        "\\PC{0,20}|[0-9]{1,22}|http://[a-z:@/.\\[\\]]{0,10}".prop_map(HeaderValue::Text),
        vec(any::<u8>(), 0..20).prop_map(|b| HeaderValue::Bytes(b.into())),
        any::<i64>().prop_map(|ms| HeaderValue::Timestamp(Timestamp::from_millis(ms))),
    ];
    prop_oneof![4 => leaf.clone(), 1 => vec(leaf, 0..3).prop_map(HeaderValue::List)]
}

fn message_headers() -> impl Strategy<Value = Headers> {
    let name = "quebert-(url|method|created-at|not-before|delay-ms|expires-at|ttl-ms|timeout-ms|max-attempts|\
                schedule-ms|queue|callback|h-[a-z]{0,3}|label-\\PC{0,3}|attempts|due-at|enqueued-at|id|\\PC{0,5})";
    btree_map(name, values(), 0..8)
}

proptest! {
    #[test]
    fn what_a_codec_writes_is_the_same_task_in_every_form(envelope in envelopes()) {
        prop_assert_eq!(envelope.check(&Limits::default()), Ok(()));
        let task = |form| read(&envelope.to_message(form).expect("can be written")).map(facts);
        let json = task(Form::Envelope(&JsonCodec));
        prop_assert!(json.is_ok(), "{:?}", json);
        prop_assert_eq!(&task(Form::Envelope(&MessagePackCodec)), &json);
        prop_assert_eq!(&task(Form::Raw), &json);
    }

    #[test]
    fn json_gives_the_same_envelope_back(envelope in envelopes()) {
        let bytes = JsonCodec.encode(&envelope).expect("can be written");
        prop_assert_eq!(JsonCodec.decode(&bytes).expect("can be read"), envelope.clone());
        prop_assert_eq!(serde_json::from_slice::<Envelope>(&bytes).expect("can be read"), envelope);
    }

    #[test]
    fn raw_bodies_arrive_as_they_are(body in vec(any::<u8>(), 0..2000)) {
        let headers = Headers::from([("quebert-url".to_owned(), HeaderValue::Text("http://a/".into()))]);
        let message = Message { headers, body: body.clone().into(), ..Message::default() };
        prop_assert_eq!(&read(&message).expect("is a task").task.body[..], &body[..]);
    }

    #[test]
    fn no_bytes_make_it_panic(
        body in vec(any::<u8>(), 0..300),
        msgpack in any::<bool>(),
        headers in message_headers(),
        id in option::of("\\PC{0,10}"),
        timestamp in option::of(any::<i64>()),
    ) {
        let content_type = msgpack.then(|| "application/msgpack".to_owned());
        let timestamp = timestamp.map(Timestamp::from_millis);
        let message = Message { id, content_type, timestamp, headers, body: body.into(), ..Message::default() };
        let _ = read(&message);
    }

    #[test]
    fn no_damage_makes_it_panic(envelope in envelopes(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for codec in [&JsonCodec as &dyn Codec, &MessagePackCodec] {
            let mut message = envelope.to_message(Form::Envelope(codec)).expect("can be written");
            let mut bytes = message.body.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            message.body = Bytes::from(bytes);
            let _ = read(&message);
        }
    }

    #[test]
    fn any_json_url_is_taken_or_refused(url in "(http|HTTPS|ftp)?(:|://)?[a-zA-Z0-9.:@\\[\\]%_/?#-]{0,30}") {
        let message = Message { body: serde_json::json!({"url": url}).to_string().into(), ..Message::default() };
        if let Ok(Decoded { task, .. }) = read(&message) {
            let again: quebert_wire::Destination = task.destination.as_str().parse().expect("an origin is a URL");
            prop_assert_eq!(&again, &task.destination);
            prop_assert!(again.port() > 0 && !again.host().is_empty());
        }
    }
}

#[test]
fn nesting_does_not_overflow_the_stack() {
    let deep = |open: &str, n: usize| format!("{{\"url\": \"http://a/\", \"body\": {}", open.repeat(n));
    for open in ["[", "{\"a\":"] {
        let message = Message { body: deep(open, 200_000).into(), ..Message::default() };
        assert!(read(&message).is_err());
    }
    // {"body": [[[[...
    let mut bytes = b"\x81\xa4body".to_vec();
    bytes.resize(200_000, 0x91);
    let message =
        Message { content_type: Some("application/msgpack".into()), body: bytes.into(), ..Message::default() };
    assert!(read(&message).is_err());
}

#[test]
fn messagepack_bodies_are_sent_as_bytes_or_as_the_json_of_the_same_value() {
    #[track_caller]
    fn check(body: &[u8], expect: Result<(&[u8], Option<&str>), &str>) {
        let bytes = [b"\x82\xa3url\xa9http://a/\xa4body", body].concat();
        let message =
            Message { content_type: Some("application/msgpack".into()), body: bytes.into(), ..Message::default() };
        let got = read(&message).map(|d| d.task).map_err(|e| e.to_string());
        let got = got.as_ref().map(|t| (&t.body[..], t.headers.get("content-type").map(|v| v.to_str().unwrap())));
        assert_eq!(got, expect.map_err(|e| format!("msgpack: field \"body\": {e}")).as_ref().map(|t| *t));
    }
    let json = Some("application/json");
    check(b"\xc4\x03\x00\xff\x0a", Ok((b"\x00\xff\x0a", None)));
    check(b"\xa3a\"b", Ok((br#""a\"b""#, json)));
    check(b"\xc0", Ok((b"null", json)));
    check(b"\x94\x01\xff\xc3\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", Ok((b"[1,-1,true,1.5]", json)));
    check(
        b"\x83\xa1b\x90\x07\x80\xa1a\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        Ok((br#"{"b":[],"7":{},"a":18446744073709551615}"#, json)),
    );
    check(b"\x91\xc4\x01a", Err("binary data within the body, which JSON can't say"));
    check(b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", Err("a number that is not finite"));
}
