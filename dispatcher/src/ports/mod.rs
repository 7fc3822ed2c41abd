//! What the dispatcher needs from the world, in its own words. One trait a file.

pub mod broker;
pub mod clock;
#[cfg(feature = "contract")]
pub mod contract;
pub mod mediator;
pub mod observer;
pub mod transport;

use std::{future::Future, pin::Pin};

/// A boxed future, so that ports can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
