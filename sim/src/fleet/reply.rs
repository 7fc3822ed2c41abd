//! From what an executor is to do to the bytes that do it. It decides nothing and waits for nothing but its own bytes.

use crate::{case::work::Reply, net::Stream};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use quebert_wire::Timestamp;
use std::{
    io,
    time::{Duration, UNIX_EPOCH},
};
use tokio::{io::AsyncWriteExt, time::sleep};

/// An answer to be sent.
pub(super) enum Answer {
    /// By hyper.
    Http(Response<Full<Bytes>>),
    /// Past it.
    Raw(Raw),
}

/// An answer that hyper would not send; the connection ends with it.
pub(super) struct Raw {
    /// The request's number.
    pub(super) request: u64,
    how: How,
}

enum How {
    /// Nothing but the end.
    Reset,
    /// These bytes at once, then the end. They are an answer, if they have a status.
    AtOnce(Vec<u8>, Option<u16>),
    /// A whole answer, byte by byte.
    Trickle(Vec<u8>, u16, Duration),
}

/// The answer that this reply is, at this moment of the executor's clock; `None` if there is never to be one.
pub(super) fn answer_of(reply: &Reply, request: u64, now: Timestamp) -> Option<Answer> {
    let raw = |how| Some(Answer::Raw(Raw { request, how }));
    let http = |status, body, name_and_value| Some(Answer::Http(response(status, body, name_and_value)));
    match *reply {
        Reply::Status(status) => http(status, Bytes::new(), None),
        Reply::RetryAfter { status, seconds, date } => {
            let value = if date { http_date(now, seconds) } else { seconds.to_string() };
            http(status, Bytes::new(), Some((header::RETRY_AFTER, value)))
        }
        Reply::Never => http(500, Bytes::new(), Some((QUEBERT_RETRY, "never".to_owned()))),
        Reply::After { seconds } => http(503, Bytes::new(), Some((QUEBERT_RETRY, format!("after={seconds}s")))),
        Reply::Large { bytes } => http(200, vec![b'x'; usize::try_from(bytes).unwrap_or(usize::MAX)].into(), None),
        Reply::Hang => None,
        Reply::Reset => raw(How::Reset),
        Reply::Torn { status } => {
            raw(How::AtOnce(format!("HTTP/1.1 {status} -\r\ncontent-length: 100\r\n\r\ntorn off h").into(), None))
        }
        Reply::Garbage => raw(How::AtOnce(b"\x16\x03\x01 220 this speaks no HTTP\r\n\r\n".to_vec(), None)),
        Reply::Trickle { status, every_ms } => {
            let bytes = format!("HTTP/1.1 {status} -\r\ncontent-length: 2\r\n\r\nok").into();
            raw(How::Trickle(bytes, status, Duration::from_millis(every_ms)))
        }
        // It does not say that it will close: that is what keeps clients on their toes.
        Reply::CloseAfter => raw(How::AtOnce(b"HTTP/1.1 200 -\r\ncontent-length: 0\r\n\r\n".to_vec(), Some(200))),
    }
}

impl Raw {
    /// Writes it, and ends the connection. Returns the status that was sent, if a whole answer was.
    pub(super) async fn write(self, mut stream: Stream) -> Option<u16> {
        let sent: io::Result<Option<u16>> = async {
            match self.how {
                How::Reset => Ok(None),
                How::AtOnce(bytes, status) => {
                    stream.write_all(&bytes).await?;
                    stream.shutdown().await?;
                    Ok(status)
                }
                How::Trickle(bytes, status, every) => {
                    for byte in bytes {
                        stream.write_all(&[byte]).await?;
                        stream.flush().await?;
                        sleep(every).await;
                    }
                    stream.shutdown().await?;
                    Ok(Some(status))
                }
            }
        }
        .await;
        sent.ok().flatten()
    }
}

fn response(status: u16, body: Bytes, header: Option<(HeaderName, String)>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a checked case has valid statuses");
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, HeaderValue::try_from(value).expect("made of visible ASCII"));
    }
    response
}

/// The date this many seconds from now. Dates have whole seconds: what is left of the present one is not counted.
fn http_date(now: Timestamp, seconds: u32) -> String {
    let ms = u64::try_from(now.as_millis()).unwrap_or(0);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(ms / 1000 + u64::from(seconds)))
}

const QUEBERT_RETRY: HeaderName = HeaderName::from_static("quebert-retry");
