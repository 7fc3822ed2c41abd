//! Declares a topology at the broker, or looks whether it is there, object by object.
//!
//! One failing object stops no other, and an object that exists with other arguments is used as it is.

use super::{
    rpc::{Fault, NOT_FOUND, PRECONDITION_FAILED, Requests},
    topology::{Object, Queue, Topology},
};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

/// What was found out about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Kind and name, such as `queue "high"`.
    pub object: String,
    /// How it is.
    pub state: State,
}

/// How an object is at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// There, or made just now.
    Ready,
    /// There, but with other arguments; it is used as it is. The broker's words.
    Differs(String),
    /// Not there. The broker's words.
    Missing(String),
    /// Not to be told without changing something: bindings.
    Unchecked,
    /// The broker refused. Its words.
    Failed(String),
}

impl State {
    /// Whether the dispatcher can work with it.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::Ready | Self::Differs(_) | Self::Unchecked)
    }
}

/// Declares what `topology` says is ours to declare, and looks whether the rest is there.
///
/// # Errors
/// When the connection is lost on the way.
pub(crate) async fn apply(requests: &mut Requests<'_>, topology: &Topology) -> Result<Vec<Report>, Fault> {
    let mut reports = Vec::new();
    // Dead letters first: no moment at which a work queue is there without them.
    for queue in topology.kept().into_iter().chain([topology.announcements()]) {
        reports.push(declare(requests, &Object::Queue(queue)).await?);
    }
    for object in topology.work() {
        reports.push(if topology.declare {
            declare(requests, &object).await?
        } else {
            look(requests, &object).await?
        });
    }
    Ok(reports)
}

/// Looks whether everything is there. What is there and ours to declare is declared once more, which changes nothing and
/// is the only way to be told of other arguments.
///
/// # Errors
/// When the connection is lost on the way.
pub(crate) async fn check(requests: &mut Requests<'_>, topology: &Topology) -> Result<Vec<Report>, Fault> {
    let mut reports = Vec::new();
    let kept = topology.kept().into_iter().chain([topology.announcements()]).map(|queue| (Object::Queue(queue), true));
    for (object, ours) in kept.chain(topology.work().into_iter().map(|object| (object, topology.declare))) {
        let mut report = look(requests, &object).await?;
        if ours && report.state == State::Ready {
            // A user who may not declare gets no further than that it is there.
            let declared = declare(requests, &object).await?;
            if matches!(declared.state, State::Differs(_)) {
                report = declared;
            }
        }
        reports.push(report);
    }
    Ok(reports)
}

/// Declares one object.
pub(crate) async fn declare(requests: &mut Requests<'_>, object: &Object) -> Result<Report, Fault> {
    let result = match object {
        Object::Queue(queue) => declare_queue(requests, queue).await,
        Object::Exchange(exchange) => {
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let (name, kind) = (exchange.name.as_str().into(), exchange.amqp_kind());
            requests
                .make("exchange.declare", async |ch| {
                    ch.exchange_declare(name, kind, options, FieldTable::default()).await
                })
                .await
        }
        Object::Binding { queue, exchange, key } => {
            let (queue, exchange, key) = (queue.as_str().into(), exchange.as_str().into(), key.as_str().into());
            let options = QueueBindOptions::default();
            requests
                .make("queue.bind", async |ch| {
                    ch.queue_bind(queue, exchange, key, options, FieldTable::default()).await
                })
                .await
        }
    };
    report(object, result)
}

/// Declares one queue.
pub(crate) async fn declare_queue(requests: &mut Requests<'_>, queue: &Queue) -> Result<(), Fault> {
    let (name, arguments) = (queue.name.as_str().into(), queue.table());
    let options = QueueDeclareOptions::durable();
    requests.make("queue.declare", async |ch| ch.queue_declare(name, options, arguments).await.map(drop)).await
}

/// Looks whether a queue is there: its messages that are ready, and its consumers.
pub(crate) async fn look_at_queue(requests: &mut Requests<'_>, name: &str) -> Result<(u32, u32), Fault> {
    let name = super::message::short_string("queue", name)
        .map_err(|unfit| Fault::Refused { code: NOT_FOUND, words: unfit.to_string() })?;
    let options = QueueDeclareOptions::default().passive();
    let request = async |ch: lapin::Channel| ch.queue_declare(name, options, FieldTable::default()).await;
    requests.make("queue.declare", request).await.map(|queue| (queue.message_count(), queue.consumer_count()))
}

async fn look(requests: &mut Requests<'_>, object: &Object) -> Result<Report, Fault> {
    let result = match object {
        Object::Queue(queue) => look_at_queue(requests, &queue.name).await.map(drop),
        Object::Exchange(exchange) => {
            let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
            let (name, kind) = (exchange.name.as_str().into(), exchange.amqp_kind());
            requests
                .make("exchange.declare", async |ch| {
                    ch.exchange_declare(name, kind, options, FieldTable::default()).await
                })
                .await
        }
        Object::Binding { .. } => return Ok(Report { object: object.to_string(), state: State::Unchecked }),
    };
    report(object, result)
}

fn report(object: &Object, result: Result<(), Fault>) -> Result<Report, Fault> {
    let state = match result {
        Ok(()) => State::Ready,
        Err(Fault::Refused { code: PRECONDITION_FAILED, words }) => {
            State::Differs(format!("exists with other arguments: {words}"))
        }
        Err(Fault::Refused { code: NOT_FOUND, words }) => State::Missing(words),
        Err(Fault::Refused { words, .. }) => State::Failed(words),
        Err(lost) => return Err(lost),
    };
    Ok(Report { object: object.to_string(), state })
}
