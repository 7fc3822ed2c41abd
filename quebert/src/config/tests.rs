//! What a config may be, and what is said of a wrong one.

use super::{layers::DEFAULTS, *};
use insta::assert_snapshot;

fn sources(text: &str) -> Sources {
    Sources { file: Some(("quebert.toml".to_owned(), text.to_owned())), ..Sources::default() }
}

fn errors(text: &str) -> String {
    match Config::load(&sources(text)) {
        Ok(_) => "no errors".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

/// The defaults with every key that has none set to its example.
fn everything() -> String {
    DEFAULTS
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_defaults_are_a_config() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config.core.lanes.iter().map(|l| &*l.name).collect::<Vec<_>>(), ["high", "medium", "low"]);
    assert_eq!(config.core.lanes.iter().map(|l| l.slots_max).collect::<Vec<_>>(), [64, 32, 8]);
    assert_eq!(
        config.core.lanes.iter().map(|l| &*l.queue).collect::<Vec<_>>(),
        ["quebert.high", "quebert.medium", "quebert.low"]
    );
    assert_eq!(config.core.lanes[0].retry.max_attempts, Some(20));
    assert_eq!(config.core.lanes[0].retry.max_age, Some(Duration::from_secs(86_400)));
    assert_eq!(config.core.lanes[0].ttl_default, None);
    assert_eq!(config.core.lanes[0].window, 97);
}

#[test]
fn the_default_file_changes_nothing_when_it_is_given_as_a_file() {
    let plain = Config::load(&Sources::default()).unwrap();
    assert_eq!(Config::load(&sources(DEFAULTS)).unwrap().typed, plain.typed);
}

#[cfg(not(feature = "otlp"))]
#[test]
fn without_features_spans_are_refused() {
    assert!(errors("[otlp]\nurl = \"http://127.0.0.1:4318/v1/traces\"").contains("without the feature `otlp`"));
    assert_eq!(errors(""), "no errors");
}

#[test]
fn every_key_stands_in_the_default_file() {
    let text = everything();
    let table: toml::Table = text.parse().unwrap();
    let typed: file::ConfigFile = {
        let mut layers = Layers::defaults();
        layers.file("all", &text);
        let (typed, _, problems) = layers.read();
        assert_eq!(problems, []);
        typed
    };
    let mut missing = Vec::new();
    fn walk(json: &serde_json::Value, toml: Option<&toml::Value>, path: &str, missing: &mut Vec<String>) {
        // What every lane inherits need not be said again in each.
        let inherited = path.starts_with("/lanes/") || path.starts_with("/lane_defaults/");
        match (json, toml) {
            (serde_json::Value::Object(fields), Some(toml::Value::Table(table))) => {
                for (name, field) in fields {
                    walk(field, table.get(name), &format!("{path}/{name}"), missing);
                }
            }
            (_, None) if !inherited => missing.push(path.to_owned()),
            (serde_json::Value::Null, _) if !inherited => missing.push(path.to_owned()),
            _ => {}
        }
    }
    walk(&as_json(&typed), Some(&toml::Value::Table(table)), "", &mut missing);
    assert_eq!(missing, Vec::<String>::new());
    // The lanes' own keys: the first lane shows those without a default, `lane_defaults` the rest.
    let lane = as_json(&typed)["lanes"]["high"].clone();
    for (name, value) in lane.as_object().unwrap() {
        assert!(!value.is_null(), "lanes.high.{name} has no example");
    }
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    for name in lane.as_object().unwrap().keys() {
        let shown = defaults["lane_defaults"].get(name).is_some() || text.contains(&format!("\n{name} = "));
        assert!(shown || defaults.contains_key(name), "{name} is nowhere in the default file");
    }
}

#[test]
fn all_errors_are_told_at_once_with_line_and_key() {
    let text = r#"
[broker]
url = "http://user:hunter2@host"
heartbeet = "10s"

[retry]
factor = 0.5
backoff_min = "2 parsecs"

[lanes.mail]
slots_max = 4
slots_own = 9
window = 2
attempt_timeout = "29m30s"
prefetch = 7

[lanes.other]
queue = "quebert.mail"
slots_max = "many"

[status]
permanent = [99]

[http.guard]
allow = ["10.0.0.0/99"]

[admin]
listen = "everywhere"
"#;
    assert_snapshot!(errors(text), @r#"
    quebert.toml:3: broker.url: an address does not begin with amqp://, amqps:// or embedded:
    quebert.toml:4: broker.heartbeet: unknown field `heartbeet`, expected one of `url`, `url_file`, `connect_timeout`, `heartbeat`, `confirm_timeout`, `tls`
    quebert.toml:7: retry.factor: 0.5 is not a finite number of at least 1
    quebert.toml:8: retry.backoff_min: "2 parsecs" is no duration; write it like "250ms", "30s", "5m", "1h" or "7d"
    quebert.toml:12: lanes.mail.slots_own: 9 is more than slots_max = 4
    quebert.toml:13: lanes.mail.window: 2 is less than slots_max = 4: slots would stay empty
    quebert.toml:14: lanes.mail.attempt_timeout: 29m30s is more than attempt_timeout_max = 25m
    quebert.toml:14: lanes.mail.attempt_timeout: 29m30s must stay a minute below topology.consumer_timeout = 30m
    quebert.toml:15: lanes.mail.prefetch: unknown field `prefetch`, expected one of `queue`, `routing_key`, `exchange`, `priority`, `weight`, `slots_own`, `slots_max`, `window`, `attempt_timeout`, `attempt_timeout_max`, `ttl_default`, `retry`, `status`
    quebert.toml:18: lanes.other.queue: "quebert.mail" is the queue of lane "mail" already
    quebert.toml:19: lanes.other.slots_max: invalid type: string "many", expected u32
    quebert.toml:22: status.permanent: 99 is no final HTTP status
    quebert.toml:25: http.guard.allow: prefix length "99" is not a number from 0 to 32
    quebert.toml:28: admin.listen: is no address such as 127.0.0.1:9464
    "#);
}

#[test]
fn the_embedded_broker_must_take_what_the_api_takes() {
    let with = |url: &str, listen: &str, message_bytes_max: usize| {
        errors(&format!(
            "[broker]\nurl = \"{url}\"\n[api]\nlisten = \"{listen}\"\nrequest_bytes_max = 1000000\n\
             [embedded]\nmessage_bytes_max = {message_bytes_max}"
        ))
    };
    let (embedded, api) = ("embedded:./data", "127.0.0.1:9460");
    assert_snapshot!(with(embedded, api, 1_098_303), @"quebert.toml:7: embedded.message_bytes_max: 1098303 must be at least api.request_bytes_max = 1000000 and 98304 for headers: tasks that the API takes could not be stored");
    assert_eq!(with(embedded, api, 1_098_304), "no errors");
    assert_eq!(with(embedded, "", 1000), "no errors", "nothing comes by the API");
    assert_eq!(with("amqp://host", api, 1000), "no errors", "nobody goes by it");
}

#[test]
fn the_embedded_broker_must_remember_one_key() {
    assert_snapshot!(errors("[embedded]\nidempotency_keys_max = 0"), @"quebert.toml:2: embedded.idempotency_keys_max: must be at least 1");
}

#[test]
fn a_file_that_is_no_toml_is_told_by_line() {
    assert_snapshot!(errors("[broker]\nurl = \n\n[lanes.x\n"), @r#"
    quebert.toml:2: string values must be quoted, expected literal string
    quebert.toml:4: unclosed table, expected `]`
    "#);
}

#[test]
fn environment_overrides_file_and_flags_override_both() {
    let mut s = sources("[log]\nlevel = \"debug\"\n[pool]\nslots = 7\n[admin]\nlisten = \"127.0.0.1:1\"");
    s.env = vec![
        ("QUEBERT__POOL__SLOTS".into(), "8".into()),
        ("QUEBERT__LOG__LEVEL".into(), "warn".into()),
        ("QUEBERT__TOPOLOGY__PREFIX".into(), "5".into()),
        ("QUEBERT__BROKER__URL".into(), "amqp://a,amqps://b".into()),
        ("QUEBERT__HTTP__GUARD__ALLOW".into(), "127.0.0.0/8, 10.0.0.1".into()),
        ("UNRELATED".into(), "x".into()),
    ];
    s.set = vec![("--set".into(), "pool.slots=9".into())];
    let config = Config::load(&s).unwrap();
    assert_eq!(config.core.slots_shared, 9);
    assert_eq!(config.log_level, Level::Warn);
    assert_eq!(config.topology.prefix, "5");
    assert_eq!(config.broker.urls, [Secret::new("amqp://a"), Secret::new("amqps://b")]);
    assert_eq!(config.admin, Some("127.0.0.1:1".parse().unwrap()));
    assert_eq!(config.typed.http.guard.allow, ["127.0.0.0/8", "10.0.0.1"]);
}

#[test]
fn wrong_overrides_are_told_by_their_name() {
    let mut s = sources("");
    s.env = vec![("QUEBERT__POOL__SLOTS".into(), "lots".into()), ("QUEBERT__POOL__SLUTS".into(), "1".into())];
    s.set = vec![("--set".into(), "drain.grace=never".into()), ("--set".into(), "nonsense".into())];
    assert_snapshot!(Config::load(&s).unwrap_err(), @r#"
    environment QUEBERT__POOL__SLOTS: pool.slots: invalid type: string "lots", expected u32
    environment QUEBERT__POOL__SLUTS: pool.sluts: unknown field `sluts`, expected one of `slots`, `schedule`, `pass_over_max`
    flag --set: nonsense: is not of the form key=value
    flag --set drain.grace: drain.grace: "never" is no duration; write it like "250ms", "30s", "5m", "1h" or "7d"
    "#);
}

#[test]
fn a_secret_that_stands_in_the_wrong_place_is_not_shown() {
    let mut s = sources(
        "broker = \"amqp://app:hunter2@host\"\n[signing]\nkeys = { one = \"hunter2\" }\n\
        [api.tokens]\nshop = \"hunter2, expected `more` of it\"\nbank = 4242424242\n[api.tokens.post]\nroles = \"hunter2\"\ntoken = \"x\"",
    );
    s.env =
        vec![("QUEBERT__API__TOKENS__DESK".into(), "hunter2".into()), ("QUEBERT__SIGNING".into(), "hunter2".into())];
    let told = Config::load(&s).unwrap_err().to_string();
    assert!(!told.contains("hunter2") && !told.contains("4242"), "{told}");
    assert_snapshot!(told, @r"
    quebert.toml:1: broker: invalid type: string, expected a table
    quebert.toml:5: api.tokens.shop: invalid type: string, expected a table
    quebert.toml:6: api.tokens.bank: invalid type: integer, expected a table
    quebert.toml:7: api.tokens.post: missing field `roles`
    quebert.toml:8: api.tokens.post.roles: invalid type: string, expected a sequence
    environment QUEBERT__API__TOKENS__DESK: api.tokens.desk: invalid type: string, expected a table
    environment QUEBERT__SIGNING: signing: invalid type: string, expected a table
    ");
}

#[test]
fn variables_are_filled_into_secrets_and_never_shown() {
    let mut s = sources("[broker]\nurl = \"amqp://app:${AMQP_PASSWORD}@host/%2f\"\n[signing]\nkeys = [\"${KEY}\"]");
    s.env = vec![
        ("AMQP_PASSWORD".into(), "hunter2".into()),
        ("KEY".into(), "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==".into()),
    ];
    let config = Config::load(&s).unwrap();
    assert_eq!(config.broker.urls[0].expose(), "amqp://app:hunter2@host/%2f");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
    assert_snapshot!(errors("[broker]\nurl = \"amqp://${NOWHERE}@host\""), @"quebert.toml:2: broker.url: ${NOWHERE} is not in the environment");
}

#[test]
fn a_token_that_no_request_could_send_is_refused_unseen() {
    let with = |token: &str| {
        let text = format!("[api.tokens.shop]\nroles = [\"read\"]\ntoken = [\"${{TOKEN}}{token}\"]");
        let env = vec![("TOKEN".to_owned(), "hunter2-hunter2-".to_owned())];
        Config::load(&Sources { env, ..sources(&text) }).map(drop).map_err(|e| e.to_string())
    };
    for good in ["", "a b", "~!/+=="] {
        assert_eq!(with(good), Ok(()), "{good:?}");
    }
    for wrong in ["\u{e4}", " ", "\\n", "\\t.", "\\u007f", "\u{a0}"] {
        let error = with(wrong).expect_err(wrong);
        assert!(error.contains("api.tokens.shop.token") && error.contains("no request could send it"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn lanes_take_over_what_the_sections_say() {
    let text = "[retry]\nmax_attempts = 5\nfactor = 3.0\n[lane_defaults]\nslots_max = 2\n\
                [lanes.a]\n[lanes.b]\nslots_max = 9\npriority = 7\nretry.max_attempts = 0";
    let lanes = Config::load(&sources(text)).unwrap().core.lanes;
    assert_eq!(
        lanes.iter().map(|l| &*l.name).collect::<Vec<_>>(),
        ["b", "a"],
        "the user's lanes replace the default ones"
    );
    assert_eq!((lanes[0].slots_max, lanes[1].slots_max), (9, 2));
    assert_eq!((lanes[0].retry.max_attempts, lanes[1].retry.max_attempts), (None, Some(5)));
    assert_eq!(lanes[0].retry.curve, quebert_dispatcher::backoff::Curve::Exponential { factor: 3.0 });
}

#[test]
fn changes_are_told_apart_by_what_they_need() {
    let old = Config::load(&sources("[signing]\nkeys = [\"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"]")).unwrap();
    let new = Config::load(&sources(
        "[signing]\nkeys = [\"whsec_MTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"]\n[log]\nlevel = \"debug\"\n[admin]\nlisten = \"\"\n[pool]\nslots = 5",
    ))
    .unwrap();
    let changes = old.changes(&new);
    assert_eq!(changes.taken_over, ["log.level", "pool.slots"]);
    assert_eq!(changes.need_restart, ["admin.listen", "signing.keys"]);
    assert_eq!(old.changes(&old), Changes::default());
}

#[test]
fn a_window_that_follows_from_the_slots_needs_a_restart() {
    let old = Config::load(&sources("[lanes.a]\nslots_max = 4")).unwrap();
    let new = Config::load(&sources("[lanes.a]\nslots_max = 8\n[retry]\nfactor = 3.0\n[lanes.b]")).unwrap();
    let changes = old.changes(&new);
    assert_eq!(changes.taken_over, ["lanes.a.retry.factor", "lanes.a.slots_max", "retry.factor"]);
    assert_eq!(changes.need_restart, ["lanes.b", "lanes.a.window"]);
}

/// The broker has been told of the old one, and takes back what it has not seen an ack of by then.
#[test]
fn a_longer_consumer_timeout_and_what_it_would_allow_need_a_restart() {
    let old = Config::load(&sources("[lanes.a]\n[lanes.b]")).unwrap();
    let text = "[topology]\nconsumer_timeout = \"1h\"\n[lanes.a]\nattempt_timeout_max = \"45m\"\nattempt_timeout = \"40m\"\n\
        [lanes.b]\nattempt_timeout_max = \"20m\"";
    let new = Config::load(&sources(text)).unwrap();
    let changes = old.changes(&new);
    assert_eq!(changes.taken_over, ["lanes.a.attempt_timeout", "lanes.b.attempt_timeout_max"]);
    assert_eq!(changes.need_restart, ["topology.consumer_timeout", "lanes.a.attempt_timeout_max"]);
    let mut running = old.core.clone();
    running.reload(new.core);
    let longest = running.lanes.iter().map(|lane| lane.attempt_timeout_max);
    assert!(longest.eq([29, 20].map(|minutes| Duration::from_secs(60 * minutes))));
}
