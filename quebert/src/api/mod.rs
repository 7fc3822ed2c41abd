//! The HTTP API, `/v1`: enqueue, look, steer. It settles nothing itself; tasks reach executors through the dispatcher.

mod answers;
mod auth;
mod batch;
pub mod board;
mod body;
mod console;
mod context;
mod dead;
mod destinations;
mod document;
mod enqueue;
mod events;
pub mod feed;
mod front;
mod meta;
mod operations;
pub mod problem;
mod queues;
mod server;
pub mod state;
mod tasks;
#[cfg(test)]
mod tests;
pub mod types;

pub(crate) use server::SHUTDOWN_GRACE;
pub use server::Server;

use axum::Router;
use state::ApiState;
use utoipa_axum::router::OpenApiRouter;

/// All that is served, and its description.
fn router(state: ApiState) -> Router {
    let (router, document) = parts(&state).split_for_parts();
    let console = if state.config.api.console { console::routes() } else { Router::new() };
    let router = document::routes(document).merge(console).merge(router.with_state(state));
    // Empty answers of errors are filled in at the front.
    router.fallback(|| async { http::StatusCode::NOT_FOUND })
}

/// The API's paths. Each file of them offers its own.
fn parts(state: &ApiState) -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(document::head())
        .merge(enqueue::routes(state))
        .merge(batch::routes(state))
        .merge(tasks::routes())
        .merge(meta::routes())
        .merge(queues::routes())
        .merge(destinations::routes())
        .merge(events::routes())
        .merge(dead::routes(state))
}
