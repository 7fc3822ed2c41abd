//! A private Prometheus on a folder of blocks, which it only reads: it scrapes nothing and has no rules. What is asked of
//! it stands in `evaluate`.

use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

/// The labels of a series, and its values by their moment in seconds since the Unix epoch.
pub(crate) type Series = (Vec<(String, String)>, Vec<(f64, String)>);

pub(crate) struct Prometheus {
    child: Child,
    address: String,
    /// As long as it is there, somebody takes what is logged.
    _log: BufReader<ChildStderr>,
}

impl Prometheus {
    /// Starts it, and waits until it has opened all blocks.
    pub(crate) fn start(folder: &Path) -> Self {
        std::fs::write(folder.join("prometheus.yml"), "").unwrap();
        let mut child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=blocks", "--web.listen-address=127.0.0.1:0"])
            // Or it would throw away what is older than the youngest block by more than 15 days.
            .arg("--storage.tsdb.retention.time=100y")
            // Blocks have no markers of staleness: a series has ended if it was not there in two scrapes, not five minutes.
            .arg("--query.lookback-delta=40s")
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs prometheus: install it (Debian: apt-get install prometheus)");
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut said, mut address) = (String::new(), None);
        while !said.contains("Server is ready") {
            let before = said.len();
            assert!(log.read_line(&mut said).unwrap() > 0, "it does not start:\n{said}");
            if let Some((_, own)) = said[before..].split_once("msg=\"Listening on\" address=") {
                address = Some(own.trim().to_owned());
            }
        }
        Self { child, address: address.expect("it says where it listens"), _log: log }
    }

    /// The expression's value at each step, first and last included.
    pub(crate) fn range(&self, expression: &str, from: u64, to: u64, step: u64) -> Vec<Series> {
        let query = escaped(expression);
        let answer = self.get(&format!("/api/v1/query_range?query={query}&start={from}&end={to}&step={step}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().iter().map(series).collect()
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn series(value: &Value) -> Series {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let labels = value["metric"].as_object().unwrap().iter().map(|(label, value)| (label.clone(), text(value)));
    let points = value["values"].as_array().unwrap().iter().map(|point| (point[0].as_f64().unwrap(), text(&point[1])));
    (labels.collect(), points.collect())
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
