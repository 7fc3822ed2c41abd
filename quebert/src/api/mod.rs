//! The HTTP API, `/v1`: enqueue, look, steer. It settles nothing itself; tasks reach executors through the dispatcher.

pub mod board;
pub mod feed;
pub mod state;
pub mod types;
