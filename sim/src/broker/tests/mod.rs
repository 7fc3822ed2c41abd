//! The broker in whole worlds, and under the suite that every broker passes.

mod audit;
mod contract;
mod worlds;
