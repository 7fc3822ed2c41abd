//! Handmade histories.
