//! The HTTP API, `/v1`: enqueue, look, steer. It settles nothing itself; tasks reach executors through the dispatcher.

mod auth;
pub mod board;
mod body;
mod document;
mod enqueue;
pub mod feed;
mod front;
pub mod problem;
mod server;
pub mod state;
pub mod types;

pub use server::Server;

use axum::Router;
use state::ApiState;
use utoipa_axum::router::OpenApiRouter;

/// All that is served, and its description.
fn router(state: ApiState) -> Router {
    let (router, document) = parts(&state).split_for_parts();
    let router = document::routes(document).merge(router.with_state(state));
    router.fallback(|| async { http::StatusCode::NOT_FOUND })
}

/// The API's paths. Each file of them offers its own.
fn parts(state: &ApiState) -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(document::head()).merge(enqueue::routes(state))
}
