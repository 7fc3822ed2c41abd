//! From a message to a checked task. It picks form and codec, and settles ids and moments; it drops nothing: what can't
//! be read is an error, and the message stays as it was.

use crate::{
    Bookkeeping, Codecs, Limits, Message, Task, TaskId, Timestamp,
    check::{Naming, Report, ViolationKind, When, checked},
    header,
    limits::DELAY_MAX,
    raw,
};
use std::{mem, time::Duration};

/// A message that could be read.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The task.
    pub task: Task,
    /// The dispatcher's own notes.
    pub book: Bookkeeping,
    /// When the task was enqueued: the note, `created_at`, the message's timestamp, in this order.
    ///
    /// With `None`, relative moments were counted from `now`: whoever publishes the task again must then note that `now`
    /// as [`Bookkeeping::enqueued_at`], or they would be counted afresh.
    pub enqueued_at: Option<Timestamp>,
    /// Fields that no envelope has, at most eight.
    pub unknown_fields: Vec<String>,
}

/// Why a message is no task. Texts name the field and hold no values but lengths and numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It can't be read at all.
    #[error("{0}")]
    Undecodable(String),
    /// It can be read, but asks for what is not allowed.
    #[error("{0}")]
    NotAllowed(String),
}

/// Reads a message as a task: in the raw form if it has the header `quebert-url`, else as an envelope by the codec of
/// its content type. Unknown fields and reserved HTTP headers are left out.
///
/// ```
/// use quebert_wire::{Codecs, Limits, Message, TaskId, Timestamp, decode};
///
/// let now = Timestamp::from_millis(1_795_424_400_000);
/// let message = Message { body: r#"{"url": "http://localhost/a", "delay_ms": 500}"#.into(), ..Message::default() };
/// let decoded = decode(&message, &Codecs::default(), &Limits::default(), now, || TaskId::v7(now, [7; 10]))?;
/// assert_eq!(decoded.task.destination.as_str(), "http://localhost:80");
/// assert_eq!(decoded.task.not_before, Some(Timestamp::from_millis(1_795_424_400_500)));
/// assert!(!decoded.task.id_given);
/// # Ok::<(), quebert_wire::DecodeError>(())
/// ```
pub fn decode(
    message: &Message,
    codecs: &Codecs,
    limits: &Limits,
    now: Timestamp,
    assign_id: impl FnOnce() -> TaskId,
) -> Result<Decoded, DecodeError> {
    let book = Bookkeeping::read(&message.headers);
    let (mut envelope, naming) = if message.headers.contains_key(header::URL) {
        (raw::read(message)?, Naming::Headers)
    } else {
        (read_envelope(message, codecs)?, Naming::Fields)
    };
    let unknown_fields = mem::take(&mut envelope.unknown_fields);
    let mut report = Report::new(limits, false, naming);
    let checked = match checked(envelope, &mut report) {
        Some(checked) if report.is_empty() => checked,
        _ => return Err(report.into_error()),
    };

    let enqueued_at = book.enqueued_at.or(checked.created_at).or(message.timestamp);
    let base = enqueued_at.unwrap_or(now);
    // AMQP timestamps are cut to seconds. The task may be up to 999 ms younger, and must not be sent early; and since
    // the note may have been taken from the timestamp, it is compared and not just looked for.
    let cut = checked.created_at.is_none() && enqueued_at.is_some() && enqueued_at == message.timestamp;
    let slack = Duration::from_millis(if cut { 999 } else { 0 });
    let not_before = checked.not_before.filter(|_| !book.run_now).map(|when| match when {
        When::At(t) => t,
        When::After(d) => base.saturating_add(d + slack),
    });
    let expires_at = checked.expires.map(|when| match when {
        When::At(t) => t,
        When::After(d) => base.saturating_add(d),
    });
    if not_before.is_some_and(|t| t.since(now) > DELAY_MAX + slack) {
        report.add(ViolationKind::NotAllowed, "not_before", "more than 400 days from now");
        return Err(report.into_error());
    }

    let (id, id_given) = match checked.id {
        Some(id) => (id, true),
        None => identity(message, &book, assign_id)?,
    };
    let task = Task {
        id,
        id_given,
        url: checked.url,
        destination: checked.destination,
        method: checked.method,
        headers: checked.headers,
        body: checked.body,
        created_at: checked.created_at,
        not_before,
        expires_at,
        timeout: checked.timeout,
        retry: checked.retry,
        queue: checked.queue,
        flow_key: checked.flow_key,
        callback: checked.callback,
        labels: checked.labels,
    };
    Ok(Decoded { task, book, enqueued_at, unknown_fields })
}

fn read_envelope(message: &Message, codecs: &Codecs) -> Result<crate::Envelope, DecodeError> {
    let Some(codec) = codecs.find(message.content_type.as_deref()) else {
        let given: String = message.content_type.iter().flat_map(|t| t.chars()).take(100).collect();
        let known = codecs.content_types().collect::<Vec<_>>().join(", ");
        let text = format!("content type \"{}\" is not known; known are {known}", given.escape_debug());
        return Err(DecodeError::Undecodable(text));
    };
    codec.decode(&message.body).map_err(|e| DecodeError::Undecodable(e.to_string()))
}

/// The id of a task whose envelope names none, and whether its producer named it.
fn identity(
    message: &Message,
    book: &Bookkeeping,
    assign_id: impl FnOnce() -> TaskId,
) -> Result<(TaskId, bool), DecodeError> {
    if let Some(id) = message.id.as_deref().filter(|id| !id.is_empty()) {
        let id = TaskId::new(id).map_err(|e| DecodeError::Undecodable(format!("property \"message_id\": {e}")))?;
        return Ok((id, true));
    }
    let noted = book.id.as_deref().and_then(|id| TaskId::new(id).ok());
    Ok((noted.unwrap_or_else(assign_id), false))
}
