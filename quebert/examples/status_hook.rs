//! Posts the status of every task to another service after each attempt. `cargo run --example status_hook`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

mod common;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use quebert::{App, Attempt, Mediator, Outcome, Verdict, sample::SampleExecutor};
use tokio::net::TcpStream;

/// Tells a status service what becomes of each task. It only looks: the verdict stays as it is.
struct StatusHook {
    /// Where the service listens, such as `127.0.0.1:8000`.
    service: String,
}

impl Mediator for StatusHook {
    fn name(&self) -> &str {
        "status"
    }

    // Runs under the time limit `hooks.timeout`, so a service that hangs holds no task for longer than that. The
    // service may hear of an attempt twice (after a crash), which is why the status names task and attempt.
    async fn after(&self, attempt: &Attempt, outcome: &Outcome, verdict: &Verdict) {
        let status = match verdict {
            Verdict::Complete => "completed",
            Verdict::Retry(_) => "waiting",
            Verdict::Bury { .. } => "dead",
            Verdict::Expire => "expired",
            Verdict::Drop => "dropped",
        };
        let body = format!(
            r#"{{"task":"{}","attempt":{},"outcome":"{}","status":"{status}"}}"#,
            attempt.task.id,
            attempt.number,
            outcome.class()
        );
        // A task is not worth less because its status could not be told: say so and go on.
        match self.post(body.clone()).await {
            Ok(answer) => println!("told {body} -> {answer}"),
            Err(e) => eprintln!("could not tell {body}: {e}"),
        }
    }
}

impl StatusHook {
    async fn post(&self, body: String) -> common::Result<u16> {
        let stream = TcpStream::connect(&self.service).await?;
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::post("/ok").header("host", &self.service).header("content-type", "application/json");
        let response = client.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        Ok(response.status().as_u16())
    }
}

#[tokio::main]
async fn main() -> common::Result<()> {
    let (executor, status_service) = (SampleExecutor::start().await?, SampleExecutor::start().await?);
    let config = common::config("[lanes.mail]\nqueue = \"mail\"\n[http.guard]\nenabled = false")?;
    let service = status_service.url("").trim_start_matches("http://").to_owned();
    let tasks = [("/ok", "a"), ("/flaky", "b"), ("/gone", "c")];
    let tasks = tasks.map(|(path, id)| ("mail", common::task(&executor, path, id))).to_vec();
    common::run(App::new(config).mediator(StatusHook { service }), tasks).await
}
