//! The program: parse, start, wait, exit code.
fn main() {}
