//! The ledger: what happened to every single task, in 32 bytes each, and what follows from it. It proves that nothing was
//! lost, sent twice without a reason, early or late. It doesn't ask the system under test; it is told by the publisher and
//! by the executors, who saw it.

mod book;
mod counts;
mod extra;
mod file;
mod judge;
mod lanes;
mod record;
mod request;
mod rules;
#[cfg(test)]
mod tests;

pub use book::Book;
pub use counts::Counts;
pub use extra::{Extra, ExtraKind, Fault};
pub use file::{LedgerFile, LedgerFileError};
pub(crate) use judge::SCHEMA_VERSION;
pub use judge::{Account, FaultView, Finding, Findings, Judged, Verdict};
pub use record::{End, Record, Tick};
pub use rules::{QueueRule, Rules};
