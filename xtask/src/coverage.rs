//! `cargo xtask coverage`: which lines of each crate the tests on the host run.
//!
//! Measured by rustc's own instrumentation (`-C instrument-coverage`) and LLVM's tools, over every test that needs no
//! emulator. Tests themselves do not count as lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::check::step;
use crate::{tools, workspace};

/// The crates that count, each by the folder of its sources, and whether the least is asked of it.
const CRATES: [(&str, &str, bool); 4] = [
    ("xenvisor-core", "core/src", true),
    ("xenvisor-services", "core/services/src", false),
    ("xenvisor-hypercalls", "hypercalls/src", true),
    ("xenvisor-x86_64", "arch/x86_64/src", false),
];
/// Long random tests are as good a witness when they are shorter.
const SEQUENCES: &str = "2000";

/// What `coverage` takes.
#[derive(Debug, Args)]
pub struct Coverage {
    /// Fail if fewer percent of the lines of core and hypercalls are run
    #[arg(long, value_name = "PERCENT")]
    least: Option<u8>,
    /// List each file, the least covered first
    #[arg(long)]
    files: bool,
}

/// Lines of a file or a crate.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    all: u64,
    run: u64,
}

impl Lines {
    fn add(&mut self, other: Lines) {
        self.all = self.all.saturating_add(other.all);
        self.run = self.run.saturating_add(other.run);
    }

    fn percent(self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a repository has fewer lines than 2^52"
        )]
        let (all, run) = (self.all.max(1) as f64, self.run as f64);
        100.0 * run / all
    }
}

impl Coverage {
    /// Measures and prints.
    pub fn run(self) -> Result<u8> {
        // First what may fail at once.
        tools::llvm_tool("llvm-cov")?;
        let folder = workspace::target_dir()?.join("coverage");
        let profiles = folder.join("profiles");
        if profiles.exists() {
            std::fs::remove_dir_all(&profiles).context("cannot remove the profiles of the last time")?;
        }
        let programs = programs(&folder)?;
        let mut tests = cargo(&folder);
        tests.env("LLVM_PROFILE_FILE", profiles.join("%p-%m.profraw"));
        step("tests, instrumented", &mut tests)?;
        let files = files(&folder, &profiles, &programs)?;
        let mut poor = Vec::new();
        for (name, sources, must) in CRATES {
            let sources = workspace::root().join(sources);
            let mut total = Lines::default();
            let mut own: Vec<_> = files.iter().filter(|(file, _)| is_of(file, &sources)).collect();
            for (_, lines) in &own {
                total.add(**lines);
            }
            println!(
                "{name}: {} of {} lines, {:.1} %",
                total.run,
                total.all,
                total.percent()
            );
            if self.files {
                own.sort_by(|one, other| one.1.percent().total_cmp(&other.1.percent()));
                for (file, lines) in own {
                    let short = file.strip_prefix(&sources).unwrap_or(file).display();
                    println!(
                        "  {:5.1} %  {:4} missed  {short}",
                        lines.percent(),
                        lines.all.saturating_sub(lines.run)
                    );
                }
            }
            if self.least.is_some_and(|least| total.percent() < f64::from(least)) && must {
                poor.push(name);
            }
        }
        ensure!(
            poor.is_empty(),
            "too few lines are run by tests: {}",
            poor.join(", ")
        );
        Ok(0)
    }
}

/// Whether a file is a crate's and no test.
fn is_of(file: &Path, sources: &Path) -> bool {
    let Ok(inner) = file.strip_prefix(sources) else {
        return false;
    };
    let test = |part: &std::ffi::OsStr| {
        ["tests", "tests.rs", "testing.rs", "testing", "battery.rs"]
            .iter()
            .any(|name| part == *name)
    };
    !inner.iter().any(test)
}

/// `cargo test` with instrumentation.
fn cargo(folder: &Path) -> Command {
    let mut cargo = workspace::cargo();
    cargo
        .env("RUSTFLAGS", "-C instrument-coverage")
        .env("SEQUENCES", SEQUENCES)
        .args([
            "test",
            "--quiet",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--target-dir",
        ])
        .arg(folder);
    cargo
}

/// Builds the tests, and answers with their programs.
fn programs(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut build = cargo(folder);
    build.args(["--no-run", "--message-format", "json"]);
    let output = crate::progress::run("building the tests with instrumentation", &mut build)?;
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&output).lines() {
        // cargo's other words are no JSON.
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let is_test = message.pointer("/profile/test").and_then(Value::as_bool) == Some(true);
        if let (true, Some(program)) = (is_test, message.get("executable").and_then(Value::as_str)) {
            programs.push(PathBuf::from(program));
        }
    }
    ensure!(!programs.is_empty(), "cargo built no tests");
    Ok(programs)
}

/// Lines by file.
fn files(folder: &Path, profiles: &Path, programs: &[PathBuf]) -> Result<BTreeMap<PathBuf, Lines>> {
    let merged = folder.join("merged.profdata");
    let mut merge = Command::new(tools::llvm_tool("llvm-profdata")?);
    merge
        .args(["merge", "--sparse", "--output"])
        .arg(&merged)
        .arg(profiles);
    crate::progress::run("merging the profiles", &mut merge)?;
    let mut export = Command::new(tools::llvm_tool("llvm-cov")?);
    export
        .args(["export", "--summary-only", "--instr-profile"])
        .arg(&merged);
    for (number, program) in programs.iter().enumerate() {
        if number > 0 {
            export.arg("--object");
        }
        export.arg(program);
    }
    let output = crate::progress::run("counting lines", &mut export)?;
    let report: Value = serde_json::from_slice(&output).context("llvm-cov gives no JSON")?;
    let Some(all) = report.pointer("/data/0/files").and_then(Value::as_array) else {
        bail!("llvm-cov names no files");
    };
    let mut files = BTreeMap::new();
    for file in all {
        let number = |path: &str| file.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        if let Some(name) = file.get("filename").and_then(Value::as_str) {
            let lines = Lines {
                all: number("/summary/lines/count"),
                run: number("/summary/lines/covered"),
            };
            files.insert(PathBuf::from(name), lines);
        }
    }
    Ok(files)
}
