//! `cargo xtask check`: all that can be checked in a moment, before a change is shown to others.

use crate::tools;
use crate::workspace::{self, BARE_TARGET, BARE_TARGET_32};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::process::Command;
use std::time::Instant;

/// The packages that run on the bare machine.
const BARE_PACKAGES: [&str; 6] = [
    "xenvisor",
    "xenvisor-abi",
    "xenvisor-core",
    "xenvisor-services",
    "xenvisor-hypercalls",
    "xenvisor-x86_64",
];

/// How many random sequences an area has in a check: enough to find what is plainly wrong.
const FEW_SEQUENCES: &str = "2000";

/// What `check` takes: nothing.
#[derive(Debug, Args)]
pub struct Check {}

impl Check {
    /// Checks it all.
    pub fn run(self) -> Result<u8> {
        let began = Instant::now();
        tools::ensure_bare_target()?;
        style()?;
        let mut tests = all_host_tests();
        // Whoever asks for another number gets it.
        if std::env::var_os("SEQUENCES").is_none() {
            tests.env("SEQUENCES", FEW_SEQUENCES);
        }
        step("tests, on the host, with short random ones", &mut tests)?;
        bare_build()?;
        say(&format!("all is well, after {:.0?}", began.elapsed()));
        Ok(0)
    }
}

/// Format and lints, warnings denied.
pub fn style() -> Result<()> {
    tools::ensure_lint_tools()?;
    cargo("format", &["fmt", "--all", "--check"])?;
    let warnings = ["--", "--deny", "warnings"];
    let host = ["clippy", "--quiet", "--workspace", "--all-targets"];
    cargo("lints, on the host", &[&host[..], &warnings].concat())?;
    // Libraries and examples apart: examples bring along what tests ask of the libraries, which needs std.
    let bare = ["clippy", "--quiet", "--release", "--target", BARE_TARGET];
    let packages: Vec<&str> = BARE_PACKAGES
        .iter()
        .flat_map(|package| ["--package", package])
        .collect();
    cargo(
        "lints, of the libraries on the bare machine",
        &[&bare[..], &packages, &["--lib"], &warnings].concat(),
    )?;
    cargo(
        "lints, of the images on the bare machine",
        &[&bare[..], &["--package", "xenvisor", "--examples"], &warnings].concat(),
    )?;
    for target in [BARE_TARGET, BARE_TARGET_32] {
        tools::ensure_target(target)?;
        let guests = [
            "clippy",
            "--quiet",
            "--release",
            "--target",
            target,
            "--package",
            "xenvisor-guests",
        ];
        cargo(
            "lints, of the guests on the bare machine",
            &[&guests[..], &warnings].concat(),
        )?;
    }
    Ok(())
}

/// Every test that needs no emulator; the house's own among them.
pub fn host_tests() -> Result<()> {
    step("tests, on the host", &mut all_host_tests())
}

fn all_host_tests() -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--workspace"]);
    cargo
}

/// Every image.
pub fn bare_build() -> Result<()> {
    cargo(
        "images",
        &[
            "build",
            "--quiet",
            "--release",
            "--target",
            BARE_TARGET,
            "--package",
            "xenvisor",
            "--examples",
        ],
    )
}

/// Runs cargo as the step `what`; its output is the user's to see.
pub fn cargo(what: &str, arguments: &[&str]) -> Result<()> {
    step(what, workspace::cargo().args(arguments))
}

/// Runs `command` as the step `what`, says how long it took, and fails if it fails.
pub fn step(what: &str, command: &mut Command) -> Result<()> {
    say(what);
    let began = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("{what}: cannot run {command:?}"))?;
    if !status.success() {
        bail!("{what}: failed ({status})");
    }
    say(&format!("{what}: {:.1?}", began.elapsed()));
    Ok(())
}

/// Tells the user where we are.
pub fn say(text: &str) {
    eprintln!("xtask: {text}");
}
