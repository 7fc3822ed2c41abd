//! Reading request bodies: of the right type, within their limit and in time. What is in them is not looked at.

use super::problem::{Code, Fault};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use std::time::Duration;

/// From one piece of a body to the next.
const STALL_MAX: Duration = Duration::from_secs(30);

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
    loop {
        let frame = tokio::time::timeout(STALL_MAX, body.frame()).await;
        let frame = frame.map_err(|_| Fault::new(Code::RequestTimeout, "nothing came for 30 seconds"))?;
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
    let _ = tokio::time::timeout(DISCARD_MAX, reading).await;
}
