//! Processes of the private nodes: programs that may take only so long, signals, and what outlives a test by a moment.
//! Knows nothing of RabbitMQ.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A shell that waits for the end of this process, however it comes, or for being dropped, and then cleans up.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    /// `script` is what to run then, with these arguments. It may find things cleaned up already.
    pub(super) fn spawn(script: &str, arguments: &[&OsStr]) -> io::Result<Self> {
        // Its input ends with this process, however that ends.
        let script = format!("trap '' INT TERM HUP\ncat >/dev/null\n{script}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "guard"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().map(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What a program printed, unless it failed or took longer than it may.
pub(super) fn run(mut command: Command, limit: Duration) -> io::Result<String> {
    use std::io::Read;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Read on threads of their own, so that neither pipe can fill up and hold the child.
    let mut out = child.stdout.take().expect("piped");
    let mut err = child.stderr.take().expect("piped");
    let out = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    let err = std::thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = |thread: std::thread::JoinHandle<io::Result<String>>| thread.join().expect("reader does not panic");
    let (out, err) = (text(out)?, text(err)?);
    match status {
        Some(status) if status.success() => Ok(out),
        Some(status) => Err(io::Error::other(format!("{status}: {out}{err}"))),
        None => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{out}{err}"))),
    }
}

pub(super) fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

pub(super) fn wait_gone(pid: u32) {
    let alive = || {
        Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while alive() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a child on a thread of its own, so that it doesn't stay as a zombie, which would look alive.
pub(super) fn reap(mut child: Child) {
    std::thread::spawn(move || child.wait());
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic")
}
