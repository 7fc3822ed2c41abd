//! Faults at planned times: what is done ([`FaultSpec`]), the cable that can be cut ([`Link`]), and who does it while a run
//! goes on (a `Director`). Every fault is told to the ledger with its times, so that what comes twice because of it is
//! explained, and nothing else. Executors misbehave by their own grammar; that is not done here.

mod director;
mod link;
mod spec;

pub(crate) use director::Director;
pub use link::{Link, LinkState};
pub use spec::{Deed, FaultSpec};
