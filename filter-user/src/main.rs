//! The `levee` command.
fn main() {}
