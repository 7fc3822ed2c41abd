//! The executor of the examples: one server whose paths are all the ways to answer. It has no state.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};

/// A sample executor. It stops when it is dropped.
///
/// What it answers depends on the path and on the `Quebert-Attempt` header: `/ok` succeeds; `/flaky` fails the first
/// attempt with 503; `/busy` answers the first with 429 and `Retry-After: 1`; `/slow` takes 400 ms; `/gone` says 410.
#[derive(Debug)]
pub struct SampleExecutor {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl SampleExecutor {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let server = hyper::server::conn::http1::Builder::new();
                    // A connection that breaks off is the dispatcher's to notice.
                    drop(server.serve_connection(TokioIo::new(stream), service_fn(answer)).await);
                });
            }
        });
        Ok(Self { address, server })
    }

    /// `http://127.0.0.1:<port><path>`
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for SampleExecutor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let attempt = request.headers().get("quebert-attempt").and_then(|v| v.to_str().ok()?.parse::<u32>().ok());
    let first = attempt.unwrap_or(1) == 1;
    let path = request.uri().path().to_owned();
    drop(Limited::new(request.into_body(), 1024 * 1024).collect().await);
    let mut response = Response::new(Full::new(Bytes::from_static(b"thank you\n")));
    match path.as_str() {
        "/flaky" if first => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        "/busy" if first => {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            response.headers_mut().insert("retry-after", http::HeaderValue::from_static("1"));
        }
        "/slow" => tokio::time::sleep(Duration::from_millis(400)).await,
        "/gone" => *response.status_mut() = StatusCode::GONE,
        _ => {}
    }
    Ok(response)
}
