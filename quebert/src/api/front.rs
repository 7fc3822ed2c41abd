//! What every request passes on its way in and out: the gate, and the last net under handlers. Each answer that says an
//! error says it as a problem, whoever made it.

use super::{
    auth::{Caller, Gate, Need},
    problem::{Code, Fault, PROBLEM_JSON},
};
use crate::config::ApiRole;
use axum::{
    Router,
    body::Body,
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Request, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};
use tracing::{error, info};

/// Answers requests.
pub(super) struct Front {
    gate: Gate,
    router: TowerToHyperService<Router>,
}

impl Front {
    pub(super) fn new(gate: Gate, router: Router) -> Self {
        Self { gate, router: TowerToHyperService::new(router) }
    }

    /// Never fails: whatever goes wrong is an answer.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response, Infallible> {
        let (mut parts, body) = request.into_parts();
        let mut response = match self.gate.admit(&parts) {
            Ok(caller) => {
                let told = Told::of(&parts, &caller);
                parts.extensions.insert(caller);
                let request = Request::from_parts(parts, Body::new(body));
                let response = AssertUnwindSafe(hyper::service::Service::call(&self.router, request)).catch_unwind();
                let response = match response.await {
                    Ok(Ok(response)) => as_problem(response).await,
                    Err(_panic) => {
                        error!("a handler of the API panicked");
                        Fault::new(Code::Internal, "this is a bug; the log has more").into_response()
                    }
                };
                if let Some(told) = told {
                    told.tell(response.status());
                }
                response
            }
            Err(fault) => fault.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Answers are of this moment, and some are for the bearer of a token only.
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

/// A line in the log for each request that changes something other than adding a task.
struct Told {
    by: Arc<str>,
    method: Method,
    path: String,
}

impl Told {
    fn of(parts: &Parts, caller: &Caller) -> Option<Self> {
        let path = parts.uri.path();
        let operates = Need::of(&parts.method, path) == Need::Role(ApiRole::Operate);
        let by = || caller.name.clone().unwrap_or_else(|| "anybody on this machine".into());
        operates.then(|| Self { by: by(), method: parts.method.clone(), path: path.to_owned() })
    }

    fn tell(self, status: StatusCode) {
        info!(by = %self.by, method = %self.method, path = self.path, status = status.as_u16(), "API");
    }
}

/// Bytes of an error that others wrote which are taken over as its detail.
const DETAIL_BYTES_MAX: usize = 1024;

/// Turns errors that axum made (rejected extractors, unknown paths, other methods) into problems.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    if response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t == PROBLEM_JSON) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, DETAIL_BYTES_MAX).await.unwrap_or_default();
    let detail = String::from_utf8_lossy(&body).into_owned();
    let or = |words: &str| if detail.is_empty() { words.to_owned() } else { detail.clone() };
    let fault = match status {
        StatusCode::NOT_FOUND => Fault::new(Code::NotFound, or("/v1/openapi.json says what there is")),
        StatusCode::METHOD_NOT_ALLOWED => Fault::new(Code::MethodNotAllowed, or("see the Allow header")),
        StatusCode::PAYLOAD_TOO_LARGE => Fault::new(Code::TooLarge, or("the body is too large")),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Fault::new(Code::UnsupportedMediaType, or("this takes `Content-Type: application/json`"))
        }
        StatusCode::UNPROCESSABLE_ENTITY => Fault::new(Code::InvalidBody, detail),
        status if status.is_client_error() => Fault::new(Code::InvalidRequest, detail),
        _ => Fault::new(Code::Internal, "this is a bug; the log has more"),
    };
    let mut answer = fault.into_response();
    if let Some(allow) = parts.headers.get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, allow.clone());
    }
    answer
}
