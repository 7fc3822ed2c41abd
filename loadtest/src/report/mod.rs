//! What a run came to, as data: the JSON report and its parts, thresholds over it, and what is made of it for people and
//! for CI: a page, a summary in Markdown, JUnit's XML. It measures nothing. The schemas of
//! what is written are listed in [`crate::schema`].

mod command;
mod data;
mod document;
mod html;
mod junit;
mod markdown;
mod markup;
#[cfg(test)]
mod tests;
mod threshold;

pub use command::command;
pub use data::{
    Bottleneck, Environment, Latency, Part, PhaseView, ProcessView, Report, SCHEMA_VERSION, SWEEP_SCHEMA_VERSION,
    SelfWatch, Sweep, SweepPoint, ThresholdView, Throughput, Validity,
};
pub use document::{Document, DocumentError};
pub use html::{html, html_compare, html_plan, html_sweep};
pub use junit::junit;
pub(crate) use markdown::cell;
pub use markdown::{markdown, markdown_sweep};
#[cfg(test)]
pub(crate) use tests::{report as fixture, sweep as sweep_fixture};
pub use threshold::Threshold;

/// Exit codes of the program.
pub mod exit {
    /// Every promise was kept, and every threshold.
    pub const OK: u8 = 0;
    /// A threshold was missed.
    pub const THRESHOLD: u8 = 1;
    /// Something was lost, or another promise was broken.
    pub const VERIFICATION: u8 = 2;
    /// The run says nothing: the tester was late or starved.
    pub const INVALID: u8 = 3;
    /// Wrong usage, or a system that could not be started; nothing was measured.
    pub const USAGE: u8 = 4;
}
