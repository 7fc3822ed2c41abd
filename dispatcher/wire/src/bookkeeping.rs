//! The dispatcher's notes on a task, kept in message headers, so that the body stays as the producer wrote it.
//! It decides nothing: what the notes mean is the dispatcher's business.

pub use crate::header;
use crate::{HeaderValue, Headers, Timestamp};

/// The notes. A message without any is a task's first delivery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bookkeeping {
    /// Attempts made so far.
    pub attempts: u32,
    /// No attempt before this.
    pub due_at: Option<Timestamp>,
    /// When the message went into the delay queue it is in.
    pub hop_at: Option<Timestamp>,
    /// The broker's name of the work queue to return to.
    pub return_to: Option<String>,
    /// When the task was enqueued, as far as known.
    pub enqueued_at: Option<Timestamp>,
    /// How often in a row the task was put off without an attempt.
    pub put_offs: u32,
    /// How often the task has been republished, for whatever cause; tells its copies apart.
    pub copy: u32,
    /// How often in a row the task came again without an attempt in between that ended, where the broker itself does not
    /// count that.
    pub redeliveries: u32,
    /// Status of the attempt before.
    pub previous_status: Option<u16>,
    /// Why the task is tried again.
    pub retry_reason: Option<String>,
    /// The id that was given to a task that came without one.
    pub id: Option<String>,
    /// Somebody has had the task sent at once: its own `not_before` counts no more. Backoff does.
    pub run_now: bool,
    /// What came of the last attempts, newest last.
    pub history: Option<String>,
}

impl Bookkeeping {
    /// Reads the notes. A header of the wrong type or out of range counts as absent: whoever writes junk into reserved
    /// headers loses the note, not the task.
    pub fn read(headers: &Headers) -> Self {
        if headers.is_empty() {
            return Self::default();
        }
        let int = |name: &str| match headers.get(name) {
            Some(HeaderValue::Int(n)) => Some(*n),
            _ => None,
        };
        let count = |name: &str| int(name).and_then(|n| u32::try_from(n).ok());
        let time = |name: &str| int(name).map(Timestamp::from_millis);
        let text = |name: &str| match headers.get(name) {
            Some(HeaderValue::Text(s)) => Some(s.clone()),
            _ => None,
        };
        Self {
            attempts: count(header::ATTEMPTS).unwrap_or(0),
            due_at: time(header::DUE_AT),
            hop_at: time(header::HOP_AT),
            return_to: text(header::RETURN_TO),
            enqueued_at: time(header::ENQUEUED_AT),
            put_offs: count(header::PUT_OFFS).unwrap_or(0),
            copy: count(header::COPY).unwrap_or(0),
            redeliveries: count(header::REDELIVERIES).unwrap_or(0),
            previous_status: int(header::PREVIOUS_STATUS).and_then(|n| u16::try_from(n).ok()),
            retry_reason: text(header::RETRY_REASON),
            id: text(header::ID),
            run_now: headers.get(header::RUN_NOW) == Some(&HeaderValue::Bool(true)),
            history: text(header::HISTORY),
        }
    }

    /// Writes the notes over whatever notes stood there.
    pub fn write(&self, headers: &mut Headers) {
        let mut put = |name: &str, value: Option<HeaderValue>| match value {
            Some(value) => drop(headers.insert(name.to_owned(), value)),
            None => drop(headers.remove(name)),
        };
        let time = |t: Option<Timestamp>| t.map(|t| HeaderValue::Int(t.as_millis()));
        let text = |s: &Option<String>| s.clone().map(HeaderValue::Text);
        let count = |n: u32| (n > 0).then(|| HeaderValue::Int(i64::from(n)));
        put(header::ATTEMPTS, count(self.attempts));
        put(header::DUE_AT, time(self.due_at));
        put(header::HOP_AT, time(self.hop_at));
        put(header::RETURN_TO, text(&self.return_to));
        put(header::ENQUEUED_AT, time(self.enqueued_at));
        put(header::PUT_OFFS, count(self.put_offs));
        put(header::COPY, count(self.copy));
        put(header::REDELIVERIES, count(self.redeliveries));
        put(header::PREVIOUS_STATUS, self.previous_status.map(|s| HeaderValue::Int(i64::from(s))));
        put(header::RETRY_REASON, text(&self.retry_reason));
        put(header::ID, text(&self.id));
        put(header::RUN_NOW, self.run_now.then_some(HeaderValue::Bool(true)));
        put(header::HISTORY, text(&self.history));
    }
}
