//! Claims about decoding: forms, ids, moments, and every limit with its error text.

use quebert_wire::{
    Codecs, DecodeError, Decoded, Envelope, HeaderValue, Headers, JsonCodec, Limits, Message, TaskId, Timestamp,
    ViolationKind, decode,
};

const NOW: Timestamp = Timestamp::from_millis(1_795_424_400_000);

fn read(message: &Message) -> Result<Decoded, DecodeError> {
    decode(message, &Codecs::default(), &Limits::default(), NOW, || TaskId::v7(NOW, [7; 10]))
}

fn json(text: &str) -> Message {
    Message { body: text.to_owned().into(), ..Message::default() }
}

fn raw(headers: &[(&str, HeaderValue)], body: &'static [u8]) -> Message {
    let mut headers: Headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    headers.entry("quebert-url".into()).or_insert(HeaderValue::Text("http://a/".into()));
    Message { headers, body: body.into(), ..Message::default() }
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::Text(text.to_owned())
}

/// An envelope with a valid URL and these fields.
fn with(fields: &str) -> Message {
    json(&format!(r#"{{"url": "http://a/", {fields}}}"#))
}

#[track_caller]
fn refused(message: &Message, expect: &str) {
    let error = match read(message) {
        Ok(_) => panic!("was taken, but should be refused: {expect}"),
        Err(DecodeError::Undecodable(text)) => format!("undecodable: {text}"),
        Err(DecodeError::NotAllowed(text)) => format!("not allowed: {text}"),
        Err(other) => panic!("{other}"),
    };
    // The position that follows is serde_json's business.
    assert_eq!(error.split(" at line ").next(), Some(expect));
}

#[test]
fn a_url_is_a_task() {
    let task = read(&json(r#"{"url": "http://host/path"}"#)).unwrap().task;
    assert_eq!((task.method.as_str(), task.destination.as_str()), ("POST", "http://host:80"));
    assert!(task.headers.is_empty() && task.body.is_empty() && !task.id_given);
}

#[test]
fn a_json_body_arrives_byte_for_byte_and_shares_the_message() {
    let message = with(r#""body":  {"b" : 1.0, "a":[ ],"b":2} "#);
    let task = read(&message).unwrap().task;
    assert_eq!(&task.body[..], br#"{"b" : 1.0, "a":[ ],"b":2}"#);
    assert_eq!(task.headers["content-type"], "application/json");
    assert!(message.body.as_ptr_range().contains(&task.body.as_ptr()), "the body was copied");
    let null = read(&with(r#""body": null"#)).unwrap().task;
    assert_eq!(&null.body[..], b"null");
}

#[test]
fn each_kind_of_body_has_its_content_type_unless_the_user_names_one() {
    let content_type = |fields: &str| {
        let task = read(&with(fields)).unwrap().task;
        task.headers.get("content-type").map(|v| v.to_str().unwrap().to_owned())
    };
    assert_eq!(content_type(r#""body_text": "x""#).as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(content_type(r#""body_base64": "AP8""#), None);
    assert_eq!(content_type(r#""body": 1, "headers": {"Content-Type": "a/b"}"#).as_deref(), Some("a/b"));
    assert_eq!(&read(&with(r#""body_base64": "AP8=""#)).unwrap().task.body[..], [0, 255]);
}

#[test]
fn id_is_the_envelopes_then_the_messages_then_the_noted_then_a_new_one() {
    let id = |fields: &str, message_id: Option<&str>, noted: bool| {
        let mut message = with(&format!("{fields} \"method\": \"PUT\""));
        message.id = message_id.map(str::to_owned);
        if noted {
            message.headers.insert("quebert-id".into(), text("noted"));
        }
        let task = read(&message).unwrap().task;
        (task.id.to_string(), task.id_given)
    };
    assert_eq!(id(r#""id": "mine","#, Some("message"), true), ("mine".into(), true));
    assert_eq!(id("", Some("message"), true), ("message".into(), true));
    assert_eq!(id("", Some(""), true), ("noted".into(), false));
    assert_eq!(id("", None, false), (TaskId::v7(NOW, [7; 10]).to_string(), false));
}

#[test]
fn relative_moments_count_from_the_enqueue_time() {
    let fields = r#""delay_ms": 1000, "ttl_ms": 5000"#;
    let moments = |message: &Message| {
        let d = read(message).unwrap();
        (d.task.not_before.unwrap().as_millis(), d.task.expires_at.unwrap().as_millis(), d.enqueued_at)
    };
    let now = NOW.as_millis();
    assert_eq!(moments(&with(fields)), (now + 1000, now + 5000, None));
    let created = with(&format!(r#"{fields}, "created_at": 10000"#));
    assert_eq!(moments(&created), (11_000, 15_000, Some(Timestamp::from_millis(10_000))));
    let mut noted = created.clone();
    noted.headers.insert("quebert-enqueued-at".into(), HeaderValue::Int(20_000));
    assert_eq!(moments(&noted), (21_000, 25_000, Some(Timestamp::from_millis(20_000))));
}

#[test]
fn a_timestamp_cut_to_seconds_makes_nothing_early_on_any_delivery() {
    let mut message = with(r#""delay_ms": 1000, "ttl_ms": 5000"#);
    message.timestamp = Some(Timestamp::from_millis(30_000));
    let first = read(&message).unwrap();
    assert_eq!(first.task.not_before, Some(Timestamp::from_millis(31_999)));
    assert_eq!(first.task.expires_at, Some(Timestamp::from_millis(35_000)));
    let book = quebert_wire::Bookkeeping { enqueued_at: first.enqueued_at, ..first.book };
    book.write(&mut message.headers);
    assert_eq!(read(&message).unwrap().task.not_before, first.task.not_before);
}

#[test]
fn a_task_that_somebody_had_sent_at_once_does_not_wait_for_its_moment_again() {
    let mut message = with(r#""not_before": 1795430000000"#);
    assert!(read(&message).unwrap().task.not_before.is_some());
    quebert_wire::Bookkeeping { run_now: true, ..Default::default() }.write(&mut message.headers);
    let decoded = read(&message).unwrap();
    assert_eq!(decoded.task.not_before, None);
    assert!(decoded.book.run_now, "the note stays for its next copies");
}

#[test]
fn unknown_fields_are_named_up_to_eight_and_ignored() {
    let d = read(&with(r#""prio": {"x": [1]}, "retry": {"tries": 1, "max_attempts": 2}"#)).unwrap();
    assert_eq!(d.unknown_fields, ["prio", "retry.tries"]);
    assert_eq!(d.task.retry.max_attempts, Some(2));
    let many: Vec<_> = (0..20).map(|i| format!("\"f{i}\": 0")).collect();
    assert_eq!(read(&with(&many.join(","))).unwrap().unknown_fields.len(), 8);
    assert_eq!(read(&raw(&[("quebert-prio", text("1"))], b"")).unwrap().unknown_fields, ["quebert-prio"]);
}

#[test]
fn reserved_headers_are_left_out_here_and_refused_by_the_strict_check() {
    let reserved = [
        "Host",
        "connection",
        "Content-Length",
        "transfer-encoding",
        "te",
        "upgrade",
        "Quebert-Attempt",
        "webhook-id",
        "signature",
        "signature-input",
        "content-digest",
        "Idempotency-Key",
        "traceparent",
        "tracestate",
        "baggage",
    ];
    for name in reserved {
        let message = with(&format!(r#""headers": {{"{name}": "x", "x-mine": ["1", "2"]}}"#));
        let headers = read(&message).unwrap().task.headers;
        assert_eq!(
            headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect::<Vec<_>>(),
            ["x-mine=1", "x-mine=2"]
        );
        let envelope: Envelope = serde_json::from_slice(&message.body).unwrap();
        let violations = envelope.check(&Limits::default()).unwrap_err();
        assert_eq!((violations.len(), violations[0].kind), (1, ViolationKind::Reserved));
        assert_eq!(violations[0].field, format!("headers.{name}"));
    }
}

#[test]
fn raw_form_is_binary_safe_and_reads_numbers_as_numbers_or_text() {
    let headers = [
        ("quebert-method", text("put")),
        ("quebert-delay-ms", text("1500")),
        ("quebert-ttl-ms", HeaderValue::Int(9000)),
        ("quebert-max-attempts", text("3")),
        ("quebert-schedule-ms", text("1, 2")),
        ("quebert-expires-at", HeaderValue::Null),
        ("quebert-h-X-Mine", HeaderValue::List(vec![text("1"), text("2")])),
        ("quebert-label-team", text("blue")),
        ("x-other", HeaderValue::Bool(true)),
    ];
    let mut message = raw(&headers, &[0, 0xff, b'\n']);
    message.content_type = Some("image/png".into());
    let Decoded { task, unknown_fields, .. } = read(&message).unwrap();
    assert_eq!((task.method.as_str(), &task.body[..]), ("PUT", &[0, 0xff, b'\n'][..]));
    assert_eq!(task.not_before.unwrap().since(NOW).as_millis(), 1500);
    assert_eq!(task.expires_at.unwrap().since(NOW).as_millis(), 9000);
    assert_eq!((task.retry.max_attempts, task.retry.schedule.unwrap().len()), (Some(3), 2));
    assert_eq!(task.headers.get_all("x-mine").iter().count(), 2);
    assert_eq!((&task.headers["content-type"], task.labels["team"].as_str()), (&"image/png".parse().unwrap(), "blue"));
    assert!(unknown_fields.is_empty());
}

#[test]
fn raw_errors_name_the_header() {
    let one = |name, value| raw(&[(name, value)], b"");
    refused(
        &one("quebert-delay-ms", text("-1")),
        "undecodable: header \"quebert-delay-ms\": must be a whole number from 0",
    );
    refused(
        &one("quebert-timeout-ms", HeaderValue::Int(0)),
        "undecodable: header \"quebert-timeout-ms\": 0, at least 1 is needed",
    );
    refused(
        &one("quebert-max-attempts", text("0")),
        "undecodable: header \"quebert-max-attempts\": 0, at least 1 is needed",
    );
    refused(&one("quebert-h-x", text("a\r\nb")), "undecodable: header \"quebert-h-x\": has a control character");
    refused(
        &one("quebert-url", text("ftp://a/")),
        "not allowed: header \"quebert-url\": the scheme must be http or https",
    );
    refused(&one("quebert-url", HeaderValue::Null), "undecodable: header \"quebert-url\": must be text");
}

#[test]
fn every_limit_is_named_with_its_field() {
    refused(
        &with(&format!(r#""id": "{}""#, "x".repeat(129))),
        "undecodable: field \"id\": 129 bytes, at most 128 are allowed",
    );
    refused(&with(r#""method": "trace""#), "not allowed: field \"method\": must not be CONNECT or TRACE");
    refused(&with(r#""method": "A B""#), "undecodable: field \"method\": is not an HTTP method");
    refused(
        &with(r#""timeout_ms": 86400001"#),
        "not allowed: field \"timeout_ms\": 86400001, at most 86400000 is allowed",
    );
    refused(
        &with(r#""delay_ms": 34560000001"#),
        "not allowed: field \"delay_ms\": 34560000001, at most 34560000000 is allowed",
    );
    refused(
        &with(r#""not_before": "2099-01-01T00:00:00Z""#),
        "not allowed: field \"not_before\": more than 400 days from now",
    );
    refused(
        &with(r#""not_before": 5, "expires_at": 5"#),
        "undecodable: field \"expires_at\": must be later than \"not_before\"",
    );
    refused(
        &with(r#""not_before": 5, "delay_ms": 5"#),
        "undecodable: field \"not_before\": only one of \"not_before\" and \"delay_ms\" is allowed",
    );
    refused(
        &with(r#""retry": {"max_attempts": 0}"#),
        "undecodable: field \"retry.max_attempts\": 0, at least 1 is needed",
    );
    refused(
        &with(r#""retry": {"schedule_ms": []}"#),
        "undecodable: field \"retry.schedule_ms\": no entries, at least 1 is needed",
    );
    refused(
        &with(r#""retry": {"backoff_min_ms": 2, "backoff_max_ms": 1}"#),
        "undecodable: field \"retry.backoff_max_ms\": must not be less than \"retry.backoff_min_ms\"",
    );
    refused(
        &with(&format!(r#""queue": "{}""#, "q".repeat(256))),
        "not allowed: field \"queue\": 256 bytes, at most 255 are allowed",
    );
    refused(
        &with(&format!(r#""flow_key": "{}""#, "q".repeat(257))),
        "not allowed: field \"flow_key\": 257 bytes, at most 256 are allowed",
    );
    refused(&with(r#""callback": "http://u:p@a/""#), "not allowed: field \"callback\": must not hold credentials");
    refused(
        &with(r#""body": 1, "body_text": "x""#),
        "undecodable: field \"body\": only one of \"body\", \"body_text\" and \"body_base64\" is allowed",
    );
    refused(&with(r#""headers": {"a b": "x"}"#), "undecodable: field \"headers.a b\": is not a header name");
    refused(&with(r#""headers": {"x": "a\r\nevil: 1"}"#), "undecodable: field \"headers.x\": has a control character");
    let many: Vec<_> = (0..1000).map(|i| format!("\"h{i}\": \"\"")).collect();
    refused(
        &with(&format!(r#""headers": {{{}}}"#, many.join(","))),
        "not allowed: field \"headers\": 1000 entries, at most 100 are allowed",
    );
    refused(
        &with(&format!(r#""headers": {{"x": "{}"}}"#, "v".repeat(32_768))),
        "not allowed: field \"headers\": 32769 bytes, at most 32768 are allowed",
    );
    refused(
        &with(&format!(r#""body_text": "{}""#, "v".repeat(1_048_577))),
        "not allowed: field \"body_text\": 1048577 bytes, at most 1048576 are allowed",
    );
    let labels: Vec<_> = (0..65).map(|i| format!("\"l{i}\": \"\"")).collect();
    refused(
        &with(&format!(r#""labels": {{{}}}"#, labels.join(","))),
        "not allowed: field \"labels\": 65 entries, at most 64 are allowed",
    );
    refused(
        &json(&format!(r#"{{"url": "http://a/{}"}}"#, "x".repeat(2083))),
        "not allowed: field \"url\": 2092 bytes, at most 2083 are allowed",
    );
    refused(&json(r#"{"url": "file:///etc/passwd"}"#), "not allowed: field \"url\": the scheme must be http or https");
    refused(&json(r#"{"url": "http://u:p@a/"}"#), "not allowed: field \"url\": must not hold credentials");
    refused(
        &json(r#"{"url": "http://a/ü"}"#),
        "undecodable: field \"url\": has a character that must be percent-encoded (or punycode in the host)",
    );
}

#[test]
fn shape_errors_name_the_field_and_tell_no_text() {
    refused(&json("{}"), "undecodable: json: field \"url\": missing");
    refused(&json("[]"), "undecodable: json: invalid type: sequence, expected a task envelope: a map with a \"url\"");
    refused(
        &with(r#""timeout_ms": "1""#),
        "undecodable: json: field \"timeout_ms\": invalid type: text, expected a whole number from 0",
    );
    refused(
        &with(r#""retry": {"max_age_ms": -1}"#),
        "undecodable: json: field \"retry.max_age_ms\": invalid value: integer `-1`, expected a whole number from 0",
    );
    refused(
        &with(r#""headers": {"authorization": [["hunter2"]]}"#),
        "undecodable: json: field \"headers.authorization\": invalid type: sequence, expected a string",
    );
    refused(
        &with(r#""headers": "hunter2""#),
        "undecodable: json: field \"headers\": invalid type: text, expected a map of header names",
    );
    refused(&with(r#""id": "a", "id": "b""#), "undecodable: json: field \"id\": given twice");
    refused(
        &Message { content_type: Some("text/html".into()), ..json("{}") },
        "undecodable: content type \"text/html\" is not known; known are application/json, application/*+json, \
         application/msgpack, application/x-msgpack, application/vnd.msgpack",
    );
    refused(
        &Message { id: Some("a b".into()), ..with(r#""queue": "q""#) },
        "undecodable: property \"message_id\": has a character that is not visible ASCII",
    );
}

#[test]
fn the_strict_check_lists_all_that_is_wrong_at_once() {
    let text =
        r#"{"url": "http://a:0/", "timeout_ms": 0, "nope": 1, "headers": {"host": "x"}, "body": 1, "body_text": ""}"#;
    let envelope: Envelope = serde_json::from_str(text).unwrap();
    let fields: Vec<_> = envelope.check(&Limits::default()).unwrap_err().into_iter().map(|v| v.field).collect();
    assert_eq!(fields, ["url", "headers.host", "body", "timeout_ms", "nope"]);
}

#[test]
fn a_users_codec_may_take_over_a_content_type() {
    struct Plain;
    impl quebert_wire::Codec for Plain {
        fn name(&self) -> &'static str {
            "plain"
        }
        fn content_types(&self) -> &[&'static str] {
            &["text/uri-list"]
        }
        fn decode(&self, bytes: &bytes::Bytes) -> Result<Envelope, quebert_wire::CodecError> {
            Ok(Envelope::new(String::from_utf8_lossy(bytes)))
        }
        fn encode(&self, envelope: &Envelope) -> Result<bytes::Bytes, quebert_wire::CodecError> {
            Ok(envelope.url.clone().into())
        }
    }
    let codecs = Codecs::default().with(Plain);
    let message = Message { content_type: Some("text/uri-list".into()), ..json("http://a/x") };
    let task = decode(&message, &codecs, &Limits::default(), NOW, || TaskId::v7(NOW, [0; 10])).unwrap().task;
    assert_eq!(task.url.path(), "/x");
    assert_eq!(codecs.find(None).unwrap().name(), quebert_wire::Codec::name(&JsonCodec));
}

#[test]
fn debug_output_tells_no_secrets() {
    let message =
        json(r#"{"url": "http://a/?token=hunter2", "headers": {"authorization": "hunter2"}, "body_text": "hunter2"}"#);
    let envelope: Envelope = serde_json::from_slice(&message.body).unwrap();
    let text = format!("{message:?} {envelope:?} {:?}", read(&message).unwrap());
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn long_names_do_not_make_long_errors() {
    let long = "\\u0001".repeat(5_000);
    for fields in [
        format!(r#""headers": {{"{long}": 1}}"#),
        format!(r#""headers": {{"{long}": "1"}}"#),
        format!(r#""labels": {{"{long}": "{}"}}"#, "v".repeat(300)),
    ] {
        let error = read(&with(&fields)).unwrap_err().to_string();
        assert!(error.len() < 1000 && !error.contains('\u{1}'), "{error}");
    }
}

#[test]
fn a_limit_beyond_what_the_header_map_takes_does_not_panic() {
    let limits = Limits { headers: usize::MAX, header_bytes: usize::MAX, ..Limits::default() };
    let many: Vec<_> = (0..40_000).map(|i| format!("\"h{i}\": \"\"")).collect();
    let message = with(&format!(r#""headers": {{{}}}"#, many.join(",")));
    let result = decode(&message, &Codecs::default(), &limits, NOW, || TaskId::v7(NOW, [0; 10]));
    assert_eq!(result.unwrap_err(), DecodeError::NotAllowed("field \"headers\": too many entries".into()));
}
