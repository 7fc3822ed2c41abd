//! The reference world: turmoil.

use super::{Director, Ran, Stage};
use crate::host::Host;
use quebert_dispatcher::ports::BoxFuture;
use std::{io, time::Duration};

#[derive(Clone)]
pub(crate) struct TurmoilNet {
    host: Host,
}

pub(crate) struct TurmoilListener;

impl TurmoilNet {
    pub(crate) const fn host(&self) -> Host {
        self.host
    }

    pub(crate) fn now(&self) -> Duration {
        Duration::ZERO
    }

    pub(crate) async fn connect(&self, _to: Host, _port: u16) -> io::Result<turmoil::net::TcpStream> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) async fn bind(&self, _port: u16) -> io::Result<TurmoilListener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}

impl TurmoilListener {
    pub(crate) async fn accept(&mut self) -> io::Result<(turmoil::net::TcpStream, Host)> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

pub(crate) fn run(_stage: Stage, _director: &mut dyn Director) -> Ran {
    Ran::default()
}
