//! One connection, and how an exchange drives it.
//!
//! An HTTP/1.1 connection has no task of its own: whoever uses it polls it. That saves two task switches per request,
//! and dropping the user closes the socket at once. An HTTP/2 connection, which many use, has one. Decides nothing
//! about reuse; `pool` and `transport` do.

use super::config::HttpConfig;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, uri::Authority};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
    rt::{Read, Write},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use quebert_wire::Destination;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker},
};

pub(super) type Outgoing = Request<Full<Bytes>>;

/// An HTTP/1.1 connection.
pub(super) struct H1<Io: Read + Write + Unpin + 'static> {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once it has ended. Boxed: connections move in and out of the pool.
    io: Option<Box<http1::Connection<Io, Full<Bytes>>>>,
    /// The value of `Host`, made once per connection.
    host: HeaderValue,
}

impl<Io: Read + Write + Unpin + Send + 'static> H1<Io> {
    pub(super) async fn new(io: Io, destination: &Destination, config: &HttpConfig) -> hyper::Result<Self> {
        let (sender, io) = http1::Builder::new()
            // Bodies are read in pieces of at most this size, too, which bounds the memory of a connection.
            .max_buf_size(config.head_bytes_max.max(BUFFER_BYTES_MIN))
            .max_header_size(config.head_bytes_max)
            .handshake(io)
            .await?;
        Ok(Self { sender, io: Some(Box::new(io)), host: host(destination) })
    }

    /// Polls the connection, then `step`, until that is done. All that `step` waits for comes through the connection,
    /// so it needs no waker of its own.
    fn poll_with<T>(&mut self, cx: &mut Context<'_>, step: &mut impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        // What went wrong reaches the user through the answer or its body.
        if self.io.as_mut().is_some_and(|io| Pin::new(io).poll(cx).is_ready()) {
            self.io = None;
        }
        step(&mut Context::from_waker(Waker::noop()))
    }

    /// Looks at the socket: whether another request may be sent.
    pub(super) fn is_ready(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        let _ = self.poll_with(cx, &mut |_| Poll::Ready(()));
        self.io.is_some() && self.sender.is_ready()
    }
}

/// `Host`: without the port where it is the scheme's own (RFC 9110, section 7.2).
fn host(destination: &Destination) -> HeaderValue {
    let text = destination.as_str();
    let host = match text.split_once("://") {
        Some(("http", host)) => host.strip_suffix(":80").unwrap_or(host),
        Some((_, host)) => host.strip_suffix(":443").unwrap_or(host),
        None => text,
    };
    HeaderValue::from_str(host).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A way to send requests over an HTTP/2 connection. The connection ends when nobody holds one.
#[derive(Clone)]
pub(super) struct H2 {
    sender: http2::SendRequest<Full<Bytes>>,
    /// What stands in the place of `Host`; `None` where a request's own does.
    authority: Option<Authority>,
}

impl H2 {
    pub(super) async fn new<Io>(io: Io, destination: &Destination, config: &HttpConfig) -> hyper::Result<Self>
    where
        Io: Read + Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // Without pings, a connection that died silently would swallow every request sent on it.
            .keep_alive_interval(config.h2_ping_interval)
            .keep_alive_timeout(config.h2_ping_timeout)
            .keep_alive_while_idle(true)
            .max_header_list_size(u32::try_from(config.head_bytes_max).unwrap_or(u32::MAX))
            .handshake(io)
            .await?;
        // Ends with its senders. What went wrong reaches each user through the answer.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, authority: Authority::try_from(host(destination).as_bytes()).ok() })
    }

    /// The request with the same authority as it would have over HTTP/1.1, however its URL spells it.
    fn addressed(&self, request: &mut Outgoing) {
        request.headers_mut().remove(http::header::HOST);
        let Some(authority) = &self.authority else { return };
        if request.uri().authority().is_some_and(|own| own.as_str() == authority.as_str()) {
            return;
        }
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.authority = Some(authority.clone());
        *request.uri_mut() = Uri::from_parts(parts).expect("only the authority of an absolute URI was changed");
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// A connection in use.
pub(super) enum Conn<Io: Read + Write + Unpin + 'static> {
    H1(H1<Io>),
    H2(H2),
}

impl<Io: Read + Write + Unpin + Send + 'static> Conn<Io> {
    /// Takes the request, whose URI is absolute, sends it, and waits for the head of the answer. Puts the request back if
    /// nothing of it was sent. (It is borrowed, since a future has room for each thing that is moved into it.)
    ///
    /// # Panics
    /// If there is no request.
    pub(super) async fn send(&mut self, outgoing: &mut Option<Outgoing>) -> hyper::Result<Response<Incoming>> {
        let mut request = outgoing.take().expect("a request to send");
        match self {
            Self::H2(h2) => {
                h2.addressed(&mut request);
                let sent = h2.sender.try_send_request(request).await;
                sent.map_err(|mut error| {
                    *outgoing = error.take_message();
                    error.into_error()
                })
            }
            Self::H1(h1) => {
                let absolute = request.uri().clone();
                let path = absolute.path_and_query().cloned();
                *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
                request.headers_mut().insert(http::header::HOST, h1.host.clone());
                let mut answer = std::pin::pin!(h1.sender.try_send_request(request));
                let sent = self.drive(|cx| answer.as_mut().poll(cx)).await;
                sent.map_err(|mut error: TrySendError<Outgoing>| {
                    *outgoing = error.take_message();
                    if let Some(unsent) = outgoing {
                        *unsent.uri_mut() = absolute;
                    }
                    error.into_error()
                })
            }
        }
    }

    /// Does `step` until it is done, driving the connection meanwhile if nobody else does.
    pub(super) async fn drive<T>(&mut self, mut step: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        poll_fn(|cx| match self {
            Self::H1(h1) => h1.poll_with(cx, &mut step),
            Self::H2(_) => step(cx),
        })
        .await
    }
}

/// hyper's smallest limit of a connection's buffer.
const BUFFER_BYTES_MIN: usize = 8192;
