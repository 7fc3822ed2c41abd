//! A node of the broker.

use super::Cluster;
use crate::env::Env;

/// Serves until the host goes down.
pub async fn serve(_env: Env, _cluster: Cluster) {
    std::future::pending::<()>().await;
}
