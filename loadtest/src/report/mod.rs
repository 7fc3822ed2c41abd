//! What a run came to, as data: the JSON report and its parts, thresholds over it, and a summary in Markdown. It measures
//! nothing. The JSON has a version, and its schema stands in `loadtest/schema/report.schema.json`.

mod data;
mod markdown;
#[cfg(test)]
mod tests;
mod threshold;

pub use data::{
    Bottleneck, Environment, Latency, Part, PhaseView, ProcessView, Report, SCHEMA_VERSION, SelfWatch, Sweep,
    SweepPoint, ThresholdView, Throughput, Validity, schema,
};
pub use markdown::markdown;
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
