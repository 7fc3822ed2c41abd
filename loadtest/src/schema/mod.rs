//! What the program writes as JSON, and the schema of each: one list, for whoever asks for a schema and for the tests that hold
//! documents against those that are kept in `loadtest/schema`. It writes nothing itself.

use crate::{compare, ledger, plan, report, search, simulate};
use schemars::{JsonSchema, generate::SchemaSettings};

/// A kind of document, named as the verb that writes it; `report` is that of `run` and `chaos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
#[non_exhaustive]
pub enum Written {
    /// A run.
    Report,
    /// The points of a grid.
    Sweep,
    /// A search for the largest rate.
    FindMax,
    /// The end of a backlog.
    Drain,
    /// A capacity plan.
    Plan,
    /// Simulations.
    Simulate,
    /// Runs beside each other.
    Compare,
    /// A ledger that was judged again.
    Verify,
}

impl Written {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Report,
        Self::Sweep,
        Self::FindMax,
        Self::Drain,
        Self::Plan,
        Self::Simulate,
        Self::Compare,
        Self::Verify,
    ];

    /// As the command line and the files in `loadtest/schema` call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Sweep => "sweep",
            Self::FindMax => "find-max",
            Self::Drain => "drain",
            Self::Plan => "plan",
            Self::Simulate => "simulate",
            Self::Compare => "compare",
            Self::Verify => "verify",
        }
    }

    /// What `schema_version` is in a document that is written now.
    pub const fn version(self) -> u32 {
        match self {
            Self::Report => report::SCHEMA_VERSION,
            Self::Sweep => report::SWEEP_SCHEMA_VERSION,
            Self::FindMax => search::FIND_SCHEMA_VERSION,
            Self::Drain => search::DRAIN_SCHEMA_VERSION,
            Self::Plan => plan::SCHEMA_VERSION,
            Self::Simulate => simulate::SCHEMA_VERSION,
            Self::Compare => compare::SCHEMA_VERSION,
            Self::Verify => ledger::SCHEMA_VERSION,
        }
    }

    /// Its JSON Schema (draft 2020-12).
    pub fn schema(self) -> serde_json::Value {
        match self {
            Self::Report => of::<report::Report>(),
            Self::Sweep => of::<report::Sweep>(),
            Self::FindMax => of::<search::FindMax>(),
            Self::Drain => of::<search::Drain>(),
            Self::Plan => of::<plan::Plan>(),
            Self::Simulate => of::<simulate::Simulation>(),
            Self::Compare => of::<compare::Comparison>(),
            Self::Verify => of::<ledger::Judged>(),
        }
    }
}

fn of<T: JsonSchema>() -> serde_json::Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

#[cfg(test)]
mod tests;
