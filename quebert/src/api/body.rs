//! Reading request bodies: of the right type, within their limit and in time. What is in them is not looked at.

use super::problem::{Code, Fault};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// From one piece of a body to the next, and what a body may take beside the time that its bytes have.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Bytes for which a body has one second more. Who trickles holds memory and, with a batch, one of few places.
const BYTES_PER_SECOND: usize = 16 * 1024;

const TOO_SLOW: &str = "nothing came for 30 seconds, or after 30 seconds less than 16 KiB a second";

/// For what is read and thrown away.
const DISCARD_MAX: Duration = Duration::from_secs(5);

/// The media type of a request's body, in lower case and without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Refuses a body that does not say it is one of `types`.
pub(super) fn expect_type(headers: &HeaderMap, types: &'static [&'static str]) -> Result<&'static str, Fault> {
    let given = media_type(headers);
    types.iter().find(|t| Some(**t) == given.as_deref()).copied().ok_or_else(|| {
        let takes = types.join(" or ");
        Fault::new(Code::UnsupportedMediaType, format!("this takes `Content-Type: {takes}`"))
    })
}

/// The whole body, without a copy if it came in one piece.
pub(super) async fn whole(headers: &HeaderMap, mut body: Body, bytes_max: usize) -> Result<Bytes, Fault> {
    let too_large = || Fault::new(Code::TooLarge, format!("the body may have at most {bytes_max} bytes"));
    let waits = headers.contains_key(header::EXPECT);
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > bytes_max as u64) {
        if !waits {
            discard(body, bytes_max.saturating_mul(2)).await;
        }
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let started = Instant::now();
    loop {
        let (now, due) = (Instant::now(), started + time_for(first.len() + rest.len()));
        let frame = timeout_at(due.min(now + STALL_MAX), body.frame()).await;
        let frame = frame.map_err(|_| Fault::new(Code::RequestTimeout, TOO_SLOW))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Fault::new(Code::InvalidRequest, "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > bytes_max {
            discard(body, bytes_max.saturating_mul(2)).await;
            return Err(too_large());
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            // What is announced is within the limit: checked above.
            rest.reserve(announced.and_then(|n| usize::try_from(n).ok()).unwrap_or(first.len() + data.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// What a body may have taken when so much of it has come.
fn time_for(bytes: usize) -> Duration {
    STALL_MAX + Duration::from_secs((bytes / BYTES_PER_SECOND) as u64)
}

/// Reads on for a while. Many clients send all they have before they read, and would only see that the connection broke.
async fn discard(mut body: Body, bytes_max: usize) {
    let mut left = bytes_max;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            match frame.data_ref().and_then(|data| left.checked_sub(data.len())) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whether it came to an end or not, the answer is the same.
    let _ = timeout(DISCARD_MAX, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::convert::Infallible;

    const LARGE: usize = 32 << 20;

    /// Reads a body of which so many bytes come each time that `every` has passed.
    async fn read(bytes: usize, every: Duration, pieces: usize) -> Result<usize, Code> {
        let pieces = stream::unfold(0, move |n| async move {
            tokio::time::sleep(every).await;
            (n < pieces).then(|| (Ok::<_, Infallible>(Bytes::from(vec![b'x'; bytes])), n + 1))
        });
        let body = whole(&HeaderMap::new(), Body::from_stream(pieces), LARGE).await;
        body.map(|bytes| bytes.len()).map_err(|fault| fault.code())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up_soon() {
        let started = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(read(1, second * 29, 1000).await, Err(Code::RequestTimeout), "never still for long");
        assert_eq!(started.elapsed(), STALL_MAX);
        assert_eq!(read(15 * 1024, second, 1000).await, Err(Code::RequestTimeout), "too slow, if only a little");
        assert_eq!(read(1 << 20, second * 31, 2).await, Err(Code::RequestTimeout), "still for too long");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_has_the_time_it_needs() {
        let second = Duration::from_secs(1);
        assert_eq!(read(BYTES_PER_SECOND, second, 1000).await, Ok(1000 * BYTES_PER_SECOND));
        assert_eq!(read(1, second, 20).await, Ok(20), "a small one need not keep up");
        assert_eq!(read(1 << 20, second * 29, 30).await, Ok(30 << 20));
    }
}
