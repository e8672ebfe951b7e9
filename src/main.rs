//! The `loupe` command.
fn main() {}
