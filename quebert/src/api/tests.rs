//! What is written of the API is what it is: the OpenAPI document, the table of codes, and who may do what.

use super::{auth::Need, board::Board, document, feed::Feed, problem::Code, state::ApiState};
use crate::{
    bare::BareAdmin,
    compose,
    config::{Config, Current},
    health::Health,
    metrics::Metrics,
};
use http::Method;
use quebert_dispatcher::wire::Timestamp;
use quebert_dispatcher::{memory::MemoryBroker, shell::Dispatcher};
use serde_json::Value;
use std::{collections::BTreeSet, fs, sync::Arc, time::Instant};

/// Of a dispatcher that does not run.
fn state() -> ApiState {
    let config = Config::from_toml("").unwrap();
    let broker = Arc::new(MemoryBroker::new());
    let transport = compose::transport(&config).unwrap();
    let health = Arc::new(Health::new([]));
    ApiState {
        admin: Arc::new(BareAdmin::new(broker.clone())),
        handle: Dispatcher::builder(config.core.clone(), broker, transport).build().handle(),
        core: Current::new(config.core.clone()),
        config: Arc::new(config),
        metrics: Arc::new(Metrics::new(&[], 0, health.clone(), Timestamp::from_millis(0))),
        health,
        board: Arc::new(Board::default()),
        feed: Arc::new(Feed::default()),
        started: Instant::now(),
    }
}

fn description() -> Value {
    document::finished(super::parts(&state()).into_openapi())
}

/// Each operation: method, path, what it says of itself.
fn operations(description: &Value) -> Vec<(Method, String, Value)> {
    let paths = description["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        let item = item.as_object().unwrap().iter();
        item.map(|(method, operation)| (method.to_uppercase().parse().unwrap(), path.clone(), operation.clone()))
    });
    operations.collect()
}

#[test]
fn the_documents_are_made_from_the_api() {
    check("openapi.json", |_| serde_json::to_string_pretty(&description()).unwrap() + "\n");
    let requests = operations(&description()).into_iter().map(|(method, path, operation)| {
        let role = match Need::of(&method, &path) {
            Need::Nothing => "-",
            Need::AnyRole => "any",
            need => need.role().unwrap(),
        };
        format!("| `{method} {path}` | {role} | {} |\n", operation["summary"].as_str().unwrap())
    });
    let requests: String = requests.collect();
    let codes =
        Code::ALL.iter().map(|code| format!("| `{}` | {} | {} |\n", code.text(), code.status().as_u16(), code.title()));
    let codes: String = codes.collect();
    check("api.md", |text| {
        let text =
            between(text, "requests", &format!("| request | role | what it does |\n| --- | --- | --- |\n{requests}"));
        between(&text, "codes", &format!("| code | status | title |\n| --- | --- | --- |\n{codes}"))
    });
}

/// The text with what stands between two comments replaced.
fn between(text: &str, name: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: made from the program -->\n"), format!("<!-- {name}: end -->"));
    let from = text.find(&begin).expect("the beginning is marked") + begin.len();
    let to = text.find(&end).expect("the end is marked");
    format!("{}{content}{}", &text[..from], &text[to..])
}

#[track_caller]
fn check(name: &str, make: impl Fn(&str) -> String) {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    let written = fs::read_to_string(&path).unwrap_or_default();
    let text = make(&written);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    } else {
        assert!(written == text, "docs/{name} is not what the program says; run with UPDATE_DOCS=1");
    }
}

#[test]
fn every_operation_says_what_it_is_and_how_it_may_fail() {
    let description = description();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&description) {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no id"));
        assert!(ids.insert(id.to_owned()), "{id} is there twice");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{id} has no summary");
        assert!(operation["tags"].is_array(), "{id} has no tag");
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(!response["description"].as_str().unwrap_or_default().is_empty(), "{id} {status}");
            if status.starts_with(['4', '5']) {
                assert!(response["content"]["application/problem+json"].is_object(), "{id} {status}");
            }
        }
    }
    let text = description.to_string();
    assert!(!text.contains("$defs"), "parts of schemas are where OpenAPI keeps them");
    for name in text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(description["components"]["schemas"][name].is_object(), "there is no schema {name}");
    }
}

#[test]
fn codes_and_titles_are_no_two_the_same() {
    let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.text()).collect();
    let titles: BTreeSet<_> = Code::ALL.iter().map(|code| code.title()).collect();
    assert_eq!((texts.len(), titles.len()), (Code::ALL.len(), Code::ALL.len()));
    for code in Code::ALL {
        assert!(code.status().is_client_error() || code.status().is_server_error());
    }
}
