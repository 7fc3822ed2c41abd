//! The HTTP transport against real sockets on loopback.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod common;
mod plain;
mod simulated;
mod tls;
