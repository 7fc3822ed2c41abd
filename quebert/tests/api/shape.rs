//! What is the same for every path: errors are problems, answers are not kept, and the console's files come as a browser
//! must have them.

use super::site::Site;
use http::{Method, StatusCode};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[tokio::test]
async fn every_error_is_a_problem_whoever_made_it() {
    let site = Site::new("").await;
    let cases = [
        (Method::GET, "/nothing", 404, "not_found", ""),
        (Method::GET, "/v1", 404, "not_found", ""),
        (Method::GET, "/v1/tasks/", 404, "not_found", ""),
        (Method::GET, "/v1/tasks", 405, "method_not_allowed", "POST"),
        (Method::PUT, "/v1/version", 405, "method_not_allowed", "GET,HEAD"),
        (Method::OPTIONS, "/v1/tasks/a", 405, "method_not_allowed", "GET,HEAD,DELETE"),
        (Method::TRACE, "/v1/tasks/a/run", 405, "method_not_allowed", "POST"),
        (Method::POST, "/", 405, "method_not_allowed", "GET,HEAD"),
        (Method::POST, "/v1/openapi.json", 405, "method_not_allowed", "GET,HEAD"),
    ];
    for (method, path, status, code, allow) in cases {
        let answer = site.ask(method.clone(), path, &[], "").await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (status, code), "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let site = Site::new("").await;
    for path in ["/v1/version", "/v1/openapi.json", "/"] {
        let (get, head) = (site.get(path).await, site.ask(Method::HEAD, path, &[], "").await);
        assert_eq!((head.status, &*head.text), (StatusCode::OK, ""), "{path}");
        assert_eq!(head.header("content-length"), get.text.len().to_string(), "{path}");
    }
}

#[tokio::test]
async fn the_console_may_load_nothing_but_itself() {
    let site = Site::new("").await;
    let types = [
        ("/", "text/html; charset=utf-8"),
        ("/console.css", "text/css; charset=utf-8"),
        ("/console.js", "text/javascript; charset=utf-8"),
    ];
    for (path, content_type) in types {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, content_type));
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!((answer.header("referrer-policy"), answer.header("cache-control")), ("no-referrer", "no-cache"));
        let tag = answer.header("etag");
        let again = site.ask(Method::GET, path, &[("if-none-match", tag)], "").await;
        assert_eq!((again.status, &*again.text, again.header("etag")), (StatusCode::NOT_MODIFIED, "", tag));
        let other = site.ask(Method::GET, path, &[("if-none-match", "\"x\"")], "").await;
        assert_eq!(other.status, StatusCode::OK);
    }
    let without = Site::new("[api]\nconsole = false").await;
    assert_eq!(without.get("/").await.code(), "not_found");
}

#[tokio::test]
async fn version_and_status_say_what_is() {
    let site = Site::new("").await;
    assert_eq!(site.get("/v1/version").await.json()["version"], env!("CARGO_PKG_VERSION"));
    let status = site.get("/v1/status").await.json();
    assert_eq!((&status["ready"], &status["obstacles"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(status["roles"], serde_json::json!(["enqueue", "read", "operate"]));
    assert_eq!(status["abilities"], serde_json::json!(["durable_once", "durable_pause", "ages"]));
}

#[tokio::test]
async fn the_end_waits_for_a_request_under_way_and_takes_no_other() {
    let site = Site::new("").await;
    let address = site.address;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let body = r#"{"url": "https://example.com/"}"#;
    let head = format!(
        "POST /v1/tasks HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    // An answer on a third connection tells that the two before have been accepted.
    site.get("/v1/version").await;
    slow.write_all(&body.as_bytes()[..5]).await.unwrap();
    let stopping = tokio::spawn(site.stop());
    let mut text = String::new();
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, idle.read_to_string(&mut text)).await.expect("an idle connection is closed").unwrap();
    assert_eq!(text, "");
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
    slow.write_all(&body.as_bytes()[5..]).await.unwrap();
    tokio::time::timeout(limit, slow.read_to_string(&mut text)).await.unwrap().unwrap();
    assert!(text.starts_with("HTTP/1.1 201"), "{text}");
    tokio::time::timeout(limit, stopping).await.unwrap().unwrap();
}
