//! Without TLS: reuse, classes of failure, limits, the guard. `tls` has the rest.

use super::common::{LONG, SHORT, answer, failure, get, is, no_tls, post, request, transport, with};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Method};
use quebert_broker_adapter::{
    http::{AddressGuard, BodyOver, HttpConfig, HttpTransport, TcpConnector},
    testing::executor::{Executor, Keep, Reply},
};
use quebert_dispatcher::{
    outcome::{FailureKind, Outcome},
    ports::transport::{Request, Transport},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

#[tokio::test]
async fn a_request_arrives_as_it_was_made() {
    let executor = Executor::start(|_| Reply::body(201, "made").header("x-answer", "yes")).await;
    let mut request = post(&executor.url("/path?q=1&r=%20"), "the body");
    for (name, value) in [("x-one", "1"), ("content-length", "3"), ("host", "elsewhere"), ("transfer-encoding", "x")] {
        request.http.headers_mut().append(name, value.parse().unwrap());
    }
    let response = answer(&transport(), request).await;
    assert_eq!((response.status.as_u16(), &response.body[..], response.truncated), (201, &b"made"[..], false));
    assert_eq!(response.headers["x-answer"], "yes");

    let requests = executor.wait_for(1, LONG).await;
    assert_eq!((requests[0].method.as_str(), requests[0].target.as_str()), ("POST", "/path?q=1&r=%20"));
    assert_eq!(requests[0].body, "the body");
    let mut headers: Vec<_> =
        requests[0].headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    headers.sort();
    assert_eq!(headers, ["content-length: 8".into(), format!("host: {}", executor.address()), "x-one: 1".into()]);
}

/// Some servers answer 411 otherwise.
#[tokio::test]
async fn an_empty_body_has_a_length_where_a_body_is_usual() {
    let executor = Executor::start(|_| Reply::status(200)).await;
    let transport = transport();
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::GET, Method::DELETE] {
        answer(&transport, request(method, &executor.url("/"), Bytes::new())).await;
    }
    let lengths = executor.requests().into_iter().map(|r| r.headers.get("content-length").cloned());
    assert!(lengths.eq([Some("0"), Some("0"), Some("0"), None, None].map(|n| n.map(HeaderValue::from_static))));
}

#[tokio::test]
async fn a_body_of_a_mebibyte_arrives_byte_for_byte() {
    let executor = Executor::start(|_| Reply::status(200)).await;
    let body: Bytes = (0..1 << 20).map(|i: u32| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    answer(&transport(), post(&executor.url("/"), body.clone())).await;
    assert!(executor.requests()[0].body == body);
}

#[tokio::test]
async fn a_thousand_headers_arrive() {
    let executor = Executor::start(|_| Reply::status(200)).await;
    let mut request = post(&executor.url("/"), "x");
    for i in 0..1000 {
        let name = http::HeaderName::try_from(format!("x-{i}")).unwrap();
        request.http.headers_mut().insert(name, "y".repeat(100).parse().unwrap());
    }
    answer(&transport(), request).await;
    // Host and Content-Length beside them.
    assert_eq!(executor.requests()[0].headers.len(), 1002);
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let executor = Executor::start(|_| Reply::body(200, "some body")).await;
    let transport = transport();
    for _ in 0..10 {
        answer(&transport, post(&executor.url("/"), "x")).await;
    }
    assert_eq!((executor.counts().requests, executor.counts().connections), (10, 1));
    assert_eq!(transport.idle_connections(), 1);
}

#[tokio::test]
async fn the_most_recently_used_connection_goes_first() {
    let executor =
        Executor::start(|r| Reply::status(200).after(if r.target == "/slow" { SHORT } else { Duration::ZERO })).await;
    let transport = transport();
    let slow = tokio::spawn({
        let (transport, url) = (transport.clone(), executor.url("/slow"));
        async move { answer(&transport, get(&url)).await }
    });
    executor.wait_for(1, LONG).await;
    answer(&transport, get(&executor.url("/"))).await;
    slow.await.unwrap();
    for _ in 0..5 {
        answer(&transport, get(&executor.url("/"))).await;
    }
    let used: Vec<_> = executor.requests().iter().map(|r| r.connection).collect();
    assert_eq!(used, [0, 1, 0, 0, 0, 0, 0], "the slow request's connection came back last");
}

#[tokio::test]
async fn idle_connections_are_closed_in_time_and_not_used_again() {
    let executor = Executor::start(|_| Reply::status(200)).await;
    let transport = with(HttpConfig { idle_timeout: Duration::from_millis(50), ..HttpConfig::default() });
    answer(&transport, get(&executor.url("/"))).await;
    executor.wait_until(LONG, |c| c.open == 0).await;
    assert_eq!(transport.idle_connections(), 0);
    // The reaper has gone; another one comes.
    answer(&transport, get(&executor.url("/"))).await;
    executor.wait_until(LONG, |c| c.connections == 2 && c.open == 0).await;
}

#[tokio::test]
async fn surplus_idle_connections_are_closed() {
    for config in [
        HttpConfig { idle_per_destination: 2, ..HttpConfig::default() },
        HttpConfig { idle_total: 2, ..HttpConfig::default() },
    ] {
        let executor = Executor::start(|_| Reply::status(200).after(SHORT)).await;
        let transport = with(config);
        join_all((0..6).map(|_| answer(&transport, get(&executor.url("/"))))).await;
        assert_eq!(executor.counts().connections, 6);
        executor.wait_until(LONG, |c| c.open == 2).await;
        assert_eq!(transport.idle_connections(), 2);
    }
}

#[tokio::test]
async fn without_keep_alive_each_request_has_a_connection_of_its_own() {
    let executor = Executor::start(|_| Reply::status(200)).await;
    let transport = with(HttpConfig { idle_per_destination: 0, ..HttpConfig::default() });
    for _ in 0..3 {
        answer(&transport, get(&executor.url("/"))).await;
    }
    executor.wait_until(LONG, |c| c.connections == 3 && c.open == 0).await;
}

#[tokio::test]
async fn a_connection_that_the_executor_closes_is_not_used_again() {
    let executor = Executor::start(|_| Reply::status(200).header("connection", "close")).await;
    let transport = transport();
    for _ in 0..3 {
        answer(&transport, get(&executor.url("/"))).await;
        assert_eq!(transport.idle_connections(), 0);
    }
    assert_eq!(executor.counts().connections, 3);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_noticed_before_its_next_use() {
    let executor = Executor::builder().idle(Duration::from_millis(20)).start(|_| Reply::status(200)).await;
    let transport = transport();
    for n in 1..=3 {
        answer(&transport, get(&executor.url("/"))).await;
        executor.wait_until(LONG, |c| c.connections == n && c.open == 0).await;
    }
}

/// Sends at the very moment at which the executor closes its idle connections. Whatever comes of it, no request may be
/// executed twice for one `send`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_never_sent_twice() {
    let executor = Executor::builder().idle(Duration::from_millis(5)).start(|_| Reply::status(200)).await;
    let transport = transport();
    let mut answered = 0;
    for i in 0..400_u64 {
        let outcome = transport.send(post(&executor.url(&format!("/{i}")), "x")).await;
        match outcome {
            Outcome::Answered(_) => answered += 1,
            Outcome::Failed(failure) => is(&failure, FailureKind::ResetBeforeResponse, true),
        }
        tokio::time::sleep(Duration::from_micros(4500 + i % 40 * 50)).await;
    }
    let mut executions = BTreeMap::new();
    for request in executor.requests() {
        *executions.entry(request.target.clone()).or_insert(0) += 1;
    }
    assert!(executions.values().all(|n| *n == 1), "executed more than once: {executions:?}");
    assert!(executions.len() >= answered, "{answered} answers for {} executions", executions.len());
    assert!(executor.counts().connections > 1, "no connection was ever closed");
}

#[tokio::test]
async fn an_executor_that_dies_on_a_reused_connection_gets_no_second_copy() {
    for bad in [Reply::Close, Reply::Reset] {
        let executor = Executor::start(move |r| if r.number == 1 { bad.clone() } else { Reply::status(200) }).await;
        let transport = transport();
        answer(&transport, post(&executor.url("/"), "first")).await;
        let failed = failure(&transport, post(&executor.url("/"), "second")).await;
        is(&failed, FailureKind::ResetBeforeResponse, true);
        assert_eq!((executor.counts().requests, executor.counts().connections), (2, 1));
        answer(&transport, post(&executor.url("/"), "third")).await;
    }
}

#[tokio::test]
async fn each_kind_of_broken_answer_has_its_class() {
    for (reply, kind) in [
        (Reply::Close, FailureKind::ResetBeforeResponse),
        (Reply::Reset, FailureKind::ResetBeforeResponse),
        (Reply::Truncated { announced: 10, sent: 3 }, FailureKind::ResetBeforeResponse),
        (Reply::Raw("HTTP/1.1 200 OK\r\ncontent-le".into()), FailureKind::ResetBeforeResponse),
        (Reply::Raw("SSH-2.0-OpenSSH_9.2\r\n\r\n".into()), FailureKind::Protocol),
        (Reply::Raw("HTTP/1.1 2xx OK\r\n\r\n".into()), FailureKind::Protocol),
        (Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n".into()), FailureKind::Protocol),
        (
            Reply::Raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a chunk\r\n".into()),
            FailureKind::Protocol,
        ),
        (Reply::Raw(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(20_000)).into()), FailureKind::Protocol),
        (Reply::Raw(format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200)).into()), FailureKind::Protocol),
    ] {
        let name = format!("{reply:?}");
        let executor = Executor::start(move |_| reply.clone()).await;
        let transport = transport();
        let failed = failure(&transport, post(&executor.url("/"), "x")).await;
        assert_eq!((failed.kind, failed.reached), (kind, true), "{failed:?} of {}", &name[..name.len().min(80)]);
        assert_eq!((executor.counts().requests, transport.idle_connections()), (1, 0));
    }
}

#[tokio::test]
async fn a_closed_port_is_connect_refused() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    is(&failure(&transport(), get(&format!("http://{free}/"))).await, FailureKind::ConnectRefused, false);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_dns() {
    let failed = failure(&transport(), get("http://no-such-host.invalid/")).await;
    is(&failed, FailureKind::Dns, false);
    assert!(failed.detail.contains("no-such-host.invalid"), "{failed:?}");
}

/// A listener whose queue is full: the kernel drops further connection requests, as an unreachable host would.
async fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) = timeout(SHORT, TcpStream::connect(listener.local_addr().unwrap())).await {
        queued.push(connected.unwrap());
        assert!(queued.len() < 100, "the queue never fills");
    }
    (listener, queued)
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_connect_timeout() {
    let (listener, _queued) = black_hole().await;
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let transport = with(HttpConfig { connect_timeout: SHORT, ..HttpConfig::default() });
    is(&failure(&transport, get(&url)).await, FailureKind::ConnectTimeout, false);
    // If the attempt's own limit is the shorter one, it is that which has passed.
    let request = Request { timeout: SHORT / 10, ..get(&url) };
    is(&failure(&transport, request).await, FailureKind::Timeout, false);
}

#[tokio::test]
async fn each_phase_of_an_answer_has_its_time_limit() {
    for reply in [Reply::Hang, Reply::Stall] {
        let executor = Executor::start(move |_| reply.clone()).await;
        let transport = transport();
        let request = Request { timeout: SHORT, ..post(&executor.url("/"), "x") };
        is(&failure(&transport, request).await, FailureKind::Timeout, true);
        executor.wait_until(LONG, |c| c.open == 0).await;
        assert_eq!(transport.idle_connections(), 0);
    }
}

#[tokio::test]
async fn nothing_is_sent_when_no_time_is_left() {
    let executor = Executor::start(|_| Reply::status(200)).await;
    let transport = transport();
    answer(&transport, get(&executor.url("/"))).await;
    let request = Request { timeout: Duration::ZERO, ..get(&executor.url("/")) };
    is(&failure(&transport, request).await, FailureKind::Timeout, false);
    answer(&transport, get(&executor.url("/"))).await;
    assert_eq!((executor.counts().requests, executor.counts().connections), (2, 1));
}

#[tokio::test]
async fn nothing_is_sent_when_the_time_for_the_head_is_over_before() {
    let executor = Executor::start(|_| Reply::status(200)).await;
    let transport = with(HttpConfig { header_timeout: Some(Duration::ZERO), ..HttpConfig::default() });
    is(&failure(&transport, get(&executor.url("/"))).await, FailureKind::Timeout, false);
    executor.wait_until(LONG, |c| c.connections == 1 && c.open == 0).await;
    assert_eq!(executor.counts().requests, 0);
}

#[tokio::test]
async fn the_header_limit_ends_with_the_head_of_the_answer() {
    let config = HttpConfig { header_timeout: Some(SHORT), ..HttpConfig::default() };
    let executor = Executor::start(|_| Reply::Hang).await;
    is(&failure(&with(config.clone()), get(&executor.url("/"))).await, FailureKind::Timeout, true);

    let executor = Executor::start(|_| Reply::Stall).await;
    let started = std::time::Instant::now();
    let request = Request { timeout: SHORT * 3, ..get(&executor.url("/")) };
    let failed = failure(&with(config), request).await;
    is(&failed, FailureKind::Timeout, true);
    assert!(started.elapsed() >= SHORT * 3, "the body has all of the attempt's time: {failed:?}");
}

#[tokio::test]
async fn giving_up_closes_the_connection() {
    let executor = Executor::start(|_| Reply::Hang).await;
    let sending = tokio::spawn(transport().send(get(&executor.url("/"))));
    executor.wait_for(1, LONG).await;
    assert_eq!(executor.counts().open, 1);
    sending.abort();
    executor.wait_until(LONG, |c| c.open == 0).await;
}

#[tokio::test]
async fn a_long_body_is_cut_and_its_beginning_kept() {
    let config = HttpConfig { body_keep: 10, body_read_max: 1000, ..HttpConfig::default() };
    // Length, kept, cut, connection used again.
    for (bytes, kept, truncated, reused) in [
        (0, 0, false, true),
        (10, 10, false, true),
        (11, 10, true, true),
        (1000, 10, true, true),
        (1 << 20, 10, true, false),
    ] {
        let executor = Executor::start(move |_| Reply::body(200, vec![b'x'; bytes])).await;
        let transport = with(config.clone());
        let response = answer(&transport, get(&executor.url("/"))).await;
        assert_eq!((response.body.len(), response.truncated), (kept, truncated), "{bytes} bytes");
        assert_eq!(transport.idle_connections(), usize::from(reused), "{bytes} bytes");
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_or_a_failure_as_configured() {
    let executor = Executor::start(|_| Reply::Endless).await;
    let response = answer(&transport(), get(&executor.url("/"))).await;
    assert_eq!((response.status.as_u16(), response.body.len(), response.truncated), (200, 4096, true));
    executor.wait_until(LONG, |c| c.open == 0).await;

    let strict = with(HttpConfig { body_over: BodyOver::Fail, ..HttpConfig::default() });
    is(&failure(&strict, get(&executor.url("/"))).await, FailureKind::BodyLimit, true);
    executor.wait_until(LONG, |c| c.open == 0).await;

    let strict = with(HttpConfig { body_read_max: 1000, body_over: BodyOver::Fail, ..HttpConfig::default() });
    let executor = Executor::start(|r| Reply::body(200, vec![b'x'; r.target[1..].parse().unwrap()])).await;
    answer(&strict, get(&executor.url("/1000"))).await;
    is(&failure(&strict, get(&executor.url("/1001"))).await, FailureKind::BodyLimit, true);
}

#[tokio::test]
async fn redirects_are_answers_and_are_not_followed() {
    let trap = Executor::start(|_| Reply::status(200)).await;
    let to = trap.url("/");
    let executor = Executor::start(move |_| Reply::status(302).header("location", &to)).await;
    let response = answer(&transport(), post(&executor.url("/"), "x")).await;
    assert_eq!(response.status.as_u16(), 302);
    assert_eq!(trap.counts().connections, 0);
}

#[tokio::test]
async fn the_guard_forbids_loopback_however_it_is_spelt() {
    let executor = Executor::start(|_| Reply::status(200)).await;
    let port = executor.address().port();
    let guarded = HttpTransport::new(TcpConnector::new(AddressGuard::default(), no_tls()), HttpConfig::default());
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        let failed = failure(&guarded, get(&format!("http://{host}:{port}/"))).await;
        assert_eq!((failed.kind, failed.reached), (FailureKind::ForbiddenAddress, false), "{host}: {failed:?}");
    }
    assert_eq!(executor.counts().connections, 0);
}

#[tokio::test]
async fn the_guards_allow_list_lets_just_its_ranges_pass() {
    let executor = Executor::start(|_| Reply::status(200)).await;
    let other = Executor::builder().ip([127, 0, 0, 2].into()).start(|_| Reply::status(200)).await;
    let guard = AddressGuard::allowing(["127.0.0.1/32".parse().unwrap()]);
    let transport = HttpTransport::new(TcpConnector::new(guard, no_tls()), HttpConfig::default());
    answer(&transport, get(&executor.url("/"))).await;
    let numeric = format!("http://2130706433:{}/", executor.address().port());
    answer(&transport, get(&numeric)).await;
    is(&failure(&transport, get(&other.url("/"))).await, FailureKind::ForbiddenAddress, false);
    assert_eq!(other.counts().connections, 0);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_written_counts_and_ends_the_connection() {
    let reply = "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let transport = transport();
    let executor = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut tcp, reply.as_bytes()).await.unwrap();
        tcp
    };
    let (response, _open) = tokio::join!(answer(&transport, post(&url, vec![0; 64 << 20])), executor);
    assert_eq!(response.status.as_u16(), 413);
    assert_eq!(transport.idle_connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_requests_at_a_time_are_each_made_once() {
    let executor = Executor::builder().keep(Keep::Ids).start(|_| Reply::status(200).after(SHORT)).await;
    let transport = with(HttpConfig { idle_per_destination: 64, ..HttpConfig::default() });
    let send = |i: u32| {
        let mut request = get(&executor.url("/"));
        request.http.headers_mut().insert("webhook-id", i.into());
        answer(&transport, request)
    };
    for wave in 0..2 {
        join_all((0..1000).map(|i| send(wave * 1000 + i))).await;
    }
    let mut ids: Vec<_> = executor.requests().iter().map(|r| r.header("webhook-id").parse::<u32>().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..2000));
    assert_eq!(transport.idle_connections(), 64);
}
