//! The executor: answers 200 to everything, as cheaply as a TCP server can. `/wait/<ms>` answers later.

use crate::Fault;
use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Tells its port in one line, and serves until it is killed.
pub(crate) async fn serve() -> Result<(), Fault> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", listener.local_addr()?.port())?;
    out.flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream, |_| {}));
    }
}

/// One in this process that notes when it answered which path. Ends when it is dropped.
pub(crate) struct Noting {
    pub(crate) url: String,
    answers: Arc<Mutex<BTreeMap<String, Instant>>>,
    task: JoinHandle<()>,
}

impl Noting {
    pub(crate) async fn start() -> Result<Self, Fault> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let answers: Arc<Mutex<BTreeMap<String, Instant>>> = Arc::default();
        let noted = answers.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let noted = noted.clone();
                tokio::spawn(answer(stream, move |path| {
                    noted.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), Instant::now());
                }));
            }
        });
        Ok(Self { url, answers, task })
    }

    /// The last answer to each path.
    pub(crate) fn answers(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers the requests of one connection until it ends. `answered` gets each path, just before its answer is written.
pub(crate) async fn answer(mut stream: TcpStream, answered: impl Fn(&str)) {
    drop(stream.set_nodelay(true));
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let Some((path, length)) = request(&buffer) else {
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        if let Some(ms) = path.strip_prefix("/wait/") {
            let ms = ms.split('/').next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        answered(path);
        if stream.write_all(ANSWER).await.is_err() {
            return;
        }
        buffer.drain(..length);
    }
}

/// The path of the first request in `buffer` and its length in bytes, if it is there as a whole.
fn request(buffer: &[u8]) -> Option<(&str, usize)> {
    let head_bytes = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..head_bytes]).ok()?;
    let body_bytes = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = head_bytes + body_bytes.unwrap_or(0);
    let path = head.split(' ').nth(1)?;
    (buffer.len() >= length).then_some((path, length))
}
