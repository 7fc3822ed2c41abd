//! A TCP proxy in front of a node that reads along what the broker says: the client library hides whether confirms came
//! together, and in which order they and deliveries came. Changes nothing, and understands no more of AMQP 0-9-1 than
//! frames, `basic.deliver`, `basic.ack` and `basic.nack`.

use crate::client::LIMIT;
use quebert_broker_adapter::testing::PrivateRabbit;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};

/// More than a test leaves unread.
const UNREAD: usize = 1 << 14;

/// What the broker said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A message was given to the consumer with this tag.
    Delivered(String),
    /// A publish was confirmed, and with `multiple` all before it.
    Confirmed {
        tag: u64,
        multiple: bool,
    },
    Refused,
}

/// One connection to a node, read along.
pub(crate) struct Wire {
    /// Where the client is to connect to.
    pub(crate) url: String,
    said: Receiver<Said>,
}

impl Wire {
    pub(crate) async fn to(node: &PrivateRabbit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = node.url().replace(&node.port().to_string(), &port.to_string());
        let (tell, said) = channel(UNREAD);
        let broker = TcpStream::connect(("127.0.0.1", node.port())).await.unwrap();
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let (mut from_client, to_client) = client.into_split();
            let (from_broker, mut to_broker) = broker.into_split();
            tokio::spawn(async move { copy(&mut from_client, &mut to_broker).await });
            read_along(from_broker, to_client, tell).await;
        });
        Self { url, said }
    }

    /// The next that the broker says.
    pub(crate) async fn next(&mut self) -> Said {
        let next = timeout(LIMIT, self.said.recv()).await;
        next.expect("the broker says something in time").expect("the connection goes on")
    }

    /// What the broker has said and nobody has read yet.
    pub(crate) fn waiting(&mut self) -> Vec<Said> {
        std::iter::from_fn(|| self.said.try_recv().ok()).collect()
    }
}

/// Tells of what was said before it passes it on, so that whoever has heard it of the client finds it here.
async fn read_along(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, tell: Sender<Said>) {
    let mut unread = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        unread.extend_from_slice(&buffer[..n]);
        while let Some((kind, payload, length)) = frame(&unread) {
            if let Some(said) = (kind == METHOD).then(|| method(payload)).flatten() {
                // The test may have ended.
                let _ = tell.send(said).await;
            }
            unread.drain(..length);
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
}

/// Type, payload and whole length of the first frame (AMQP 0-9-1, section 4.2.3), if it is there as a whole.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let size = usize::try_from(u32::from_be_bytes(bytes.get(3..7)?.try_into().ok()?)).ok()?;
    let payload = bytes.get(7..7 + size)?;
    bytes.get(7 + size)?;
    Some((bytes[0], payload, size + 8))
}

fn method(payload: &[u8]) -> Option<Said> {
    match *payload.first_chunk()? {
        BASIC_DELIVER => {
            let tag = payload.get(5..5 + usize::from(*payload.get(4)?))?;
            Some(Said::Delivered(String::from_utf8(tag.to_vec()).ok()?))
        }
        BASIC_ACK => {
            let tag = u64::from_be_bytes(payload.get(4..12)?.try_into().ok()?);
            Some(Said::Confirmed { tag, multiple: payload.get(12)? & 1 == 1 })
        }
        BASIC_NACK => Some(Said::Refused),
        _ => None,
    }
}

const METHOD: u8 = 1;
const BASIC_DELIVER: [u8; 4] = [0, 60, 0, 60];
const BASIC_ACK: [u8; 4] = [0, 60, 0, 80];
const BASIC_NACK: [u8; 4] = [0, 60, 0, 120];
