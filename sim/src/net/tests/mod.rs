//! What both worlds promise, on small programs. What only one of them can is in its own file.

mod connections;
mod fast;
mod faults;
mod hosts;
mod reference;
mod script;

use super::{Down, Kind, Link, Net, Stream};
use crate::host::Host;
use script::{Notes, Scene, ms};
use std::{future::pending, io};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

const ONE: Host = Host::Dispatcher(1);
const OTHER: Host = Host::Executor(1);

/// Tests of the same script in each world: what the one says the other must say.
macro_rules! both {
    ($($name:ident($kind:ident) $body:block)+) => {
        $(mod $name {
            use super::*;

            fn script($kind: Kind) $body

            #[test]
            fn fast() {
                script(Kind::Fast);
            }

            #[test]
            fn turmoil() {
                script(Kind::Turmoil);
            }
        })+
    };
}
use both;

/// How long a hop may take without faults: a tick of turmoil's, or the longest latency.
const HOP: u64 = 10;

/// Sends back whatever comes, on port 80.
async fn echo(net: Net) {
    let mut listener = net.bind(80).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        net.spawn(echo_one(stream));
    }
}

async fn echo_one(mut stream: Stream) {
    let mut buf = [0; 1024];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..n]).await.is_err() {
            return;
        }
    }
}

/// Takes every connection on port 80 and keeps it.
async fn hoard(net: Net) {
    let mut listener = net.bind(80).await.unwrap();
    let mut all = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        all.push(stream);
    }
}

/// Asks an echo for an answer.
async fn ping(stream: &mut Stream) -> io::Result<()> {
    let mut buf = [0; 4];
    stream.write_all(b"ping").await?;
    stream.read_exact(&mut buf).await?;
    assert_eq!(&buf, b"ping");
    Ok(())
}

/// How a read ends: `end`, bytes, or the kind of an error.
async fn read(stream: &mut Stream) -> String {
    let mut buf = [0; 64];
    match stream.read(&mut buf).await {
        Ok(0) => "end".to_owned(),
        Ok(n) => String::from_utf8_lossy(&buf[..n]).into_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn cut_both() -> Link {
    Link { cut_to: true, cut_from: true, ..Link::default() }
}
