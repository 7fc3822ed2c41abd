//! The stream of events, read as a browser reads it.

use super::{shelf::Shelf, site::Site};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

/// A stream that is open.
struct Stream {
    body: Incoming,
    text: String,
}

/// One event.
#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

impl Stream {
    async fn open(site: &Site, query: &str, last: Option<&str>) -> Self {
        let stream = TcpStream::connect(site.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::get(format!("/v1/events{query}")).header(header::HOST, site.address.to_string());
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    async fn next(&mut self) -> Event {
        let reading = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let field = |name: &str| {
                        let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                        line.unwrap_or_default().to_owned()
                    };
                    let event = Event {
                        id: field("id"),
                        kind: field("event"),
                        data: serde_json::from_str(&field("data")).unwrap(),
                    };
                    self.text = rest.to_owned();
                    return event;
                }
                let frame = self.body.frame().await.expect("it goes on").unwrap();
                self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an event comes")
    }
}

async fn enqueue(site: &Site, id: &str, queue: &str) {
    let task = serde_json::json!({"url": "http://example.com/secret", "id": id, "queue": queue, "body_text": "secret"});
    assert_eq!(site.post("/v1/tasks", task.to_string()).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_happens_comes_as_it_happens_and_without_what_a_task_holds() {
    let site = Site::over("", Shelf::new(true)).await;
    let mut stream = Stream::open(&site, "", None).await;
    enqueue(&site, "a", "low").await;
    let event = stream.next().await;
    assert_eq!((&*event.kind, &event.data["task"], &event.data["queue"]), ("enqueued", &"a".into(), &"low".into()));
    assert_eq!((&event.data["kind"], event.id), (&"enqueued".into(), event.data["seq"].to_string()));
    assert!(!event.data.to_string().contains("secret"), "{}", event.data);
    site.post("/v1/queues/low/pause", "").await;
    assert_eq!(stream.next().await.kind, "queue_paused");
}

#[tokio::test]
async fn filters_narrow_down() {
    let site = Site::over("", Shelf::new(true)).await;
    let mut high = Stream::open(&site, "?queue=high&kind=enqueued,settled", None).await;
    let mut task = Stream::open(&site, "?task=c", None).await;
    let mut paused = Stream::open(&site, "?kind=queue_paused&kind=queue_resumed", None).await;
    enqueue(&site, "a", "low").await;
    site.post("/v1/queues/high/pause", "").await;
    site.post("/v1/queues/high/resume", "").await;
    enqueue(&site, "b", "high").await;
    enqueue(&site, "c", "low").await;
    assert_eq!(high.next().await.data["task"], "b");
    assert_eq!(task.next().await.data["task"], "c");
    assert_eq!((paused.next().await.kind, paused.next().await.kind), ("queue_paused".into(), "queue_resumed".into()));
}

#[tokio::test]
async fn who_comes_back_goes_on_where_it_was() {
    let site = Site::over("", Shelf::new(true)).await;
    let mut stream = Stream::open(&site, "", None).await;
    enqueue(&site, "a", "low").await;
    let last = stream.next().await.id;
    drop(stream);
    enqueue(&site, "b", "low").await;
    enqueue(&site, "c", "low").await;
    let mut stream = Stream::open(&site, "", Some(&last)).await;
    assert_eq!(
        (stream.next().await.data["task"].clone(), stream.next().await.data["task"].clone()),
        ("b".into(), "c".into())
    );
    let mut stranger = Stream::open(&site, "?queue=high", Some("17")).await;
    assert_eq!(stranger.next().await.kind, "missed", "of another process, whatever it asks for");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let site = Site::over("", Shelf::new(true)).await;
    for query in
        ["?queue=nope", "?kind=enqueued,nope", "?kind=", "?task=two%20words", "?queues=high", "?queue=high&queue=low"]
    {
        assert_eq!(site.get(&format!("/v1/events{query}")).await.code(), "invalid_request", "{query}");
    }
    let last = [("last-event-id", "x")];
    assert_eq!(site.ask(http::Method::GET, "/v1/events", &last, "").await.code(), "invalid_request");
}

#[tokio::test]
async fn readers_are_limited_and_make_room_when_they_go() {
    let site = Site::over("", Shelf::new(true)).await;
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(Stream::open(&site, "", None).await);
    }
    let refused = site.get("/v1/events").await;
    assert_eq!(refused.code(), "busy");
    assert!(refused.headers.contains_key("retry-after"));
    streams.pop();
    let again = async {
        // Whether it has gone shows when the server next writes to it, or sees its end.
        while site.ask(http::Method::HEAD, "/v1/events", &[], "").await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("there is room again");
}
