//! What executors do: by the model alone, and on real sockets with the misbehaviour that a dispatcher must bear.

use super::*;
use crate::clock::Clock;
use http::StatusCode;
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

const LONG: Duration = Duration::from_secs(60);

fn executor(line: &str, seed: u64) -> Executor {
    Executor::new(line.parse().unwrap_or_else(|e| panic!("{line}: {e}")), seed)
}

/// Arrives and leaves.
fn reply(executor: &mut Executor, ms: u64, task: u64, attempt: u32) -> Reply {
    let reply = executor.arrive(Duration::from_millis(ms), task, attempt);
    executor.leave();
    reply
}

fn status(reply: &Reply) -> u16 {
    match &reply.act {
        Act::Answer { status, .. } => status.as_u16(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fate_depends_on_seed_task_and_attempt_alone() {
    const LINE: &str = "latency=exp:20ms status=503:30% status=410:5%";
    let (mut one, mut two, mut other) = (executor(LINE, 7), executor(LINE, 7), executor(LINE, 8));
    let fates = |executor: &mut Executor, order: &mut dyn Iterator<Item = u64>| {
        let mut fates = order.map(|task| (task, reply(executor, task, task, 1))).collect::<Vec<_>>();
        fates.sort_by_key(|(task, _)| *task);
        fates
    };
    let first = fates(&mut one, &mut (0..1000));
    assert_eq!(first, fates(&mut two, &mut (0..1000).rev()));
    assert_ne!(first, fates(&mut other, &mut (0..1000)));
    assert_ne!(reply(&mut one, 0, 5, 1).after, reply(&mut one, 0, 5, 2).after);
    let of = |code| first.iter().filter(|(_, reply)| status(reply) == code).count();
    assert!((250..350).contains(&of(503)) && (30..75).contains(&of(410)), "{} and {}", of(503), of(410));
}

#[test]
fn first_attempts_fail_and_later_ones_do_not() {
    let mut executor = executor("fail-first=2", 1);
    assert_eq!([1, 2, 3].map(|attempt| status(&reply(&mut executor, 0, 9, attempt))), [503, 503, 200]);
}

#[test]
fn what_stands_in_line_is_told_from_what_is_worked_on() {
    let of = |line: &str, arrivals: &[u64]| {
        let mut executor = executor(line, 1);
        let told = |ms: &u64| {
            let reply = executor.arrive(Duration::from_millis(*ms), 1, 1);
            (reply.after.as_millis(), reply.line.as_millis())
        };
        arrivals.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(of("latency=50ms", &[0, 0]), [(50, 0), (50, 0)]);
    assert_eq!(of("latency=50ms workers=1", &[0, 10, 20, 300]), [(50, 0), (90, 40), (130, 80), (50, 0)]);
    assert_eq!(of("latency=50ms slope=1 capacity=1", &[0, 0, 0]), [(50, 0), (100, 50), (150, 100)]);
}

#[test]
fn what_is_too_much_is_answered_429_with_a_time() {
    let free = &mut executor("", 1);
    let mut executor = executor("limit=4/s burst=2 retry-after=date", 1);
    assert_eq!([0, 0].map(|ms| status(&reply(&mut executor, ms, 1, 1))), [200, 200]);
    let Act::Answer { status, retry_after, .. } = reply(&mut executor, 0, 1, 1).act else { panic!("an answer") };
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(retry_after, Some((Duration::from_millis(250), RetryAfterForm::Date)));
    assert_eq!(reply(&mut executor, 250, 1, 1).act, reply(free, 0, 1, 1).act);
    let all = (0..20)
        .filter(|_| matches!(reply(&mut executor, 60_000, 1, 1).act, Act::Answer { status, .. } if status == 200));
    assert_eq!(all.count(), 2, "no more than the burst is saved up");
}

#[test]
fn outages_are_at_their_time() {
    let line = "latency=5ms outage=reset:1s..2s outage=hang:2s..3s outage=truncate:3s..4s outage=slow:4s..5s:2s \
                outage=drip:5s..6s:1s outage=status:6s..7s:500 outage=refuse:8s..9s";
    let mut executor = executor(line, 1);
    let acts = [1500, 2500, 3500].map(|ms| reply(&mut executor, ms, 1, 1).act);
    assert_eq!(acts, [Act::Reset, Act::Hang, Act::Truncate]);
    assert_eq!(reply(&mut executor, 4500, 1, 1).after, Duration::from_millis(2005));
    let Act::Answer { body_after, .. } = reply(&mut executor, 5500, 1, 1).act else { panic!("an answer") };
    assert_eq!(body_after, Duration::from_secs(1));
    assert_eq!([6500, 7500].map(|ms| status(&reply(&mut executor, ms, 1, 1))), [500, 200]);
    let at = Duration::from_secs;
    assert_eq!((executor.refuses_until(at(8)), executor.refuses_until(at(9))), (Some(at(9)), None));
    assert_eq!((executor.refuses_from(at(0)), executor.refuses_from(at(8))), (Some(at(8)), None));
}

#[test]
fn what_is_unclear_about_an_executor_is_refused() {
    for line in [
        "workers=0",
        "slope=1",
        "workers=2 slope=1 capacity=1",
        "status=99:1%",
        "status=503:60% status=500:50%",
        "burst=3",
        "limit=0/s",
        "outage=refuse:5s..5s",
        "outage=slow:1s..2s",
        "outage=refuse:1s..2s:3",
        "keep-alive=no",
        "speed=9",
    ] {
        assert!(line.parse::<ExecutorSpec>().is_err(), "{line}");
    }
}

/// Tells what it is told.
struct Teller(Mutex<Vec<String>>, mpsc::Sender<Answered>);

impl Witness for Teller {
    fn arrived(&self, seen: Seen<'_>) -> Option<u64> {
        self.0
            .lock()
            .unwrap()
            .push(format!("{} {} {:?} {:?}", seen.task, seen.attempt, seen.max_attempts, seen.due_ms));
        Some(1)
    }

    fn answered(&self, _: u64, _: u32, _: Duration, how: Answered) {
        self.1.try_send(how).unwrap();
    }
}

struct Site {
    fleet: Fleet,
    teller: Arc<Teller>,
    ends: mpsc::Receiver<Answered>,
}

impl Site {
    async fn start(line: &str) -> Self {
        let (sender, ends) = mpsc::channel(1000);
        let teller = Arc::new(Teller(Mutex::default(), sender));
        let fleet = Fleet::start(&[line.parse().unwrap()], &[], None, 1, Clock::start(), teller.clone()).await.unwrap();
        Self { fleet, teller, ends }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let origin = self.fleet.origin("main").unwrap();
        TcpStream::connect(origin.strip_prefix("http://").unwrap()).await
    }

    async fn send(&self) -> TcpStream {
        let mut stream = self.connect().await.unwrap();
        let head = "POST /task HTTP/1.1\r\nHost: x\r\nwebhook-id: lt-a-7\r\nquebert-attempt: 2\r\nquebert-max-attempts: 20\r\n";
        let rest = "quebert-eta: 1970-01-01T00:00:01.5Z\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
        stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
        stream
    }

    async fn text(&self) -> io::Result<String> {
        let mut text = Vec::new();
        timeout(LONG, self.send().await.read_to_end(&mut text)).await.expect("the connection ends")?;
        Ok(String::from_utf8(text).unwrap())
    }

    async fn end(&mut self) -> Answered {
        timeout(LONG, self.ends.recv()).await.expect("the witness is told").unwrap()
    }
}

#[tokio::test]
async fn a_request_is_answered_and_told_with_its_headers() {
    let mut site = Site::start("latency=1ms").await;
    let text = site.text().await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("thank you\n"), "{text}");
    assert_eq!(site.end().await, Answered::Status(StatusCode::OK, None));
    assert_eq!(*site.teller.0.lock().unwrap(), ["lt-a-7 2 Some(20) Some(1500)"]);
    assert_eq!(site.fleet.peaks().next().unwrap().2, 1);
}

/// The whole tester stands still, as on a machine that does not let it run.
#[tokio::test]
async fn an_answer_that_the_tester_itself_delays_is_told_as_late_and_not_as_work() {
    let mut site = Site::start("latency=10ms workers=1").await;
    let _stream = site.send().await;
    while site.teller.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    std::thread::sleep(Duration::from_millis(100));
    site.end().await;
    let kept = site.fleet.kept().next().unwrap();
    let Means { work_s, line_s, late_s } = kept.means();
    assert!((work_s, line_s) == (0.01, 0.0) && late_s > 0.085 && kept.late().count() == 1, "{kept:?}");
}

#[tokio::test]
async fn a_limit_says_when_to_come_again_in_both_forms() {
    let mut site = Site::start("limit=1/h burst=1").await;
    assert!(site.text().await.unwrap().starts_with("HTTP/1.1 200"));
    let text = site.text().await.unwrap();
    assert!(text.starts_with("HTTP/1.1 429") && text.contains("retry-after: 3600\r\n"), "{text}");
    site.end().await;
    let said = Answered::Status(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(3600)));
    assert_eq!(site.end().await, said);
    let dated = Site::start("limit=1/h burst=1 retry-after=date").await;
    dated.text().await.unwrap();
    assert!(dated.text().await.unwrap().contains(" GMT\r\n"));
}

#[tokio::test]
async fn a_reset_gives_no_answer_and_a_truncated_one_half_of_it() {
    let mut site = Site::start("outage=reset:0s..1h").await;
    let reset = site.text().await;
    assert!(matches!(&reset, Err(e) if e.kind() == io::ErrorKind::ConnectionReset), "{reset:?}");
    assert_eq!(site.end().await, Answered::Fault);
    let mut site = Site::start("outage=truncate:0s..1h").await;
    let text = site.text().await.unwrap();
    assert!(text.contains("content-length: 1000\r\n") && text.ends_with("half of "), "{text}");
    assert_eq!(site.end().await, Answered::Fault);
}

#[tokio::test]
async fn a_hang_lasts_until_the_client_goes() {
    let mut site = Site::start("outage=hang:0s..1h").await;
    let stream = site.send().await;
    while site.teller.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(site.ends.try_recv().is_err(), "it is under way");
    drop(stream);
    assert_eq!(site.end().await, Answered::Fault);
}

#[tokio::test]
async fn a_client_that_goes_before_the_answer_is_told_as_that() {
    let mut site = Site::start("latency=1h").await;
    let stream = site.send().await;
    while site.teller.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(stream);
    assert_eq!(site.end().await, Answered::Abandoned);
}

#[tokio::test]
async fn a_refusal_ends_open_connections_and_itself() {
    let site = Site::start("outage=refuse:100ms..200ms").await;
    let story = async {
        // Busy machines may be past the outage already; then there is only its end to see.
        if let Ok(mut kept) = site.connect().await {
            let mut gone = Vec::new();
            drop(kept.read_to_end(&mut gone).await);
            assert!(gone.is_empty());
        }
        while site.connect().await.is_err() {
            tokio::task::yield_now().await;
        }
        while !site.text().await.is_ok_and(|text| text.starts_with("HTTP/1.1 200")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, story).await.expect("it goes down and comes back on the same port");
}
