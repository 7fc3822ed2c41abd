//! Reads tasks in a format of one's own: a line of text, `METHOD URL`. `cargo run --example custom_codec`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod common;

use bytes::Bytes;
use quebert::{App, Codec, Codecs, Envelope, Message, sample::SampleExecutor};

/// `POST https://example.com/hook`, with the content type `text/x-task`.
struct OneLine;

impl Codec for OneLine {
    fn name(&self) -> &'static str {
        "one-line"
    }

    fn content_types(&self) -> &[&'static str] {
        &["text/x-task"]
    }

    // What can't be read is not lost: the message becomes a dead letter as it came, with this error as the reason.
    // The error must not quote the message, since it may hold secrets.
    fn decode(&self, bytes: &Bytes) -> Result<Envelope, quebert::wire::CodecError> {
        let error = |text: &str| quebert::wire::CodecError(text.to_owned());
        let line = std::str::from_utf8(bytes).map_err(|_| error("one-line: not UTF-8"))?;
        let (method, url) = line.trim().split_once(' ').ok_or_else(|| error("one-line: no space after the method"))?;
        // Whether method and URL are any good is checked for every codec alike.
        Ok(Envelope { method: Some(method.to_owned()), ..Envelope::new(url) })
    }

    fn encode(&self, envelope: &Envelope) -> Result<Bytes, quebert::wire::CodecError> {
        let method = envelope.method.as_deref().unwrap_or("POST");
        Ok(format!("{method} {}", envelope.url).into())
    }
}

#[tokio::main]
async fn main() -> common::Result<()> {
    let executor = SampleExecutor::start().await?;
    let config = common::config("[lanes.lines]\nqueue = \"lines\"\n[http.guard]\nenabled = false")?;
    let line = |text: String| Message {
        content_type: Some("text/x-task".to_owned()),
        body: text.into(),
        ..Message::default()
    };
    let tasks = vec![
        ("lines", line(format!("PUT {}", executor.url("/ok")))),
        ("lines", line(executor.url("/no-method"))),
        ("lines", common::task(&executor, "/ok", "json-works-too")),
    ];
    common::run(App::new(config).codecs(Codecs::default().with(OneLine)).observer(Print), tasks).await
}

/// Prints what becomes of each message.
struct Print;

impl quebert::Observer for Print {
    fn observe(&self, event: &quebert::Event) {
        match event {
            quebert::Event::AttemptEnded { task, class, .. } => println!("{task}: {class}"),
            quebert::Event::Buried { reason, detail, .. } => println!("dead letter ({}): {detail}", reason.label()),
            _ => {}
        }
    }
}
