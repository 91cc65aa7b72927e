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

/// Builds all of them and answers with the ELF file of one.
pub fn build(name: &str) -> Result<PathBuf> {
    tools::ensure_bare_target()?;
    let mut cargo = workspace::cargo();
    cargo.args([
        "build",
        "--release",
        "--target",
        workspace::BARE_TARGET,
        "--package",
        PACKAGE,
        "--bin",
        name,
    ]);
    progress::run(&format!("building the guest {name}"), &mut cargo)?;
    let file = workspace::target_dir()?
        .join(workspace::BARE_TARGET)
        .join("release")
        .join(name);
    file.is_file()
        .then_some(file)
        .with_context(|| format!("cargo built no guest {name}"))
}
