//! `quebert events` over streams that end, break off, or never end.

use crate::{
    LONG,
    canned::{Canned, Reply},
    done, quebert,
};
use std::process::Stdio;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};

fn event(seq: u64) -> String {
    let json = serde_json::json!({"seq": seq, "at": "2026-11-24T10:00:00.123Z", "kind": "settled", "queue": "high"});
    format!("id: {seq}\nevent: settled\ndata: {json}\n\n")
}

#[tokio::test]
async fn a_stream_that_ended_goes_on_behind_the_last_event() {
    let api = Canned::start(|n, _| match n {
        0 => Reply::Answer(200, "", format!(": hello\n\n{}{}id: 7\ndata: {{\"half\":", event(5), event(6))),
        1 => Reply::Cut,
        2 => Reply::Answer(503, "", String::new()),
        _ => Reply::Answer(200, "", event(7)),
    })
    .await;
    let args =
        ["events", "-q", "high", "--kind", "settled,buried", "--kind", "expired", "--limit", "3", "--api", &api.url];
    let done = done(quebert(&args), "").await;
    assert!(done.err.contains("going on"), "{}", done.err);
    let out = done.good();
    assert_eq!(out, "10:00:00.123  settled              high\n".repeat(3));
    let asked = api.asked();
    let last: Vec<_> = asked.iter().map(|asked| asked.header("last-event-id")).collect();
    assert_eq!(last, [None, Some("6"), Some("6"), Some("6")]);
    assert!(asked.iter().all(|asked| asked.line == "GET /v1/events?queue=high&kind=settled%2Cburied%2Cexpired"));
}

#[tokio::test]
async fn whoever_stops_reading_ends_it_quietly() {
    let api = Canned::start(|_, _| Reply::Endless(event(1))).await;
    let mut command = quebert(&["events", "--json", "--api", &api.url]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(LONG, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("\"seq\":1"), "{line}");
    drop(lines);
    let output = timeout(LONG, child.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
