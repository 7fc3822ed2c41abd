//! One end of a connection: frames in, frames out, heartbeats. It has one timer, which fires once a heartbeat at most.

use super::{Frame, code::Reader};
use crate::net::Stream;
use bytes::{Buf, BytesMut};
use std::{
    future::Future,
    io,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What is read at a time, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// One end of a connection on which `I` comes in.
pub(crate) struct Link<I> {
    stream: Stream,
    /// What is to be sent.
    pub(crate) out: BytesMut,
    read: BytesMut,
    chunk: Box<[u8]>,
    heartbeat: Duration,
    sent_at: Instant,
    heard_at: Instant,
    /// A heartbeat of this side, as a frame.
    beat: BytesMut,
    timer: Pin<Box<Sleep>>,
    _in: PhantomData<fn() -> I>,
}

impl<I: Frame> Link<I> {
    /// On a connection; `beat` is what this side sends when it has nothing to say for so long.
    pub(crate) fn new(stream: Stream, heartbeat: Duration, beat: &impl Frame) -> Self {
        let now = Instant::now();
        let mut frame = BytesMut::new();
        beat.frame(&mut frame);
        Self {
            stream,
            out: BytesMut::new(),
            read: BytesMut::new(),
            chunk: vec![0; READ_BYTES].into(),
            heartbeat,
            sent_at: now,
            heard_at: now,
            beat: frame,
            timer: Box::pin(sleep_until(now + heartbeat)),
            _in: PhantomData,
        }
    }

    /// Sends what is to be sent; ready when all of it is.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            self.out.advance(written);
            self.sent_at = Instant::now();
        }
        Poll::Ready(Ok(()))
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the connection is gone, or the other side has closed it (`UnexpectedEof`), or says what can't be read.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<I>> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Poll::Ready(I::read(&mut Reader::new(frame)).ok_or_else(|| io::ErrorKind::InvalidData.into()));
            }
            let mut buf = ReadBuf::new(&mut self.chunk);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.read.extend_from_slice(buf.filled());
            self.heard_at = Instant::now();
        }
    }

    /// Keeps the connection alive. With `deaf`, the other side's silence is this side's own doing.
    ///
    /// # Errors
    /// `TimedOut` after two heartbeats of silence. It is never ready otherwise.
    pub(crate) fn poll_beat(&mut self, deaf: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if deaf {
                self.heard_at = now;
            }
            if now >= self.heard_at + self.heartbeat * 2 {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if now >= self.sent_at + self.heartbeat {
                if self.out.is_empty() {
                    self.out.extend_from_slice(&self.beat);
                }
                // What can't be sent is no reason to come again at once.
                self.sent_at = now;
                if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                    return Poll::Ready(Err(error));
                }
            }
            let due = (self.sent_at + self.heartbeat).min(self.heard_at + self.heartbeat * 2);
            self.timer.as_mut().reset(due.max(now + Duration::from_millis(1)));
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn take_frame(&mut self) -> Option<bytes::Bytes> {
        let length = self.read.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
        let end = 4 + usize::try_from(length).ok()?;
        if self.read.len() < end {
            return None;
        }
        let mut frame = self.read.split_to(end);
        frame.advance(4);
        Some(frame.freeze())
    }
}
