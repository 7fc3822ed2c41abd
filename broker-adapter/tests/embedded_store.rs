//! What the embedded broker promises beyond the port: what outlives the process, the limits, the operators' side.

#![cfg(feature = "embedded")]
#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

#[path = "embedded_store/common.rs"]
mod common;
#[path = "embedded_store/crashes.rs"]
mod crashes;
#[path = "embedded_store/limits.rs"]
mod limits;
#[path = "embedded_store/operators.rs"]
mod operators;
