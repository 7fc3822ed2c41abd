//! The executors: HTTP servers that do with each request what its task says, or what a fault says instead. They are
//! hyper's server; what no sane server sends is written past it, on the same connection.

use super::{
    PORT, body,
    reply::{Answer, Raw, answer_of},
};
use crate::{
    case::{Case, Exec, TaskSpec, work::Reply},
    draw::Draw,
    env::Env,
    history::{TaskNo, What},
    host::Host,
    net::Stream,
    run::Execute,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::HeaderMap};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use quebert_dispatcher::{ports::clock::Clock, request::name};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    select,
    sync::{mpsc, oneshot},
    time::sleep,
};

/// Faults that are on one executor now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecKnobs {
    /// Of 1,000 requests, so many are answered so; the first that hits counts. Each with the index of its fault.
    pub instead: Vec<(usize, u32, Exec)>,
    /// Times as long; 0 is once.
    pub times: u32,
    /// And this much longer, in milliseconds.
    pub longer_ms: u64,
    /// Everything is answered with 200 at once: the world heals.
    pub healed: bool,
}

/// One request, as an executor of a user's own sees it.
#[derive(Debug, Clone, Copy)]
pub struct Execution<'a> {
    /// Which executor.
    pub host: Host,
    /// True time.
    pub at: Duration,
    /// Whose.
    pub task: TaskNo,
    /// `Quebert-Attempt`.
    pub attempt: u32,
    /// `Quebert-Redelivered`.
    pub redelivered: bool,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a Bytes,
}

/// What all executors go by. Clones are the same; it outlives its hosts.
#[derive(Clone)]
pub struct Executors {
    case: Arc<Case>,
    execute: Option<Execute>,
    places: Arc<BTreeMap<TaskNo, usize>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    knobs: BTreeMap<Host, ExecKnobs>,
    /// The number of each host's latest request. A host that was down goes on where it was.
    requests: BTreeMap<Host, u64>,
}

impl Executors {
    /// For the tasks of a case.
    pub fn new(case: Arc<Case>) -> Self {
        let places = case.tasks.iter().enumerate().map(|(place, task)| (task.no, place)).collect();
        Self { case, execute: None, places: Arc::new(places), state: Arc::default() }
    }

    /// Doing this, instead of what tasks say.
    #[must_use]
    pub fn doing(self, execute: Option<Execute>) -> Self {
        Self { execute, ..self }
    }

    /// Sets what is wrong with one from now on. Requests that are being worked on go on as they were begun.
    pub fn set(&self, host: Host, knobs: ExecKnobs) {
        self.lock().knobs.insert(host, knobs);
    }

    /// The tasks.
    pub fn case(&self) -> &Case {
        &self.case
    }

    /// What this executor does with this attempt, now: what it does is drawn for the task and the attempt, so that the
    /// same attempt, sent twice, fares the same under the same faults.
    pub fn exec(&self, host: Host, task: TaskNo, attempt: u32) -> Exec {
        self.exec_or(host, task, attempt, || self.planned(task, attempt))
    }

    /// The same, with something else instead of what the task says.
    fn exec_or(&self, host: Host, task: TaskNo, attempt: u32, planned: impl FnOnce() -> Exec) -> Exec {
        let state = self.lock();
        let usual = ExecKnobs::default();
        let knobs = state.knobs.get(&host).unwrap_or(&usual);
        if knobs.healed {
            return usual_exec();
        }
        let draw = Draw::new(self.case.seed).of("executor fault");
        let hit = knobs.instead.iter().find(|(fault, per_mille, _)| {
            // By when it begins, not by its place, so that a case that loses another fault draws the same.
            let key = self.case.faults.get(*fault).map_or(0, |fault| fault.at_ms);
            draw.at(key).at(task.0.into()).at(attempt.into()).chance(*per_mille)
        });
        let mut exec = hit.map_or_else(planned, |(_, _, exec)| exec.clone());
        exec.after_ms = exec.after_ms.saturating_mul(knobs.times.max(1).into()).saturating_add(knobs.longer_ms);
        exec
    }

    /// What the task itself says.
    fn planned(&self, task: TaskNo, attempt: u32) -> Exec {
        let plan = self.spec(task).map_or(&[][..], |spec| &spec.exec);
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        plan.get(index).or(plan.last()).cloned().unwrap_or_else(usual_exec)
    }

    fn spec(&self, task: TaskNo) -> Option<&TaskSpec> {
        self.places.get(&task).map(|place| &self.case.tasks[*place])
    }

    fn next_request(&self, host: Host) -> u64 {
        let mut state = self.lock();
        let number = state.requests.entry(host).or_default();
        *number += 1;
        *number
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 200 after 5 ms.
const fn usual_exec() -> Exec {
    Exec { after_ms: 5, reply: Reply::Status(200) }
}

/// Serves until the host goes down.
pub async fn executor(env: Env, executors: Executors) {
    let mut listener = env.net.bind(PORT).await.expect("nobody else listens on an executor's port");
    while let Ok((stream, _)) = listener.accept().await {
        env.net.spawn(serve(Server { env: env.clone(), executors: executors.clone() }, stream));
    }
}

/// What each connection has of its executor.
#[derive(Clone)]
struct Server {
    env: Env,
    executors: Executors,
}

/// Serves one connection, until either side closes it. An idle one waits without a timer.
async fn serve(server: Server, stream: Stream) {
    let (hand_over, mut handed_over) = mpsc::channel(1);
    let env = server.env.clone();
    let service = service_fn(move |request| respond(server.clone(), hand_over.clone(), request));
    let mut http = http1::Builder::new();
    // Its dates come from the machine's clock.
    http.auto_date_header(false).header_read_timeout(None);
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let raw: Option<Raw> = select! {
        biased;
        raw = handed_over.recv() => raw,
        // How it ended is the client's story.
        _ = &mut connection => None,
    };
    if let Some(raw) = raw {
        let stream = connection.into_parts().io.into_inner();
        let (request, status) = (raw.request, raw.write(stream).await);
        env.note(What::Reply { request, status });
    }
}

/// Answers one request, unless it is handed over to be answered without hyper.
async fn respond(
    server: Server,
    hand_over: mpsc::Sender<Raw>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let Some(asked) = Asked::read(&head.headers) else {
        let mut unknown = Response::new(Full::default());
        *unknown.status_mut() = StatusCode::NOT_FOUND;
        return Ok(unknown);
    };
    let Server { env, executors } = server;
    let (host, task, attempt) = (env.host(), asked.task, asked.attempt);
    let request = executors.next_request(host);
    let intact = executors.spec(task).is_some_and(|spec| body == body::body(task, spec.body_bytes).as_bytes());
    let Asked { delivery, redelivered, .. } = asked;
    let exec = match &executors.execute {
        Some(execute) => {
            let at = env.now();
            let asked = Execution { host, at, task, attempt, redelivered, headers: &head.headers, body: &body };
            executors.exec_or(host, task, attempt, || execute(&asked))
        }
        None => executors.exec(host, task, attempt),
    };
    env.note(What::Request { task, attempt, delivery, request, redelivered, intact, exec: exec.clone() });
    let (answer, answered) = oneshot::channel();
    env.net.spawn(work(env.clone(), request, exec, answer));
    match answered.await {
        Ok(Answer::Http(response)) => return Ok(response),
        Ok(Answer::Raw(raw)) => drop(hand_over.send(raw).await),
        Err(_) => {}
    }
    // Given up when the connection ends, or is handed over.
    std::future::pending().await
}

/// Works on a request, and tells what came of it: in a task of its own, which learns when the client has gone, and
/// tells nothing when its host goes down.
async fn work(env: Env, request: u64, exec: Exec, mut answer: oneshot::Sender<Answer>) {
    let give_up = |env: &Env| env.note(What::Reply { request, status: None });
    select! {
        biased;
        () = answer.closed() => return give_up(&env),
        () = sleep(Duration::from_millis(exec.after_ms)) => {}
    }
    let Some(made) = answer_of(&exec.reply, request, env.clock().now().wall) else {
        answer.closed().await;
        return give_up(&env);
    };
    if let Answer::Http(response) = &made {
        env.note(What::Reply { request, status: Some(response.status().as_u16()) });
    }
    // Who asked may be gone by now: the work is done all the same.
    drop(answer.send(made));
}

/// What a request's headers say.
struct Asked {
    task: TaskNo,
    attempt: u32,
    delivery: Arc<str>,
    redelivered: bool,
}

impl Asked {
    /// `None` for a request that is for no task of a workload.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let id = text(name::WEBHOOK_ID).or_else(|| text(name::IDEMPOTENCY_KEY).map(|key| key.trim_matches('"')))?;
        Some(Self {
            task: TaskNo::of_id(id)?,
            attempt: text(name::ATTEMPT).and_then(|n| n.parse().ok()).unwrap_or(0),
            delivery: text(name::DELIVERY_ID).unwrap_or("").into(),
            redelivered: text(name::REDELIVERED) == Some("true"),
        })
    }
}
