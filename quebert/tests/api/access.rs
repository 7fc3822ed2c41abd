//! Who is let in: tokens and roles, and without tokens, whom a browser on this machine may not be used by.

use super::site::{ENQUEUE, OPERATE, READ, Site, tokens};
use http::{Method, StatusCode};

const TASK: &str = r#"{"url": "https://example.com/"}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn each_role_does_its_own_and_nothing_else() {
    let site = Site::new(&tokens()).await;
    let requests = [
        (Method::POST, "/v1/tasks", ENQUEUE),
        (Method::POST, "/v1/tasks/batch", ENQUEUE),
        (Method::GET, "/v1/tasks/a", READ),
        (Method::HEAD, "/v1/version", READ),
        (Method::GET, "/v1/config", READ),
        (Method::GET, "/v1/nothing", READ),
        (Method::POST, "/v1/tasks/a/run", OPERATE),
        (Method::DELETE, "/v1/tasks/a", OPERATE),
        (Method::POST, "/v1/nothing", OPERATE),
    ];
    for (method, path, right) in requests {
        let body = if path.ends_with("batch") { format!("[{TASK}]") } else { TASK.to_owned() };
        for token in [ENQUEUE, READ, OPERATE] {
            let bearer = format!("Bearer {token}");
            let answer = site.ask(method.clone(), path, &[JSON, ("authorization", &bearer)], &*body).await;
            assert_eq!(answer.status == StatusCode::FORBIDDEN, token != right, "{method} {path} {token}: {answer:?}");
            if answer.status == StatusCode::FORBIDDEN && method != Method::HEAD {
                let role = right.split('-').next().unwrap();
                assert_eq!(answer.code(), "forbidden");
                assert!(answer.json()["detail"].as_str().unwrap().contains(role), "it names the role: {answer:?}");
            }
        }
        let strange =
            ["", "Bearer", "Bearer ", "Basic abc", &format!("Bearer {right}x"), &format!("Bearer {}", &right[1..])];
        for value in strange {
            let answer = site.ask(method.clone(), path, &[JSON, ("authorization", value)], &*body).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} {value:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"quebert\"");
            assert!(!answer.text.contains(right), "{answer:?}");
        }
    }
    let twice = [("authorization", "Bearer a"), ("authorization", &*format!("Bearer {READ}"))];
    assert_eq!(site.ask(Method::GET, "/v1/version", &twice, "").await.code(), "unauthorized");
    for token in [ENQUEUE, READ, OPERATE] {
        let lower = format!("bearer {token}");
        let answer = site.ask(Method::GET, "/v1/status", &[("authorization", &lower)], "").await;
        assert_eq!(answer.json()["roles"], serde_json::json!([token.split('-').next().unwrap()]));
    }
    assert_eq!(site.get("/v1/openapi.json").await.status, StatusCode::OK);
    assert_eq!(site.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn while_tokens_are_rotated_each_is_as_good() {
    let toml = "[api.tokens.shop]\nroles = [\"enqueue\", \"read\"]\ntoken = [\"old-old-old-old-old\", \"new-new-new-new-new\"]";
    let site = Site::new(toml).await;
    for token in ["old-old-old-old-old", "new-new-new-new-new"] {
        let bearer = format!("Bearer {token}");
        let answer = site.ask(Method::GET, "/v1/status", &[("authorization", &bearer)], "").await;
        assert_eq!(answer.json()["roles"], serde_json::json!(["enqueue", "read"]));
    }
}

#[tokio::test]
async fn without_tokens_only_this_machine_under_its_own_name_is_answered() {
    let site = Site::new("").await;
    let port = site.address.port();
    for host in
        ["localhost".to_owned(), format!("LOCALHOST:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")]
    {
        let answer = site.ask(Method::GET, "/v1/version", &[("host", &host)], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{host}");
    }
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "::1", "localhost:80:80"]
    {
        for path in ["/v1/version", "/"] {
            let answer = site.ask(Method::GET, path, &[("host", host)], "").await;
            assert_eq!((answer.status.as_u16(), &*answer.code()), (403, "untrusted_host"), "{host:?}");
        }
    }
}

#[tokio::test]
async fn two_hosts_are_none() {
    let site = Site::new("").await;
    let answer = site.ask(Method::GET, "/v1/version", &[("host", "localhost"), ("host", "evil.example")], "").await;
    assert_eq!(answer.code(), "untrusted_host");
}

#[tokio::test]
async fn without_tokens_no_page_of_another_site_gets_in() {
    let site = Site::new("").await;
    let own = format!("http://{}", site.address);
    let other_port = format!("http://127.0.0.1:{}", site.address.port() ^ 1);
    for headers in [vec![("origin", &*own)], vec![("sec-fetch-site", "same-origin")], vec![("sec-fetch-site", "none")]]
    {
        let answer = site.ask(Method::POST, "/v1/tasks", &[&[JSON], &*headers].concat(), TASK).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{headers:?}");
    }
    let foreign = [
        vec![("origin", &*own), ("origin", "https://evil.example")],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
        vec![("origin", &*other_port)],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("origin", &*own), ("sec-fetch-site", "cross-site")],
    ];
    for headers in foreign {
        let answer = site.ask(Method::POST, "/v1/tasks", &[&[JSON], &*headers].concat(), TASK).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (403, "cross_site"), "{headers:?}");
        assert_eq!(site.ask(Method::GET, "/v1/version", &headers, "").await.code(), "cross_site", "{headers:?}");
    }
    // Whoever follows a link to the console finds it.
    let answer = site.ask(Method::GET, "/", &[("sec-fetch-site", "cross-site")], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(site.broker.stored.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn no_secret_is_in_the_config_that_is_told() {
    let toml = tokens() + "[signing]\nkeys = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\n";
    let site = Site::new(&toml).await;
    let answer = site.ask(Method::GET, "/v1/config", &[("authorization", &format!("Bearer {READ}"))], "").await;
    for secret in [ENQUEUE, READ, OPERATE, "whsec_", "MfKQ9r8"] {
        assert!(!answer.text.contains(secret), "{}", answer.text);
    }
    assert_eq!(answer.json()["api"]["tokens"]["read"]["token"], serde_json::json!(["***"]));
    assert_eq!(answer.json()["api"]["batch_items_max"], 10_000);
}
