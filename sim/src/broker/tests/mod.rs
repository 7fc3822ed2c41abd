//! The broker in whole worlds, and under the suite that every broker passes.

mod audit;
mod contract;
mod faults;
mod fidelity;
mod stage;

mod worlds;
