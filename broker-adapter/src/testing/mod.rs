//! What the tests of this workspace share: sample executors. No part of the program.

pub mod executor;
