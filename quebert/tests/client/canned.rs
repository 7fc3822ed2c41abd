//! A server that answers what a test wants, and remembers what it was asked. It is no API.

use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// A request, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Method and path with query.
    pub(crate) line: String,
    /// With names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What to answer.
pub(crate) enum Reply {
    /// Status, further header lines, body.
    Answer(u16, &'static str, String),
    /// Nothing: the connection is closed.
    Cut,
    /// A body that goes on until the client has gone: this, again and again.
    Endless(String),
}

/// The server, as long as it is kept.
pub(crate) struct Canned {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Asked>>>,
    task: AbortHandle,
}

impl Canned {
    /// Answers each request by `reply`, which is told its number from 0.
    pub(crate) async fn start(reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (all, reply) = (seen.clone(), Arc::new(reply));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, all.clone(), reply.clone()));
            }
        });
        Self { url, seen, task: task.abort_handle() }
    }

    /// All that was asked until now.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static>,
) {
    let mut text = Vec::new();
    let (head, mut body) = loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8(text[..end].to_vec()).unwrap(), text[end + 4..].to_vec());
        }
        if stream.read_buf(&mut text).await.unwrap() == 0 {
            return;
        }
    };
    let mut lines = head.lines();
    let line = lines.next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    while body.len() < length {
        stream.read_buf(&mut body).await.unwrap();
    }
    let asked = Asked { line, headers, body: String::from_utf8(body).unwrap() };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(asked.clone());
        seen.len() - 1
    };
    let head = |status: u16, more: &str| format!("HTTP/1.1 {status} S\r\nConnection: close\r\n{more}\r\n");
    match reply(number, &asked) {
        Reply::Cut => {}
        Reply::Answer(status, more, body) => {
            drop(stream.write_all(format!("{}{body}", head(status, more)).as_bytes()).await);
            drop(stream.shutdown().await);
        }
        Reply::Endless(part) => {
            let mut sent = stream.write_all(head(200, "Content-Type: text/event-stream\r\n").as_bytes()).await;
            while sent.is_ok() {
                sent = stream.write_all(part.as_bytes()).await;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// A problem as the API tells it.
pub(crate) fn problem(status: u16, code: &str, errors: &serde_json::Value) -> String {
    serde_json::json!({
        "type": format!("https://quebert.dev/problems/{code}"), "title": "T", "status": status, "code": code,
        "detail": "in words", "errors": errors,
    })
    .to_string()
}
