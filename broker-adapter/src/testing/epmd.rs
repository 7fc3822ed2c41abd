//! The daemon that tells Erlang nodes each other's ports: one of our own for a node or a cluster, so that nobody else's is
//! ever used or ended. On loopback only.

use super::{process::Guard, rabbit::free_port};
use std::{
    ffi::OsStr,
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

#[derive(Debug)]
pub(super) struct Epmd {
    port: u16,
    child: Child,
    guard: Option<Guard>,
}

impl Epmd {
    /// In the foreground, so that its process id is known.
    pub(super) fn start() -> io::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("epmd");
        command.args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn()?;
        let guard = Guard::spawn(r#"kill -KILL "$1""#, &[OsStr::new(&child.id().to_string())])?;
        Ok(Self { port, child, guard: Some(guard) })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Epmd {
    fn drop(&mut self) {
        // The guard kills it. Waited for only then, so that its process id can't be another's by that time.
        drop(self.guard.take());
        let _ = self.child.wait();
    }
}
