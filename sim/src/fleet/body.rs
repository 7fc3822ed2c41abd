//! What tasks look like on the wire: bodies that executors can check, and the messages that carry them. It sends nothing.

use crate::{
    case::{TaskSpec, work::Poison},
    history::TaskNo,
    host::Host,
};
use bytes::Bytes;
use quebert_wire::{Envelope, EnvelopeRetry, Form, Json, JsonCodec, Message, Timestamp};

/// The body of a task: JSON made from its number alone, of `bytes` bytes, or of what the number takes if that is more. So
/// whoever knows the task can tell whether its body is intact.
pub fn body(task: TaskNo, bytes: u32) -> String {
    let short = format!(r#"{{"task":{}}}"#, task.0);
    let head = format!(r#"{{"task":{},"fill":""#, task.0);
    let tail = r#""}"#;
    let room = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(head.len() + tail.len());
    if room == 0 {
        return short;
    }
    // Shifted by the number, so that no part of one body stands at the same place in the next one's.
    let shift = usize::try_from(task.0 % 26).unwrap_or(0);
    let fill = LETTERS.chars().cycle().skip(shift).take(room);
    let mut text = String::with_capacity(head.len() + room + tail.len());
    text.push_str(&head);
    text.extend(fill);
    text.push_str(tail);
    text
}

/// The message that a producer publishes for a task, made at this moment of the producer's clock. Its id is the task's,
/// whatever is wrong with the rest.
pub fn message(spec: &TaskSpec, created_at: Timestamp) -> Message {
    message_with(spec, created_at, |_, _| {})
}

/// The same, with a change to the envelope before it is written.
pub fn message_with(spec: &TaskSpec, created_at: Timestamp, change: impl FnOnce(&TaskSpec, &mut Envelope)) -> Message {
    let id = spec.no.to_string();
    let host = Host::Executor(spec.executor);
    let scheme = if spec.poison == Some(Poison::Scheme) { "ftp" } else { "http" };
    let mut envelope = Envelope {
        id: Some(id.clone()),
        body: Some(Json::new(body(spec.no, spec.body_bytes)).expect("made as JSON")),
        created_at: Some(created_at),
        delay_ms: spec.delay_ms,
        ttl_ms: spec.ttl_ms,
        retry: spec.max_attempts.map(|n| EnvelopeRetry { max_attempts: Some(n), ..EnvelopeRetry::default() }),
        ..Envelope::new(format!("{scheme}://{host}/tasks"))
    };
    change(spec, &mut envelope);
    let mut message = envelope.to_message(Form::Envelope(&JsonCodec)).expect("it has one body, and JSON can say it");
    match spec.poison {
        Some(Poison::Garbage) => message.body = Bytes::from(format!("{{{id} is cut o")),
        Some(Poison::NoUrl) => message.body = Bytes::from(format!(r#"{{"id":"{id}"}}"#)),
        Some(Poison::Scheme) | None => {}
    }
    message
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use super::*;
    use quebert_wire::{Codecs, DecodeError, Decoded, Limits, TaskId, decode};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_123);

    fn read(spec: &TaskSpec) -> Result<Decoded, DecodeError> {
        let no_id = || -> TaskId { panic!("it has an id") };
        decode(&message(spec, NOW), &Codecs::default(), &Limits::default(), NOW, no_id)
    }

    #[test]
    fn bodies_have_the_size_that_was_asked_for_and_no_two_are_alike() {
        for bytes in [0, 1, 30, 100, 100_000] {
            let [one, other] = [7, 8].map(|no| body(TaskNo(no), bytes));
            assert_ne!(one, other);
            assert_eq!(one.len(), (bytes as usize).max(r#"{"task":7}"#.len()).max(if bytes < 22 { 10 } else { 0 }));
            assert!(serde_json::from_str::<serde_json::Value>(&one).unwrap()["task"] == 7);
        }
    }

    #[test]
    fn a_good_task_is_read_as_it_was_specified() {
        let spec = TaskSpec {
            delay_ms: Some(1_500),
            ttl_ms: Some(9_000),
            max_attempts: Some(3),
            executor: 2,
            body_bytes: 64,
            ..TaskSpec::new(17, 0)
        };
        let Decoded { task, enqueued_at, .. } = read(&spec).unwrap();
        assert_eq!(task.id.as_str(), "t17");
        assert_eq!(task.url.to_string(), "http://executor-2/tasks");
        assert_eq!(task.body, body(TaskNo(17), 64).as_bytes());
        assert_eq!(enqueued_at, Some(NOW));
        assert_eq!(task.not_before, Some(NOW.saturating_add(Duration::from_millis(1_500))));
        assert_eq!(task.expires_at, Some(NOW.saturating_add(Duration::from_millis(9_000))));
        assert_eq!(task.retry.max_attempts, Some(3));
    }

    #[test]
    fn poison_is_refused_for_what_is_wrong_with_it_and_keeps_its_id() {
        let poisoned = |poison| TaskSpec { poison: Some(poison), ..TaskSpec::new(3, 0) };
        for poison in [Poison::Garbage, Poison::NoUrl, Poison::Scheme] {
            assert_eq!(message(&poisoned(poison), NOW).id.as_deref(), Some("t3"));
            assert!(read(&poisoned(poison)).is_err(), "{poison:?}");
        }
        let scheme = read(&poisoned(Poison::Scheme)).unwrap_err();
        assert!(matches!(scheme, DecodeError::NotAllowed(_)), "{scheme}");
    }
}
