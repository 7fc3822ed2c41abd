//! Spans of real requests reach a collector's double over real HTTP.

use crate::{App, Config, MemoryBroker, Message, app::Running};
use quebert_broker_adapter::testing::executor::{Executor, Recorded, Reply};
use quebert_dispatcher::ports::broker::Target;
use quebert_wire::HeaderValue;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const LONG: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

struct World {
    running: Running,
    executor: Executor,
    collector: Executor,
}

/// The first request of each task fails.
fn fail_first(request: &Recorded) -> Reply {
    Reply::status(if request.header("quebert-attempt") == "1" { 503 } else { 200 })
}

async fn world(otlp: &str, collect: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> World {
    world_of(fail_first, otlp, collect).await
}

async fn world_of(
    execute: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    otlp: &str,
    collect: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
) -> World {
    let executor = Executor::start(execute).await;
    let collector = Executor::start(collect).await;
    let config = format!(
        "[lanes.mail]\n[retry]\nbackoff_min = \"10ms\"\nbackoff_max = \"10ms\"\n[http.guard]\nenabled = false\n\
         [otlp]\nurl = \"{}\"\n{otlp}\n",
        collector.url("/v1/traces")
    );
    let (config, broker) = (Config::from_toml(&config).unwrap(), MemoryBroker::new());
    broker.declare(&config.core.lanes[0].queue);
    let running = App::new(config).broker(broker).start().unwrap();
    World { running, executor, collector }
}

impl World {
    async fn task(&self, id: &str, headers: &[(&str, &str)]) {
        let body = format!(r#"{{"id":"{id}","url":"{}","body":"hello"}}"#, self.executor.url("/p?key=secret"));
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), HeaderValue::Text((*value).to_owned())));
        let queue = self.running.config.core.lanes[0].queue.clone();
        let message = Message { body: body.into(), headers: headers.collect(), ..Message::default() };
        self.running.broker.publish(Target::Queue(queue), message).await.unwrap();
    }

    /// Lets everything be done, and returns the requests that executors and collector got.
    async fn end(self, requests: usize) -> (Vec<Arc<Recorded>>, Vec<Value>) {
        self.end_within(LONG, requests).await
    }

    async fn end_within(mut self, grace: Duration, requests: usize) -> (Vec<Arc<Recorded>>, Vec<Value>) {
        let seen = self.executor.wait_for(requests, LONG).await;
        self.running.handle.drain(grace);
        self.running.end().await;
        let spans = self.collector.requests().iter().flat_map(|request| spans(request)).collect();
        (seen, spans)
    }
}

fn spans(request: &Recorded) -> Vec<Value> {
    assert_eq!((request.target.as_str(), request.header("content-type")), ("/v1/traces", "application/json"));
    let document: Value = serde_json::from_slice(&request.body).unwrap();
    let resource = &document["resourceSpans"][0];
    assert_eq!(attributes(&resource["resource"])["service.name"], "quebert");
    resource["scopeSpans"][0]["spans"].as_array().unwrap().clone()
}

/// Texts and numbers alike, as text.
fn attributes(of: &Value) -> BTreeMap<String, String> {
    let value = |v: &Value| v["stringValue"].as_str().or(v["intValue"].as_str()).unwrap().to_owned();
    let pair = |a: &Value| (a["key"].as_str().unwrap().to_owned(), value(&a["value"]));
    of["attributes"].as_array().unwrap().iter().map(pair).collect()
}

#[tokio::test]
async fn each_attempt_has_a_span_under_the_tasks_own() {
    let world = world("", |_| Reply::status(200)).await;
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    world.task("order.17", &[("traceparent", &parent), ("tracestate", "vendor=1")]).await;
    let (requests, spans) = world.end(2).await;
    assert_eq!((requests.len(), spans.len()), (2, 2), "{spans:#?}");
    for (request, span) in requests.iter().zip(&spans) {
        let sent = format!("00-{TRACE}-{}-01", span["spanId"].as_str().unwrap());
        assert_eq!(request.header("traceparent"), sent);
        assert_eq!((request.header("tracestate"), &span["traceState"]), ("vendor=1", &"vendor=1".into()));
        assert_eq!((&span["traceId"], &span["parentSpanId"]), (&TRACE.into(), &"00f067aa0ba902b7".into()));
        assert_eq!((&span["kind"], &span["name"]), (&3.into(), &"dispatch mail".into()));
        let nanos = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(nanos("endTimeUnixNano") >= nanos("startTimeUnixNano") && nanos("startTimeUnixNano") > 1 << 60);
        let attributes = attributes(span);
        assert_eq!(attributes["http.request.method"], "POST");
        assert!(attributes["url.full"].ends_with("/p?key=REDACTED"), "{attributes:?}");
        assert_eq!(attributes["messaging.message.id"], "order.17");
        assert_eq!(attributes["messaging.destination.name"], "mail");
        assert_eq!(attributes["server.address"], "127.0.0.1");
    }
    let (first, second) = (attributes(&spans[0]), attributes(&spans[1]));
    assert_eq!((first["http.response.status_code"].as_str(), first["error.type"].as_str()), ("503", "503"));
    assert_eq!((first.get("http.request.resend_count"), &spans[0]["status"]["code"]), (None, &2.into()));
    assert_eq!((second["http.response.status_code"].as_str(), second.get("error.type")), ("200", None));
    assert_eq!((second["http.request.resend_count"].as_str(), &spans[1]["status"]), ("1", &serde_json::json!({})));
    assert_ne!(spans[0]["spanId"], spans[1]["spanId"]);
}

#[tokio::test]
async fn a_task_without_a_trace_gets_one_for_all_its_attempts() {
    let world = world("", |_| Reply::status(200)).await;
    world.task("t", &[]).await;
    let (requests, spans) = world.end(2).await;
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0]["traceId"], spans[1]["traceId"]);
    for (request, span) in requests.iter().zip(&spans) {
        let (trace, id) = (span["traceId"].as_str().unwrap(), span["spanId"].as_str().unwrap());
        assert_eq!(request.header("traceparent"), format!("00-{trace}-{id}-01"));
        assert!(span.get("parentSpanId").is_none(), "{span}");
    }
}

#[tokio::test]
async fn what_is_not_sampled_is_passed_on_and_not_exported() {
    let world = world("begin_percent = 0", |_| Reply::status(200)).await;
    world.task("unsampled", &[("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-00"))]).await;
    world.task("traceless", &[]).await;
    let (requests, spans) = world.end(4).await;
    assert!(spans.is_empty(), "{spans:#?}");
    for request in requests {
        let sent = request.header("traceparent");
        match request.header("webhook-id") {
            "unsampled" => assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}"),
            _ => assert_eq!(sent, ""),
        }
    }
}

#[tokio::test]
async fn a_request_that_a_stop_cuts_off_has_a_span_that_says_so() {
    let world = world_of(|_| Reply::Hang, "", |_| Reply::status(200)).await;
    world.task("cut", &[]).await;
    let (_, spans) = world.end_within(Duration::ZERO, 1).await;
    assert_eq!(spans.len(), 1, "{spans:#?}");
    assert_eq!(attributes(&spans[0])["error.type"], "cancelled");
    assert_eq!(spans[0]["status"]["message"], "cut off before its end");
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_no_task() {
    let world = world("", |_| Reply::Hang).await;
    for n in 0..20 {
        world.task(&format!("t{n}"), &[]).await;
    }
    world.executor.wait_for(40, LONG).await;
    let ended = Instant::now();
    let (requests, _) = world.end(40).await;
    assert_eq!(requests.len(), 40);
    assert!(ended.elapsed() < Duration::from_secs(30), "it waits for its last spans, but not for ever");
}
