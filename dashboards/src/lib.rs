//! Dashboards, rules and alerts for the metrics of Quebert's dispatchers, made from one [`Settings`]; and the checks that
//! keep them true: [`check`] reads what was made, says what to ask a Prometheus, and judges the answers. Nothing here opens
//! a socket or a file.

pub mod board;
pub mod boards;
pub mod check;
mod files;
pub mod panel;
pub mod promql;
pub mod rules;
pub mod settings;

pub use files::{File, files};
pub use settings::{Objectives, Settings, Thresholds};

use rules::Group;
use serde_json::Value;

/// All that is made for one setting.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Dashboards, as Grafana reads them.
    pub boards: Vec<Value>,
    /// Rules and alerts.
    pub groups: Vec<Group>,
}

impl Bundle {
    /// Makes it.
    pub fn new(settings: &Settings) -> Self {
        Self { boards: boards::all(settings).iter().map(board::Board::json).collect(), groups: rules::groups(settings) }
    }
}
