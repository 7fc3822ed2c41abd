//! What the process says of itself: how it is, which version, which config. No secret is in any of it.

use super::{
    auth::Caller,
    state::ApiState,
    types::{Status, Version},
};
use axum::{Extension, Json, extract::State};
use quebert_broker_adapter::admin::Abilities;
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(version)).routes(routes!(config))
}

/// How it is
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "server",
    operation_id = "status",
    responses((status = 200, description = "How it is now", body = Status))
)]
async fn status(State(state): State<ApiState>, Extension(caller): Extension<Caller>) -> Json<Status> {
    let abilities = state.admin.abilities();
    let obstacles = state.health.obstacles();
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: abilities.engine.to_owned(),
        ready: obstacles.is_empty(),
        obstacles,
        blocked: state.health.blocked(),
        uptime_ms: u64::try_from(state.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        now: crate::intake::now().to_string(),
        abilities: words(abilities),
        in_flight: state.board.in_flight(),
        slots: state.core.now().slots_shared,
        roles: caller.roles.names(),
    })
}

/// Which version
#[utoipa::path(
    get,
    path = "/v1/version",
    tag = "server",
    operation_id = "version",
    responses((status = 200, description = "Of program and API", body = Version))
)]
async fn version() -> Json<Version> {
    Json(Version { name: "quebert".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), api: "v1".to_owned() })
}

/// The effective config
///
/// As it was at the start, defaults and overrides included; secrets are `***`.
#[utoipa::path(
    get,
    path = "/v1/config",
    tag = "server",
    operation_id = "config",
    responses((status = 200, description = "Sections and keys as in `docs/configuration.md`", body = Object))
)]
async fn config(State(state): State<ApiState>) -> Json<Value> {
    Json(serde_json::to_value(&state.config.typed).expect("a config is plain data"))
}

fn words(abilities: Abilities) -> Vec<String> {
    let Abilities { engine: _, lookup, durable_once, durable_pause, ages } = abilities;
    let all = [(lookup, "lookup"), (durable_once, "durable_once"), (durable_pause, "durable_pause"), (ages, "ages")];
    all.into_iter().filter(|(able, _)| *able).map(|(_, word)| word.to_owned()).collect()
}
