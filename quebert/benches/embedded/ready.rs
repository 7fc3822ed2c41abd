//! From the start of the program, in an empty folder, until it says that it is ready.

use crate::{Fault, Options, broker::Folder, probe::Times};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

pub(crate) async fn measure(options: &Options) -> Result<(), Fault> {
    let mut times = Vec::new();
    for _ in 0..options.rounds.max(10) {
        times.push(start(&options.folder).await?);
    }
    println!("\nFrom the start of the program to ready, in an empty folder, {} times", times.len());
    println!("   {}", Times::new(times));
    Ok(())
}

async fn start(parent: &Path) -> Result<Duration, Fault> {
    let folder = Folder::new(parent)?;
    // Asked for once, and free again by the time that the program listens.
    let port = TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?.port();
    let admin = format!("127.0.0.1:{port}");
    let config = folder.0.join("quebert.toml");
    let store = folder.0.join("data");
    std::fs::write(
        &config,
        format!("[broker]\nurl = \"embedded:{}\"\n[api]\nlisten = \"127.0.0.1:0\"\n", store.display()),
    )?;
    let begin = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_quebert"))
        .args(["run", "--config", &config.display().to_string(), "--admin", &admin])
        .current_dir(&folder.0)
        .env_remove("QUEBERT_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut program = Program(child);
    while !is_ready(&admin).await {
        if let Some(status) = program.0.try_wait()? {
            let mut text = String::new();
            if let Some(stderr) = &mut program.0.stderr {
                std::io::Read::read_to_string(stderr, &mut text)?;
            }
            return Err(format!("the program ended with {status}: {text}").into());
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(begin.elapsed())
}

/// Ends with the run.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn is_ready(admin: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await.ok()?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text.starts_with("HTTP/1.1 200"))
    };
    ask.await.unwrap_or(false)
}
