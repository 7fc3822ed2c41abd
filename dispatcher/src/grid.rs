//! The delay grid: the lengths of delay for which there are queues at the broker.
//!
//! Four steps an octave from one second up: 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, ... s. A queue holds one length
//! only, so its head is always the next one due.

use std::time::Duration;

/// One length of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(u8);
