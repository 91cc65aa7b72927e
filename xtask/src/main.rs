//! `cargo xtask`: see `--help`.

fn main() {}
