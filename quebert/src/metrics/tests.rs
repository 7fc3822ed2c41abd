//! What the process adds.

use super::*;
use crate::{
    config::{Config, Sources},
    health::Health,
};
use quebert_wire::Timestamp;
use std::sync::Arc;

#[tokio::test]
async fn the_process_and_the_runtime_are_told_of() {
    let lanes = Config::load(&Sources::default()).unwrap().core.lanes;
    let health = Arc::new(Health::new(lanes.iter().map(|l| l.name.clone())));
    let metrics = Metrics::new(&lanes, 2, health, Timestamp::from_millis(0));
    let text = encode(&metrics, Format::Classic);
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 100_000.0);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_start_time_seconds") > 1.6e9);
    assert!(value("quebert_runtime_workers") >= 1.0);
}
