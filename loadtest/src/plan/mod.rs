//! Capacity plans: from a workload, assumed or measured, to so many dispatchers with so many slots and such windows, what that
//! survives, and what it takes. Formulas bracket, the simulation's model answers, a short real run calibrates. Nothing here
//! runs a system.

pub mod formula;
