//! A small HTTP client for one address on a trusted network: the API, /metrics, /readyz. Connections are kept for the next
//! request. Nothing is tried twice.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};

/// The largest answer that is read.
const ANSWER_MAX: usize = 64 << 20;

/// A client of one address.
#[derive(Debug)]
pub struct Client {
    address: Mutex<String>,
    idle: Mutex<Vec<http1::SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// `address` is host and port, with or without `http://`.
    pub fn new(address: &str) -> Self {
        let address = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        Self { address: Mutex::new(address.to_owned()), idle: Mutex::default() }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server has come back at another address.
    pub fn follow(&self, address: &str) {
        address.clone_into(&mut self.address.lock().unwrap_or_else(PoisonError::into_inner));
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Status and body of a GET.
    ///
    /// # Errors
    /// When there is no answer within the limit.
    pub async fn get(&self, path: &str, limit: Duration) -> io::Result<(u16, Bytes)> {
        self.send(Method::GET, path, None, Vec::new(), limit).await
    }

    /// Status and body of the answer to a POST.
    ///
    /// # Errors
    /// When there is no answer within the limit.
    pub async fn post(&self, path: &str, kind: &str, body: Vec<u8>, limit: Duration) -> io::Result<(u16, Bytes)> {
        self.send(Method::POST, path, Some(kind), body, limit).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Vec<u8>,
        limit: Duration,
    ) -> io::Result<(u16, Bytes)> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.address());
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)?;
        timeout(limit, self.exchange(request)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> io::Result<(u16, Bytes)> {
        let mut sender = match self.kept() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(io::Error::other)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok((status, body.to_bytes()))
    }

    fn kept(&self) -> Option<http1::SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(http1::SendRequest::is_ready);
        idle.pop()
    }

    async fn connect(&self) -> io::Result<http1::SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address()).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Ends with the sender, or with the other side.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}
