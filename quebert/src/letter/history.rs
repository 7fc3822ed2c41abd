//! What came of a task's last attempts, from the dispatcher's note, as the API tells it. It doesn't write the note.

use super::note;
use crate::api::types::AttemptView;
use quebert_dispatcher::history;
use quebert_wire::{Message, header};

/// The attempts that a message's history tells of, newest last.
pub fn history(message: &Message) -> Vec<AttemptView> {
    let text = note(message, header::HISTORY).unwrap_or_default();
    let view = |past: history::Past| AttemptView {
        number: past.number,
        outcome: past.outcome,
        at: past.at.to_string(),
        duration_ms: u64::try_from(past.duration.as_millis()).unwrap_or(u64::MAX),
    };
    history::parse(&text).into_iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quebert_wire::HeaderValue;

    #[test]
    fn each_line_is_an_attempt_with_its_moment() {
        let noted = HeaderValue::Text("1 0 500 12ms\n2 1500 connect_refused 0ms\nsomething else".to_owned());
        let message = Message { headers: [(header::HISTORY.to_owned(), noted)].into(), ..Message::default() };
        let view = |number, outcome: &str, at: &str, duration_ms| AttemptView {
            number,
            outcome: outcome.into(),
            at: at.into(),
            duration_ms,
        };
        let expect =
            [view(1, "500", "1970-01-01T00:00:00.000Z", 12), view(2, "connect_refused", "1970-01-01T00:00:01.500Z", 0)];
        assert_eq!(history(&message), expect);
    }
}
