//! `quebert demo`: its sums, its end, and what it leaves behind.

use crate::process::{Folder, LONG, ask, exit_code, quebert, signal};
use std::{collections::BTreeMap, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};

/// A demo that prints lines, with a folder for temporary files of its own.
struct Demo {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    folder: Folder,
}

impl Demo {
    fn start(name: &str, args: &[&str]) -> Self {
        let folder = Folder::new(name);
        let mut command = quebert(&[&["demo", "--api", "127.0.0.1:0"], args].concat());
        let mut child = command.env("TMPDIR", &folder.0).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, out, folder }
    }

    /// The next line that contains this.
    async fn line(&mut self, part: &str) -> String {
        let found = timeout(LONG, async {
            while let Some(line) = self.out.next_line().await.unwrap() {
                if line.contains(part) {
                    return line;
                }
            }
            panic!("the output ended without {part:?}");
        });
        found.await.unwrap_or_else(|_| panic!("no line with {part:?}"))
    }

    /// The two equations of the end, recomputed; the numbers by their names.
    async fn sums(&mut self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for what in ["tasks:", "deliveries:"] {
            let line = self.line(what).await;
            let (left, right) = line.trim_start_matches(what).split_once(" = ").unwrap_or_else(|| panic!("{line}"));
            let number = |text: &str| {
                let (number, name) = text.trim().split_once(' ').unwrap_or_else(|| panic!("{line}"));
                (name.to_owned(), number.parse::<u64>().unwrap_or_else(|e| panic!("{e}: {line}")))
            };
            let (whole, parts) = (number(left), right.split(" + ").map(number).collect::<Vec<_>>());
            assert_eq!(whole.1, parts.iter().map(|(_, n)| n).sum::<u64>(), "{line}");
            all.extend(parts);
            all.insert(whole.0, whole.1);
        }
        all
    }

    /// Its exit code; nothing of it is left.
    async fn end(mut self) -> Option<i32> {
        let code = exit_code(&mut self.child).await;
        let left: Vec<_> = std::fs::read_dir(&self.folder.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
        code
    }
}

#[tokio::test]
async fn a_demo_of_five_seconds_ends_with_sums_that_add_up() {
    let mut demo = Demo::start("demo-seconds", &["--plain", "--seconds", "5"]);
    demo.line("attempt 1: 429").await;
    demo.line("given up").await;
    let sums = demo.sums().await;
    assert!(sums["enqueued"] > 20 && sums["done"] > 0 && sums["dead"] > 0, "{sums:?}");
    assert_eq!(demo.end().await, Some(0));
}

#[tokio::test]
async fn a_demo_of_so_many_tasks_ends_when_each_has_come_to_its_end() {
    let mut demo = Demo::start("demo-tasks", &["--tasks", "40", "--seconds", "0.5"]);
    let sums = demo.sums().await;
    assert_eq!((sums["enqueued"], sums["waiting"]), (40, 0), "{sums:?}");
    assert_eq!(demo.end().await, Some(0));
}

#[tokio::test]
async fn an_interrupted_demo_drains_and_its_console_answers_until_then() {
    let mut demo = Demo::start("demo-interrupted", &[]);
    let line = demo.line("http://").await;
    let (_, address) = line.split_once("http://").unwrap();
    let address = address.trim_end_matches('/');
    let (status, text) = ask(address, "GET", "/", "").await;
    assert!(status == 200 && text.contains("text/html"), "{text}");
    let ready = timeout(LONG, async {
        loop {
            let (status, text) = ask(address, "GET", "/v1/status", "").await;
            assert!(status == 200 && text.contains("\"engine\":\"embedded\""), "{text}");
            if text.contains("\"ready\":true") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    ready.await.expect("it gets ready");
    // Two tasks more, from outside, one of them taken out again: the sums know of both.
    for id in ["mine", "yours"] {
        let task = format!("{{\"url\": \"http://127.0.0.1:9/\", \"id\": \"{id}\", \"delay_ms\": 3600000}}");
        assert_eq!(ask(address, "POST", "/v1/tasks", &task).await.0, 201);
    }
    let cancelled = timeout(LONG, async {
        // 409 while the dispatcher moves it to where it waits.
        while ask(address, "DELETE", "/v1/tasks/yours", "").await.0 == 409 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    cancelled.await.expect("it comes to rest");
    demo.line("again in").await;
    signal(&demo.child, "INT").await;
    let sums = demo.sums().await;
    assert!(sums["delivered"] > 0 && sums["waiting"] > 0 && sums["taken out by hand"] == 1, "{sums:?}");
    assert_eq!(demo.end().await, Some(0));
}
