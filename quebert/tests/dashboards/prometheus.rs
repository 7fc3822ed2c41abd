//! A private Prometheus with the rules, which it evaluates every second. No test stands here.

use crate::{
    process::{Folder, LONG},
    world::World,
};
use quebert_broker_adapter::testing::rabbit::free_port;
use quebert_dashboards::{
    Bundle, Settings,
    check::{Question, View},
    rules,
};
use serde_json::Value;
use std::{
    fmt::Write as _,
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

pub(crate) struct Prometheus {
    address: String,
    _child: Child,
    _folder: Folder,
}

/// RabbitMQ counts every few seconds, and such queues are made when first needed.
const DELAYED: &str = "rabbitmq_detailed_queue_messages_ready{queue=~\"quebert[.]delay[.].+\"}";
const DEAD: &str = "rabbitmq_detailed_queue_messages_ready{queue=\"quebert.mail.dead\"} > 0";
/// Each rate needs some, and the ratios of ratios a few more.
const SCRAPES: f64 = 6.0;

impl Prometheus {
    pub(crate) async fn start(targets: &[String], rabbit: &str) -> Self {
        let folder = Folder::new("prometheus");
        let mut groups = Bundle::new(&Settings::default()).groups;
        // As they are, some had not run yet when this test ends.
        groups.iter_mut().for_each(|group| group.interval = Some("1s"));
        std::fs::write(folder.0.join("rules.yml"), rules::file(&groups)).unwrap();
        let targets = targets.iter().map(|target| format!("\"{target}\"")).collect::<Vec<_>>().join(", ");
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [rules.yml]\nscrape_configs:\n  \
             - job_name: quebert\n    sample_limit: 20000\n    static_configs:\n      - targets: [{targets}]\n  \
             - job_name: rabbitmq\n    static_configs:\n      - targets: [\"{rabbit}\"]\n  \
             - job_name: rabbitmq-queues\n    metrics_path: /metrics/detailed\n    params:\n      \
             family: [queue_coarse_metrics, queue_consumer_count]\n    static_configs:\n      - targets: [\"{rabbit}\"]\n"
        );
        std::fs::write(folder.0.join("prometheus.yml"), config).unwrap();
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let log = std::fs::File::create(folder.0.join("log")).unwrap();
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--enable-feature=exemplar-storage"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(&folder.0)
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("this test needs prometheus: install it (Debian: apt-get install prometheus)");
        let this = Self { address, _child: child, _folder: folder };
        let ready = timeout(LONG, async {
            while !this.get("/-/ready").await.is_some_and(|text| text.contains("200 OK")) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        ready.await.unwrap_or_else(|_| {
            panic!("it does not start:\n{}", std::fs::read_to_string(this._folder.0.join("log")).unwrap_or_default())
        });
        this
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it has scraped both often enough since everything had happened that is looked for.
    pub(crate) async fn seen_enough(&self, world: &World) {
        let seen = timeout(LONG, async {
            world.everything_has_happened().await;
            let since = now();
            loop {
                let window = (now() - since).max(1.0).floor();
                let scraped = format!("min(count_over_time(up{{job=\"quebert\"}}[{window}s])) >= {SCRAPES}");
                let query = format!("{scraped} and on () {DELAYED} and on () {DEAD}");
                let question = Question { path: "/api/v1/query".to_owned(), query: vec![("query", query)] };
                let answer = self.ask(&question).await.unwrap();
                if !answer["result"].as_array().unwrap().is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        seen.await.expect("it scrapes");
    }

    pub(crate) fn view(&self) -> View {
        View {
            job: "quebert.*".to_owned(),
            end: now(),
            span: 20.0,
            step: 1.0,
            rate_interval: "10s".to_owned(),
            series_max: SERIES_MAX,
        }
    }

    pub(crate) async fn ask(&self, question: &Question) -> Result<Value, String> {
        let mut path = question.path.clone();
        for (n, (name, value)) in question.query.iter().enumerate() {
            let _ = write!(path, "{}{}={}", if n == 0 { '?' } else { '&' }, escaped(name), escaped(value));
        }
        let text = self.get(&path).await.expect("it answers");
        let (_, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let mut answer: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{path}: {e}: {text}"));
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].take()),
            _ => Err(answer["error"].as_str().unwrap_or_default().to_owned()),
        }
    }

    /// HTTP/1.0, so that the answer ends with the connection.
    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    }
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

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Of one dispatcher with two lanes and four destinations; 1,128 were measured. More means that a label has run wild.
const SERIES_MAX: u64 = 1_500;
