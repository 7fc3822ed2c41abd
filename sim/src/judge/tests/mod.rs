//! Handmade histories: for each promise a good one that passes, and the same with one thing wrong, which is seen.

mod settling;
mod slots;
mod tale;
mod time;
