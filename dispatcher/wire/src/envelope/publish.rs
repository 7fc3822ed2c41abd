//! From an envelope to the message that a producer publishes. Which exchange and queue it goes to is not said here.

use super::Envelope;
use crate::{Codec, CodecError, Message, raw};

/// The form of a message.
#[derive(Clone, Copy)]
pub enum Form<'a> {
    /// The whole envelope in the message's body.
    Envelope(&'a dyn Codec),
    /// The request's body as the message's body, and all else in headers.
    Raw,
}

impl Envelope {
    /// The message to publish. Its id is the envelope's; its timestamp is `created_at`, if given, in whole seconds.
    ///
    /// ```
    /// use quebert_wire::{Envelope, Form, JsonCodec};
    /// let message = Envelope::new("http://localhost/").to_message(Form::Envelope(&JsonCodec))?;
    /// assert_eq!(message.body.as_ref(), br#"{"url":"http://localhost/"}"#);
    /// assert_eq!(message.content_type.as_deref(), Some("application/json"));
    /// # Ok::<(), quebert_wire::CodecError>(())
    /// ```
    pub fn to_message(&self, form: Form<'_>) -> Result<Message, CodecError> {
        let bodies = [self.body.is_some(), self.body_text.is_some(), self.body_base64.is_some()];
        if bodies.into_iter().filter(|given| *given).count() > 1 {
            return Err(CodecError("field \"body\": only one body is allowed".to_owned()));
        }
        let message = match form {
            Form::Raw => raw::write(self),
            Form::Envelope(codec) => Message {
                content_type: codec.content_types().first().map(|&t| t.to_owned()),
                body: codec.encode(self)?,
                ..Message::default()
            },
        };
        let whole_second = |ms: i64| ms - ms.rem_euclid(1000);
        let timestamp = self.created_at.map(|t| crate::Timestamp::from_millis(whole_second(t.as_millis())));
        Ok(Message { id: self.id.clone(), timestamp, ..message })
    }
}
