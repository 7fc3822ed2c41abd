//! The command line as a client: of an API that answers what a test wants, and of a real program.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod answers;
mod canned;
mod events;
mod live;

use std::{process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

/// Far beyond what anything here takes: a limit for tests that fail.
const LONG: Duration = Duration::from_secs(60);

/// What a command has left.
#[derive(Debug)]
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The program, with nothing of the environment's that could mislead it.
fn quebert(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quebert"));
    command.args(args).current_dir(std::env::temp_dir()).kill_on_drop(true);
    for name in ["QUEBERT_CONFIG", "QUEBERT_API", "QUEBERT_TOKEN"] {
        command.env_remove(name);
    }
    command
}

async fn done(mut command: Command, input: &str) -> Done {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input has closed it.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let output = timeout(LONG, child.wait_with_output()).await.expect("the command ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Done {
    /// What was printed, if all went well.
    #[track_caller]
    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// What was complained of, if it ended with this code.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self.err
    }
}
