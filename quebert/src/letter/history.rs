//! What came of a task's last attempts, from the dispatcher's note. It doesn't write the note.

use super::{cut, note};
use crate::api::types::AttemptView;
use quebert_wire::{Message, Timestamp, header};

/// Most attempts that are shown. The dispatcher notes ten.
const SHOWN_MAX: usize = 100;

/// The attempts that a message's history tells of, newest last. A line that isn't the dispatcher's is shown as it is.
pub fn history(message: &Message) -> Vec<AttemptView> {
    let text = note(message, header::HISTORY).unwrap_or_default();
    let lines: Vec<_> = text.split('\n').filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN_MAX)..].iter().map(|line| attempt(line)).collect()
}

/// A line is `<number> <epoch milliseconds> <outcome> <duration>ms`.
fn attempt(line: &str) -> AttemptView {
    let mut words = line.split(' ');
    let known = match (words.next(), words.next(), words.next(), words.next(), words.next()) {
        (Some(number), Some(at), Some(outcome), Some(_), None) if number.parse::<u32>().is_ok() => {
            at.parse().ok().map(|ms| (outcome, Timestamp::from_millis(ms)))
        }
        _ => None,
    };
    match known {
        Some((outcome, at)) => AttemptView { outcome: outcome.to_owned(), at: Some(at.to_string()) },
        None => AttemptView { outcome: cut(line.to_owned(), 256), at: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quebert_wire::HeaderValue;

    #[test]
    fn each_line_is_an_attempt_with_its_moment() {
        let noted = HeaderValue::Text("1 0 500 12ms\n2 1500 connect_refused 0ms\nsomething else".to_owned());
        let message = Message { headers: [(header::HISTORY.to_owned(), noted)].into(), ..Message::default() };
        let view = |outcome: &str, at: Option<&str>| AttemptView { outcome: outcome.into(), at: at.map(str::to_owned) };
        let expect = [
            view("500", Some("1970-01-01T00:00:00.000Z")),
            view("connect_refused", Some("1970-01-01T00:00:01.500Z")),
            view("something else", None),
        ];
        assert_eq!(history(&message), expect);
    }
}
