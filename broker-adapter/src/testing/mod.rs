//! What the tests of this workspace need from the outside world, started and ended by the tests themselves.
//!
//! Not for production: everything here panics or blocks where a test would want it to.

#[cfg(unix)]
pub mod rabbit;

#[cfg(unix)]
pub use rabbit::PrivateRabbit;
