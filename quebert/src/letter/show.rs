//! Dead letters as JSON for people. What looks like a secret is hidden; nothing is sent anywhere.

use super::{Letter, border, history::history, mask};
use crate::api::types::{DeadDetail, DeadView};
use quebert_wire::{Codecs, Message, header};
use serde_json::Value;
use std::borrow::Cow;

/// Bytes of a body that are shown at most.
pub const SHOWN_BYTES: usize = 64 * 1024;

impl Letter {
    /// At a glance.
    pub fn view(&self) -> DeadView {
        DeadView {
            key: self.key.clone(),
            id: self.id.clone(),
            queue: self.lane.clone(),
            reason: self.reason.clone(),
            detail: self.detail.clone(),
            dead_at: self.at.map(|at| at.to_string()),
            attempts: self.attempts,
            url: self.url.clone(),
        }
    }

    /// In full. `message` is the one that this was read from.
    pub fn detail(&self, message: &Message) -> DeadDetail {
        let headers = message.headers.iter().map(|(name, value)| (name.clone(), mask::header_value(name, value)));
        let (body, lossy) = body(message);
        DeadDetail {
            letter: self.view(),
            history: history(message),
            content_type: message.content_type.clone(),
            headers: Value::Object(headers.collect()),
            body_lossy: lossy,
            body,
            body_bytes: message.body.len() as u64,
            replays_to: self.returns_to.clone(),
        }
    }
}

/// The body as text, and whether that is not all of it as it is. Envelopes that are no JSON are shown as JSON.
fn body(message: &Message) -> (String, bool) {
    let raw_form = message.headers.contains_key(header::URL);
    let (text, lossy) = match std::str::from_utf8(&message.body) {
        Ok(text) if raw_form => (Cow::Borrowed(text), false),
        Ok(text) => (mask::without_secrets(text), false),
        Err(_) => match translated(message).filter(|_| !raw_form) {
            Some(json) => (Cow::Owned(mask::without_secrets(&json).into_owned()), true),
            None => (String::from_utf8_lossy(&message.body), true),
        },
    };
    let end = border(&text, SHOWN_BYTES);
    (text[..end].to_owned(), lossy || end < text.len())
}

fn translated(message: &Message) -> Option<String> {
    let envelope = Codecs::default().find(message.content_type.as_deref())?.decode(&message.body).ok()?;
    serde_json::to_string(&envelope).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::tests::{buried, drawer};
    use quebert_wire::{Codec as _, Envelope, HeaderValue, HeaderValues, MessagePackCodec};

    fn detail(message: &Message) -> DeadDetail {
        Letter::read(message, &drawer()).detail(message)
    }

    #[test]
    fn a_letter_is_shown_in_full() {
        let shown = detail(&buried());
        assert_eq!(shown.letter.dead_at.as_deref(), Some("1970-01-01T00:16:40.000Z"));
        assert_eq!(shown.history.len(), 1);
        assert_eq!(shown.headers["mine"], "kept");
        assert_eq!(shown.replays_to.as_deref(), Some("quebert.high"));
        assert_eq!((shown.body.as_bytes(), shown.body_lossy), (&*buried().body, false));
    }

    #[test]
    fn secrets_are_hidden_in_the_envelope_and_in_the_headers() {
        let mut message = buried();
        message.headers.insert("quebert-h-authorization".into(), HeaderValue::Text("hunter2".into()));
        message.body = r#"{"url":"http://h/","headers":{"Cookie":"hunter2"}}"#.into();
        let shown = serde_json::to_string(&detail(&message)).unwrap();
        assert!(!shown.contains("hunter2") && shown.contains("Cookie"), "{shown}");
    }

    #[test]
    fn message_pack_is_shown_as_json_without_its_secrets() {
        let mut envelope = Envelope {
            body_base64: Some(quebert_wire::Binary(vec![0xff, 0xfe].into())),
            ..Envelope::new("http://host/b")
        };
        envelope.headers.insert("authorization".into(), HeaderValues::One("hunter2".into()));
        let content_type = Some("application/msgpack".to_owned());
        let body = MessagePackCodec.encode(&envelope).unwrap();
        let shown = detail(&Message { body, content_type, ..Message::default() });
        assert!(shown.body.contains("http://host/b") && !shown.body.contains("hunter2"), "{}", shown.body);
        assert!(shown.body_lossy);
    }

    #[test]
    fn a_long_body_is_shown_in_part() {
        let body = "é".repeat(SHOWN_BYTES);
        let shown = detail(&Message { body: body.into(), ..Message::default() });
        assert_eq!((shown.body.len(), shown.body_lossy), (SHOWN_BYTES, true));
        assert_eq!(shown.body_bytes, 2 * SHOWN_BYTES as u64);
    }
}
