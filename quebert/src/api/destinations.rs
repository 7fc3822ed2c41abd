//! Executors' origins, as this dispatcher has seen them of late. Other dispatchers' figures are theirs to tell.

use super::{state::ApiState, types::Destinations};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Destinations
///
/// The busiest first, at most 200 of the 500 that are remembered.
#[utoipa::path(
    get,
    path = "/v1/destinations",
    tag = "destinations",
    operation_id = "destinations",
    responses((status = 200, description = "Those heard of last", body = Destinations))
)]
async fn list(State(state): State<ApiState>) -> Json<Destinations> {
    Json(state.board.destinations())
}
