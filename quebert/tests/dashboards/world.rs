//! Two dispatchers with the embedded broker, the program itself and one made from the library with a mediator of its own; and
//! a third one at a RabbitMQ that tells its own metrics. Their executors are good, flaky, gone, limited, silent and dead. No test stands here.

use crate::process::{Dispatcher, Folder, LONG};
use quebert::{App, Attempt, Before, Config, Mediator, Message, Running, Target, admin::Admin, metrics};
use quebert_broker_adapter::testing::{
    PrivateRabbit,
    executor::{Executor, Reply},
    rabbit::free_port,
};
use std::{
    net::TcpListener,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{task::JoinHandle, time::timeout};

pub(crate) struct World {
    program: Dispatcher,
    library: Arc<Running>,
    library_admin: String,
    at_rabbit: Dispatcher,
    /// Where RabbitMQ tells its metrics.
    rabbit_metrics: String,
    producer: JoinHandle<()>,
    servers: Vec<JoinHandle<()>>,
    _executors: Vec<Executor>,
    _rabbit: PrivateRabbit,
    _folder: Folder,
}

impl World {
    pub(crate) async fn start() -> Self {
        let port = free_port().unwrap();
        let conf = format!("prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\n");
        // It takes the longest, so it starts first.
        let rabbit = tokio::spawn(PrivateRabbit::start_with_plugins(conf, "rabbitmq_prometheus"));
        let folder = Folder::new("dashboards");
        let good = Executor::start(|request| match request.target.as_str() {
            "/flaky" if request.header("quebert-attempt") == "1" => Reply::status(503),
            "/gone" => Reply::status(410),
            "/broken" => Reply::status(500),
            _ => Reply::status(200),
        });
        let limited = Executor::start(|request| match request.header("quebert-attempt") {
            "1" => Reply::status(429).header("retry-after", "1"),
            _ => Reply::status(200),
        });
        let silent = Executor::start(|_| Reply::Hang);
        let executors = vec![good.await, limited.await, silent.await];

        let config = folder.0.join("quebert.toml");
        std::fs::write(&config, CONFIG).unwrap();
        let mut program = Dispatcher::start_in(&folder.0, &["--config", config.to_str().unwrap()]).await;
        program.ready().await;
        // Once well, and once not.
        for text in [CONFIG, "[pool]\nslots = \"many\""] {
            std::fs::write(&config, text).unwrap();
            program.signal("HUP").await;
            let said =
                if text == CONFIG { "config reloaded" } else { "config not reloaded; everything stays as it is" };
            program.line(said).await;
        }

        let (library, library_admin, servers) = Self::library(&folder.0.join("library")).await;
        let rabbit = rabbit.await.unwrap().unwrap();
        let args = ["--config", config.to_str().unwrap(), "--broker", &rabbit.url()];
        std::fs::write(&config, CONFIG).unwrap();
        let at_rabbit = Dispatcher::start_in(&folder.0, &args).await;
        at_rabbit.ready().await;
        let tasks = tasks(&executors);
        let apis = [program.api.clone(), at_rabbit.api.clone()];
        let producer = tokio::spawn(produce(apis, library.clone(), tasks));
        Self {
            program,
            library,
            library_admin,
            at_rabbit,
            rabbit_metrics: format!("127.0.0.1:{port}"),
            producer,
            servers,
            _executors: executors,
            _rabbit: rabbit,
            _folder: folder,
        }
    }

    async fn library(folder: &Path) -> (Arc<Running>, String, Vec<JoinHandle<()>>) {
        let broker = format!("[broker]\nurl = \"embedded:{}\"\n", folder.display());
        let config = Config::from_toml(&format!("{CONFIG}{broker}")).unwrap();
        let running = App::new(config).mediator(Picky).start().unwrap();
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = admin.address().unwrap().to_string();
        let serve = tokio::spawn(admin.serve(running.metrics.clone(), running.health.clone()));
        let watch = tokio::spawn(running.watch());
        (Arc::new(running), address, vec![serve, watch])
    }

    /// The dispatchers, to scrape.
    pub(crate) fn targets(&self) -> [String; 3] {
        [self.program.admin.clone(), self.library_admin.clone(), self.at_rabbit.admin.clone()]
    }

    /// RabbitMQ, to scrape.
    pub(crate) fn rabbit(&self) -> &str {
        &self.rabbit_metrics
    }

    /// Waits until all have been through all that the dashboards look for.
    pub(crate) async fn everything_has_happened(&self) {
        let happened = timeout(LONG, async {
            loop {
                let at_rabbit = self.at_rabbit.get("/metrics").await.1;
                let texts = [self.program.get("/metrics").await.1, text(&self.library), at_rabbit];
                if texts.iter().all(|text| EVENTS.iter().all(|event| is_above_zero(text, event)))
                    && is_above_zero(&texts[1], "quebert_hook_errors_total{hook=\"picky\",phase=\"before\"}")
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if happened.await.is_err() {
            let text = self.program.get("/metrics").await.1;
            let missing = EVENTS.iter().filter(|event| !is_above_zero(&text, event)).collect::<Vec<_>>();
            panic!("these never happened: {missing:?}");
        }
    }

    /// Nothing new comes in; what is under way is left alone.
    pub(crate) async fn stop(&self) {
        self.producer.abort();
        self.servers.iter().for_each(JoinHandle::abort);
        self.library.handle.stop_now();
        self.program.signal("KILL").await;
        self.at_rabbit.signal("KILL").await;
    }
}

/// Never comes to an end with one kind of task.
struct Picky;

impl Mediator for Picky {
    fn name(&self) -> &str {
        "picky"
    }

    async fn before(&self, attempt: &mut Attempt) -> Before {
        if attempt.task.url.to_string().ends_with("/picky") {
            std::future::pending::<()>().await;
        }
        Before::Send
    }
}

/// URLs with how long they live.
fn tasks(executors: &[Executor]) -> Vec<(String, Option<u64>)> {
    let [good, limited, silent] = executors else { unreachable!("there are three") };
    // A port that nobody listens on: the system has just given it out, and gives others first.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut tasks = vec![(good.url("/ok"), None); 10];
    tasks.extend([
        (good.url("/flaky"), None),
        (good.url("/gone"), None),
        (good.url("/broken"), Some(1_500)),
        (good.url("/picky"), None),
        (limited.url("/"), None),
        (silent.url("/"), Some(400)),
        (format!("http://{dead}/"), None),
        ("no URL at all".to_owned(), None),
    ]);
    tasks
}

/// One after the other, to all, for ever.
async fn produce(apis: [String; 2], library: Arc<Running>, tasks: Vec<(String, Option<u64>)>) {
    for n in 0_usize.. {
        let (url, ttl_ms) = tasks[n % tasks.len()].clone();
        let lane = if n % 3 == 0 { "bulk" } else { "mail" };
        let created_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let ttl = ttl_ms.map(|ttl| format!(", \"ttl_ms\": {ttl}")).unwrap_or_default();
        let body = format!(
            "{{\"url\": \"{url}\", \"queue\": \"{lane}\", \"id\": \"task-{n}\", \"created_at\": {created_at}, \"body\": {n}{ttl}}}"
        );
        // What can't be decoded is refused by the API, so it goes past it.
        if url.starts_with("http") {
            for api in &apis {
                drop(crate::process::ask(api, "POST", "/v1/tasks", &body).await);
            }
        }
        let message =
            Message { content_type: Some("application/json".to_owned()), body: body.into(), ..Message::default() };
        let queue = format!("quebert.{lane}");
        drop(library.broker.publish(Target::Queue(queue.into()), message).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn text(running: &Running) -> String {
    metrics::encode(&running.metrics, metrics::Format::Classic)
}

/// Whether the sum of the series that begin so is more than nothing.
fn is_above_zero(text: &str, series: &str) -> bool {
    text.lines().filter(|line| line.starts_with(series)).any(|line| !line.ends_with(" 0"))
}

/// Failures, retries, expiries, dead letters, a host that limits, one that is silent and one that is dead.
const EVENTS: [&str; 8] = [
    "quebert_settlements_total{queue=\"mail\",result=\"succeeded\"}",
    "quebert_settlements_total{queue=\"mail\",result=\"retried\"}",
    "quebert_tasks_expired_total",
    "quebert_dead_lettered_total{queue=\"mail\",reason=\"permanent\"}",
    "quebert_retries_scheduled_total{queue=\"mail\",reason=\"429\"}",
    "quebert_publish_confirm_duration_seconds_count{purpose=\"retry\"}",
    "quebert_publish_confirm_duration_seconds_count{purpose=\"due\"}",
    "quebert_runtime_timer_lag_seconds_count",
];

const CONFIG: &str = r#"
[lanes.mail]
priority = 1
slots_max = 16
attempt_timeout = "1s"
[lanes.bulk]
slots_max = 16
attempt_timeout = "1s"
[retry]
backoff_min = "200ms"
backoff_max = "2s"
max_attempts = 3
[http.guard]
enabled = false
[metrics]
depth_interval = "1s"
[hooks]
timeout = "200ms"
"#;
