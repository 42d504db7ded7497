//! Levee project commands.
fn main() {}
