//! For hosts that bring a loop, a clock and a disk of their own: the store driven by hand, turn by turn, and a disk in memory
//! that loses power, fills up and fails to read. The code of the store is the one that runs in production.
//!
//! Nothing here is meant for production: what it is for is in the docs of the simulation and in docs/embedded.md.

mod by_hand;
mod disk;

pub use super::journal::Done;
pub use by_hand::{ByHand, Content};
pub use disk::{BLOCK, Disk, Loss, PowerCut, SECTOR};
