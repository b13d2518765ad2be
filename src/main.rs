//! The `credreset` command.
fn main() {}
