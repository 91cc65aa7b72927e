//! The small guests of `tests/guests`, built for the bare machine, and which example runs which of them.

use crate::{progress, tools, workspace};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// The package they are in.
const PACKAGE: &str = "xenvisor-guests";
/// Examples whose guests are ours: each module has the name of the program in it.
const OF_EXAMPLES: [(&str, &[&str]); 5] = [
    ("two_guests", &["ping", "pong"]),
    ("xen_default", &["intruder", "neighbour"]),
    ("silo", &["intruder", "neighbour"]),
    ("partitioned", &["intruder", "neighbour"]),
    ("read_only_grants", &["intruder", "neighbour"]),
];

/// The guests of an example, if it runs ours instead of a kernel.
pub fn of(example: &str) -> Option<&'static [&'static str]> {
    OF_EXAMPLES
        .iter()
        .find(|(name, _)| *name == example)
        .map(|(_, guests)| *guests)
}

/// Builds a guest of 64-bit code and answers with its ELF file.
pub fn build(name: &str) -> Result<PathBuf> {
    build_for(workspace::BARE_TARGET, name)
}

/// Builds a guest of 32-bit code and answers with its ELF file.
pub fn build_32(name: &str) -> Result<PathBuf> {
    build_for(workspace::BARE_TARGET_32, name)
}

fn build_for(target: &str, name: &str) -> Result<PathBuf> {
    tools::ensure_target(target)?;
    let mut cargo = workspace::cargo();
    cargo.args([
        "build",
        "--release",
        "--target",
        target,
        "--package",
        PACKAGE,
        "--bin",
        name,
    ]);
    progress::run(&format!("building the guest {name} for {target}"), &mut cargo)?;
    let file = workspace::target_dir()?.join(target).join("release").join(name);
    file.is_file()
        .then_some(file)
        .with_context(|| format!("cargo built no guest {name} for {target}"))
}
