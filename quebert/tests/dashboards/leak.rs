//! A mutant dispatcher that loses track of one delivery in a thousand sets off the alert of the conservation law, and one that
//! doesn't, doesn't. Both see the same run; what their metrics said is handed to promtool.

use crate::process::{Folder, LONG};
use quebert::{
    App, Broker as _, Config, Event, MemoryBroker, Message, Observer, Target,
    dispatcher::{
        outcome::{Outcome, Response},
        ports::{
            BoxFuture,
            transport::{Request, Transport},
        },
    },
    health::Health,
    metrics::Metrics,
    wire::Timestamp,
};
use quebert_dashboards::{Bundle, Settings, rules};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{sync::Notify, time::timeout};

const DELIVERIES: u64 = 12_000;

#[tokio::test]
async fn one_delivery_lost_in_a_thousand_sets_off_the_alert() {
    let config = Config::from_toml("[lanes.mail]\nslots_max = 64\n[log]\nlevel = \"error\"").unwrap();
    let metrics = || {
        let health = Arc::new(Health::new(config.core.lanes.iter().map(|lane| lane.name.clone())));
        Metrics::new(&config.core.lanes, 10, health, Timestamp::from_millis(0))
    };
    let [honest, mutant] = [None, Some(1000)].map(|one_in| Arc::new(Watched::new(metrics(), one_in)));
    let broker = MemoryBroker::new();
    broker.declare("quebert.mail");
    let app = App::new(config.clone()).broker(broker.clone()).transport(Instantly);
    let mut running = app.observer(honest.clone()).observer(mutant.clone()).start().unwrap();
    for n in 0..DELIVERIES {
        let body = format!("{{\"url\": \"http://executor/\", \"id\": \"{n}\"}}");
        let message = Message { body: body.into(), ..Message::default() };
        broker.publish(Target::Queue("quebert.mail".into()), message).await.unwrap();
    }
    for watched in [&honest, &mutant] {
        timeout(LONG, watched.over.notified()).await.expect("all is settled");
    }
    running.handle.stop_now();
    running.end().await;

    let mut series = BTreeMap::<String, String>::new();
    for (instance, watched) in [("honest", &honest), ("mutant", &mutant)] {
        for text in watched.seen.lock().unwrap().iter() {
            record(&mut series, instance, text);
        }
    }
    judged_by_promtool(&series, 12);
}

/// The real metrics, which are told of all events but one settlement in so many.
struct Watched {
    metrics: Metrics,
    one_in: Option<u64>,
    settled: AtomicU64,
    /// What they said after each thousand.
    seen: Mutex<Vec<String>>,
    over: Notify,
}

impl Watched {
    fn new(metrics: Metrics, one_in: Option<u64>) -> Self {
        Self { metrics, one_in, settled: AtomicU64::new(0), seen: Mutex::default(), over: Notify::new() }
    }
}

impl Observer for Watched {
    fn observe(&self, event: &Event) {
        let Event::Settled { .. } = event else { return self.metrics.observe(event) };
        let settled = self.settled.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.one_in.is_some_and(|one_in| settled.is_multiple_of(one_in)) {
            self.metrics.observe(event);
        }
        if settled.is_multiple_of(1000) {
            self.seen.lock().unwrap().push(String::from_utf8(self.metrics.encode()).unwrap());
        }
        if settled == DELIVERIES {
            self.over.notify_one();
        }
    }
}

struct Instantly;

impl Transport for Instantly {
    fn send(&self, _: Request) -> BoxFuture<'static, Outcome> {
        let (status, headers) = (http::StatusCode::OK, http::HeaderMap::new());
        let response = Response { status, headers, body: bytes::Bytes::new(), truncated: false };
        Box::pin(async move { Outcome::Answered(response) })
    }
}

/// The four terms of the law, one value a minute.
fn record(series: &mut BTreeMap<String, String>, instance: &str, text: &str) {
    const TERMS: [&str; 4] = [
        "quebert_deliveries_total{",
        "quebert_settlements_total{",
        "quebert_tasks_in_flight{",
        "quebert_tasks_buffered{",
    ];
    for line in text.lines().filter(|line| TERMS.iter().any(|term| line.starts_with(term))) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.replacen('{', &format!("{{job=\"quebert\",instance=\"{instance}\","), 1);
        let values = series.entry(name).or_default();
        let _ = write!(values, "{value} ");
    }
}

/// The run takes these minutes, and then nothing more happens for half an hour.
fn judged_by_promtool(series: &BTreeMap<String, String>, minutes: usize) {
    let folder = Folder::new("leak");
    std::fs::write(folder.0.join("rules.yml"), rules::file(&Bundle::new(&Settings::default()).groups)).unwrap();
    let mut text =
        "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n".to_owned();
    for (name, values) in series {
        let last = values.trim().rsplit(' ').next().unwrap();
        assert_eq!(values.trim().split(' ').count(), minutes, "{name}");
        let _ = writeln!(text, "      - series: '{name}'\n        values: '{values}{last}x30'");
    }
    let _ = write!(
        text,
        "    promql_expr_test:\n      - expr: ALERTS{{alertname=\"QuebertAccountingLeak\",alertstate=\"firing\"}}\n        \
         eval_time: 40m\n        exp_samples:\n          - labels: 'ALERTS{{alertname=\"QuebertAccountingLeak\",\
         alertstate=\"firing\",severity=\"ticket\",job=\"quebert\",instance=\"mutant\",queue=\"mail\"}}'\n            value: 1\n"
    );
    std::fs::write(folder.0.join("test.yml"), text).unwrap();
    let out = Command::new("promtool").args(["test", "rules", "test.yml"]).current_dir(&folder.0).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}");
}
