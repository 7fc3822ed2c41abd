//! The message log: every segment on the network, one a line, with what its first bytes are where that is plain. Only the
//! fast world tells of segments. Bytes of bodies and credentials are not shown, only how many there are.

use crate::net::{Segment, SegmentKind, SegmentLog};
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Collects the lines of one run.
#[derive(Clone, Default)]
pub struct MessageLog(Arc<Mutex<String>>);

impl MessageLog {
    /// What a run is given.
    pub fn listener(&self) -> SegmentLog {
        let log = self.clone();
        Arc::new(move |segment| write_segment(segment, &mut log.lock()))
    }

    /// The lines so far, taken out: `sent arrives connection from > to kind bytes what`.
    pub fn take(&self) -> String {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_segment(segment: &Segment, out: &mut String) {
    let (seconds, micros) = (segment.at.as_secs(), segment.at.subsec_micros());
    let _ = write!(out, "{seconds:>6}.{micros:06} ");
    let _ = match segment.arrives {
        Some(arrives) => write!(out, "+{:<8.6}", Seconds(arrives.saturating_sub(segment.at).as_micros())),
        None => write!(out, "{:<9}", "lost"),
    };
    let (from, to) = (segment.from.to_string(), segment.to.to_string());
    let _ = write!(out, " #{:<5} {from:<13} > {to:<13} ", segment.connection);
    match &segment.what {
        SegmentKind::Syn => out.push_str("syn"),
        SegmentKind::Fin => out.push_str("fin"),
        SegmentKind::Reset => out.push_str("reset"),
        SegmentKind::Data(bytes) => {
            let _ = write!(out, "data {:>6}", bytes.len());
            if let Some(what) = describe(bytes) {
                out.push(' ');
                out.push_str(&what);
            }
        }
    }
    out.push('\n');
}

/// Whole microseconds as seconds.
struct Seconds(u128);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What these bytes begin with, in words: the first line of an HTTP request (with its task and attempt) or answer. `None`
/// if it is nothing of that kind.
pub fn describe(bytes: &[u8]) -> Option<String> {
    const METHODS: [&str; 7] = ["GET ", "POST ", "PUT ", "PATCH ", "DELETE ", "HEAD ", "OPTIONS "];
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes, |end| &bytes[..end]);
    let end = head.windows(2).position(|two| two == b"\r\n").unwrap_or(head.len());
    let first = std::str::from_utf8(&head[..end]).ok()?;
    if !first.starts_with("HTTP/1.") && !METHODS.iter().any(|method| first.starts_with(method)) {
        return None;
    }
    let mut text: String = first.chars().filter(|c| !c.is_control()).take(120).collect();
    let rest = std::str::from_utf8(head).unwrap_or("");
    for line in rest.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if SHOWN.iter().any(|shown| name.eq_ignore_ascii_case(shown)) {
            let value: String = value.trim().chars().filter(|c| !c.is_control()).take(80).collect();
            let _ = write!(text, " {}={value}", name.to_ascii_lowercase());
        }
    }
    Some(text)
}

/// Headers that tell a request's and an answer's place; none of them is secret.
const SHOWN: [&str; 5] = ["idempotency-key", "quebert-attempt", "quebert-retry", "retry-after", "content-length"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use std::time::Duration;

    fn line(what: SegmentKind, arrives: Option<u64>) -> String {
        let log = MessageLog::default();
        let (at, arrives) = (Duration::from_millis(1500), arrives.map(Duration::from_millis));
        let (from, to) = (Host::Dispatcher(1), Host::Executor(2));
        log.listener()(&Segment { at, from, to, connection: 7, arrives, what });
        log.take()
    }

    #[test]
    fn each_segment_is_one_line() {
        let syn = line(SegmentKind::Syn, Some(1502));
        assert_eq!(syn, "     1.500000 +0.002000 #7     dispatcher-1  > executor-2    syn\n");
        let lost = line(SegmentKind::Reset, None);
        assert_eq!(lost, "     1.500000 lost      #7     dispatcher-1  > executor-2    reset\n");
    }

    #[test]
    fn requests_and_answers_are_told_by_their_first_line_and_never_by_their_bodies_or_secrets() {
        let request = b"POST /t HTTP/1.1\r\nhost: x\r\nauthorization: s3cret\r\nQuebert-Attempt: 2\r\n\r\nbody: s3cret";
        assert_eq!(describe(request).as_deref(), Some("POST /t HTTP/1.1 quebert-attempt=2"));
        let answer = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\n\r\n";
        assert_eq!(describe(answer).as_deref(), Some("HTTP/1.1 429 Too Many Requests retry-after=3"));
        for other in [b"\x00\x01\xff".as_slice(), b"", b"POSTAL\r\n", b"{}"] {
            assert_eq!(describe(other), None);
        }
    }
}
