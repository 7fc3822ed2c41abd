//! W3C trace context: read from a task's headers, written for the span of each attempt. Nothing is recorded here; whoever
//! exports spans finds theirs in the request's extensions.

use bytes::BufMut;
use quebert_wire::{HeaderValue, Message};
use std::fmt;

/// Names a trace. Never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Names a span within a trace. Never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

/// What a `traceparent` says (W3C Trace Context, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span.
    pub span: SpanId,
    /// Bit 0: the caller records its span.
    pub flags: u8,
}

/// The span of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What came with the task.
    pub parent: TraceParent,
    /// The attempt's own.
    pub id: SpanId,
}

impl TraceParent {
    /// `None` for what the specification calls invalid. A later version is read as the first one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = hex(version)?;
        let [flags] = hex(flags)?;
        let (trace, span) = (hex(trace)?, hex(span)?);
        let fits = version != 0xff && (version != 0 || parts.next().is_none());
        (fits && trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            flags,
        })
    }

    /// That of a message, if it has a valid one.
    pub fn of(message: &Message) -> Option<Self> {
        match message.headers.get("traceparent") {
            Some(HeaderValue::Text(text)) => Self::parse(text),
            _ => None,
        }
    }

    /// As the header says it: `00-<trace>-<span>-<flags>`.
    pub fn write(self, out: &mut impl BufMut) {
        out.put_slice(b"00-");
        put_hex(out, &self.trace.0);
        out.put_u8(b'-');
        put_hex(out, &self.span.0);
        out.put_u8(b'-');
        put_hex(out, &[self.flags]);
    }

    /// Whether the caller records its span.
    pub const fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Capitals are invalid by the specification.
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn put_hex(out: &mut impl BufMut, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.put_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(text).unwrap();
        let mut out = Vec::new();
        parent.write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((parent.span.to_string().as_str(), parent.is_sampled()), ("00f067aa0ba902b7", true));
    }

    #[test]
    fn what_the_specification_calls_invalid_is_nothing() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473ä-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(TraceParent::parse(later).is_some(), "a later version");
    }
}
