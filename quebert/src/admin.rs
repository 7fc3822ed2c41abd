//! The admin server: /metrics, /healthz and /readyz. It changes nothing, and knows nobody's name: it belongs on
//! loopback or a private network.

use crate::{health::Health, metrics};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};
use tracing::debug;

/// Connections at a time; more wait. Enough for a scraper, a prober and a curious person.
const CONNECTIONS: usize = 32;

/// From the start of a connection or request to the end of its header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that listens already.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Listens on `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped.
    pub async fn serve(self, metrics: Arc<metrics::Metrics>, health: Arc<Health>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(e) => {
                    // Out of file descriptors, most likely: it passes, and asking again at once would spin.
                    debug!(error = %e, "accept on the admin address");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (metrics, health) = (metrics.clone(), health.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, metrics.clone(), health.clone()));
                let mut server = hyper::server::conn::http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(16 * 1024);
                if let Err(e) = server.serve_connection(TokioIo::new(stream), service).await {
                    debug!(error = %e, "admin connection");
                }
                drop(place);
            });
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    metrics: Arc<metrics::Metrics>,
    health: Arc<Health>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n"));
    }
    Ok(match request.uri().path() {
        "/metrics" => {
            // Encoding takes some milliseconds per thousand series: not on a worker that has tasks to send.
            let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = metrics::accept::format(accept);
            let encoded = tokio::task::spawn_blocking(move || metrics::encode(&metrics, format)).await;
            match encoded {
                Ok(text) => {
                    let mut response = response(StatusCode::OK, format.content_type(), text);
                    response.headers_mut().insert(header::VARY, header::HeaderValue::from_static("accept"));
                    response
                }
                Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "metrics could not be encoded\n"),
            }
        }
        "/healthz" => response(StatusCode::OK, TEXT, "alive\n"),
        "/readyz" => match health.obstacles() {
            obstacles if obstacles.is_empty() => response(StatusCode::OK, TEXT, "ready\n"),
            obstacles => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, obstacles.join("\n") + "\n"),
        },
        _ => response(StatusCode::NOT_FOUND, TEXT, "try /metrics, /healthz or /readyz\n"),
    })
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};
    use quebert_dispatcher::{event::Event, ports::observer::Observer as _};
    use quebert_wire::Timestamp;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    async fn get(address: SocketAddr, path: &str) -> String {
        get_as(address, path, "*/*").await
    }

    async fn get_as(address: SocketAddr, path: &str, accept: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn ready_means_connected_with_all_lanes_open_and_not_draining() {
        let lanes = Config::load(&Sources::default()).unwrap().core.lanes;
        let health = Arc::new(Health::new(lanes.iter().map(|l| l.name.clone())));
        let metrics = Arc::new(metrics::Metrics::new(&lanes, 10, health.clone(), Timestamp::default()));
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = admin.address().unwrap();
        let server = tokio::spawn(admin.serve(metrics, health.clone()));

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let text = get(address, "/readyz").await;
        assert!(text.starts_with("HTTP/1.1 503") && text.contains("not connected"), "{text}");
        health.observe(&Event::BrokerConnected);
        for lane in &lanes {
            assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
            health.observe(&Event::LaneOpen { lane: lane.name.clone(), open: true });
        }
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.contains("\nquebert_ready 1\n"));
        health.observe(&Event::Draining);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        server.abort();
    }

    #[tokio::test]
    async fn metrics_come_with_the_content_type_that_prometheus_insists_on() {
        let health = Arc::new(Health::new([]));
        let metrics = Arc::new(metrics::Metrics::new(&[], 10, health.clone(), Timestamp::default()));
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = admin.address().unwrap();
        let server = tokio::spawn(admin.serve(metrics, health));
        let text = get(address, "/metrics").await.to_lowercase();
        assert!(text.contains("\r\ncontent-type: text/plain; version=0.0.4\r\n"), "{text}");
        let open = get_as(address, "/metrics", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
        let kind = "\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        assert!(open.to_lowercase().contains(kind), "{open}");
        assert!(open.ends_with("# EOF\n"), "{open}");
        server.abort();
    }
}
