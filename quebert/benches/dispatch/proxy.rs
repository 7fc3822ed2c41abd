//! A TCP proxy in front of the broker that reads along: which tag each task was delivered with, and when its ack came by.
//! Changes nothing, and understands no more of AMQP 0-9-1 than frames, `basic.deliver` and `basic.ack`.

use crate::Fault;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// What was read along the way.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The tag that the body to come has, by channel.
    coming: BTreeMap<u16, u64>,
    /// Delivered and not acked: the path of the task's URL, by channel and tag.
    open: BTreeMap<(u16, u64), String>,
    /// When the ack of each task came by, by its path.
    pub(crate) acked: BTreeMap<String, Instant>,
}

/// Serves until its task is aborted.
pub(crate) async fn serve(listener: TcpListener, broker_port: u16, seen: Arc<Mutex<Seen>>) -> Result<(), Fault> {
    loop {
        let (client, _) = listener.accept().await?;
        let broker = TcpStream::connect(("127.0.0.1", broker_port)).await?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        // Each connection has channels of its own, and only one of them consumes tasks.
        let (from_client, to_client) = client.into_split();
        let (from_broker, to_broker) = broker.into_split();
        tokio::spawn(pass_on(from_client, to_broker, PROTOCOL_HEADER_BYTES, seen.clone()));
        tokio::spawn(pass_on(from_broker, to_client, 0, seen.clone()));
    }
}

/// `skip` is how many bytes come before the first frame.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut skip: usize, seen: Arc<Mutex<Seen>>) {
    let mut unread = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..n]).await.is_err() {
            break;
        }
        let now = Instant::now();
        let skipped = skip.min(n);
        skip -= skipped;
        unread.extend_from_slice(&buffer[skipped..n]);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((frame, channel, payload, length)) = frame(&unread) {
            seen.read(frame, channel, payload, now);
            unread.drain(..length);
        }
    }
    drop(to.shutdown().await);
}

/// Type, channel, payload and whole length of the first frame (AMQP 0-9-1, section 4.2.3), if it is there as a whole.
fn frame(bytes: &[u8]) -> Option<(u8, u16, &[u8], usize)> {
    let size = usize::try_from(u32::from_be_bytes(bytes.get(3..7)?.try_into().ok()?)).ok()?;
    let payload = bytes.get(7..7 + size)?;
    bytes.get(7 + size)?;
    Some((bytes[0], u16::from_be_bytes([bytes[1], bytes[2]]), payload, size + 8))
}

impl Seen {
    fn read(&mut self, frame: u8, channel: u16, payload: &[u8], now: Instant) {
        match (frame, payload.get(..4)) {
            (METHOD, Some(BASIC_DELIVER)) => {
                let tag_at = 5 + usize::from(payload[4]);
                if let Some(tag) = long(payload, tag_at) {
                    self.coming.insert(channel, tag);
                }
            }
            (METHOD, Some(BASIC_ACK)) => {
                let Some(tag) = long(payload, 4) else { return };
                let multiple = payload.get(12).is_some_and(|bits| bits & 1 == 1);
                let from = if multiple { 0 } else { tag };
                let acked: Vec<_> = self.open.range((channel, from)..=(channel, tag)).map(|(key, _)| *key).collect();
                for key in acked {
                    let path = self.open.remove(&key).expect("just found");
                    self.acked.insert(path, now);
                }
            }
            (BODY, _) => {
                if let (Some(tag), Some(path)) = (self.coming.remove(&channel), path(payload)) {
                    self.open.insert((channel, tag), path);
                }
            }
            _ => {}
        }
    }
}

fn long(payload: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(payload.get(at..at + 8)?.try_into().ok()?))
}

/// The path of a task's URL: from the third slash to the quote.
fn path(body: &[u8]) -> Option<String> {
    let (_, url) = std::str::from_utf8(body).ok()?.split_once(r#""url":"http://"#)?;
    let (url, _) = url.split_once('"')?;
    Some(url[url.find('/')?..].to_owned())
}

/// `AMQP` and the version.
const PROTOCOL_HEADER_BYTES: usize = 8;
const METHOD: u8 = 1;
const BODY: u8 = 3;
const BASIC_DELIVER: &[u8] = &[0, 60, 0, 60];
const BASIC_ACK: &[u8] = &[0, 60, 0, 80];
