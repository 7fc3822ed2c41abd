//! The executors of a run: HTTP servers that behave as a seed says. What becomes of an attempt is a pure function of
//! (seed, task, attempt) and, where an executor has a state, of what it has under way; [`Executor`] decides it without a
//! clock or a socket, so that a simulation sees the same fate. [`Fleet`] serves it on real sockets. The fleet judges
//! nothing: a [`Witness`] is told.

mod bucket;
mod io;
mod server;
mod spec;
mod state;
#[cfg(test)]
mod tests;
mod tls;

pub use server::{Answered, Fleet, FleetError, Seen, Witness};
pub(crate) use server::{Shared, answer};
pub use spec::{ExecutorSpec, Limit, Load, Outage, OutageKind, RetryAfterForm};
pub use state::{Act, Executor, Reply};
pub use tls::{Certified, Identity, IdentityError};
