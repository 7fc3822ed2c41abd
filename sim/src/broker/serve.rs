//! A node of the broker: its listener, its connections, its clockwork. What it serves is the cluster's.

use super::{
    Cluster, PORT,
    conns::{ConnNo, Duty},
    wire::{Ask, Frame, Link, Tell},
};
use crate::{env::Env, host::Host, net::Stream};
use std::{
    future::{Future, poll_fn},
    io,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// How long a client may take until it has said what it wants, as RabbitMQ's `handshake_timeout`.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Serves until the host goes down.
///
/// # Panics
/// On a host that is no broker's.
pub async fn serve(env: Env, cluster: Cluster) {
    let Host::Broker(node) = env.host() else { panic!("{} is no node of a broker", env.host()) };
    let heartbeat = cluster.heartbeat();
    let mut listener = env.net.bind(PORT).await.expect("nobody else listens on a broker's port");
    env.net.spawn(tick(env.clone(), cluster.clone(), node));
    while let Ok((stream, client)) = listener.accept().await {
        env.net.spawn(connection(env.clone(), cluster.clone(), node, stream, client, heartbeat));
    }
}

/// The clockwork: does what is due, and sleeps until more is.
async fn tick(env: Env, cluster: Cluster, node: u8) {
    let mut timer = Box::pin(sleep_until(Instant::now()));
    let mut armed = None;
    poll_fn(|cx| {
        loop {
            let now = env.now();
            let Some(due) = cluster.tick(now, node, cx) else { return Poll::<()>::Pending };
            if armed != Some(due) {
                timer.as_mut().reset(Instant::now() + due.saturating_sub(now));
                armed = Some(due);
            }
            std::task::ready!(timer.as_mut().poll(cx));
            armed = None;
        }
    })
    .await;
}

/// One connection, from its first word to its end.
async fn connection(env: Env, cluster: Cluster, node: u8, stream: Stream, client: Host, heartbeat: Duration) {
    let mut link = Link::<Ask>::new(stream, heartbeat, &Tell::Beat);
    let hello = poll_fn(|cx| link.poll_frame(cx));
    let Ok(Ok(Ask::Hello(role))) = tokio::time::timeout(HANDSHAKE_LIMIT, hello).await else { return };
    match cluster.hello(env.now(), node, client, role) {
        Ok(conn) => {
            let mut served = Served { env, cluster, conn, link };
            poll_fn(|cx| served.poll(cx)).await;
            served.cluster.gone(served.env.now(), conn);
        }
        Err(leader) => {
            Tell::Elsewhere(leader).frame(&mut link.out);
            // How that ends is of no interest.
            drop(poll_fn(|cx| link.poll_finish(cx)).await);
        }
    }
}

/// A connection that is served.
struct Served {
    env: Env,
    cluster: Cluster,
    conn: ConnNo,
    link: Link<Ask>,
}

impl Served {
    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_inner(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let duty = self.cluster.poll(self.conn, &mut self.link.out, cx);
            if duty == Duty::End {
                return self.link.poll_finish(cx);
            }
            // What can't be sent now is sent when there is room.
            if let Poll::Ready(Err(error)) = self.link.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
            // Before the heartbeats, so that what lies here already counts as heard.
            let mut read = false;
            while duty == Duty::Serve
                && let Poll::Ready(ask) = self.link.poll_frame(cx)
            {
                read = true;
                let ask = ask?;
                if ask != Ask::Beat && !self.cluster.ask(self.env.now(), self.conn, ask) {
                    break;
                }
            }
            if let Poll::Ready(Err(error)) = self.link.poll_beat(duty != Duty::Serve, cx) {
                return Poll::Ready(Err(error));
            }
            if !read {
                return Poll::Pending;
            }
        }
    }
}
