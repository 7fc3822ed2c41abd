//! Signals of the system, as futures. What they lead to is decided by whoever waits for them.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that this program listens to. From its making on they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// A signal that asks to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT, as Ctrl-C sends it.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Stop {
    /// What a shell reports for a process that this signal ended: 128 and the signal's number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self::new()
    }
}

impl Signals {
    /// Listens from now on; must be called within a tokio runtime.
    pub fn new() -> Self {
        let listen = |kind| signal(kind).expect("these signals can be listened to, and the runtime has its driver");
        Self {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
            hangup: listen(SignalKind::hangup()),
        }
    }

    /// The next SIGINT or SIGTERM.
    pub async fn stop(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
        }
    }

    /// The next signal of any kind: `None` is SIGHUP, which asks to read the config again.
    pub async fn next(&mut self) -> Option<Stop> {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Some(Stop::Interrupt),
            _ = self.terminate.recv() => Some(Stop::Terminate),
            _ = self.hangup.recv() => None,
        }
    }
}
