//! `cargo xtask bench`: what each operation of a guest costs, with real Xen and with us.
//!
//! One guest (`tests/guests`, `measure`) counts on both, in the same emulator, with a counter that counts instructions:
//! a figure says how many of them the machine executes for one operation, and is the same in every run. What an
//! exit costs the hardware itself is not in it.

mod chart;
mod costs;
mod runs;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::machine::Emulator;
use crate::workspace;

use costs::{Costs, Report};
use table::{Growth, Table};

/// A cost that has grown by more than this is told of, in percent.
const TOLERANCE: u64 = 3;

/// What `bench` takes.
#[derive(Debug, Args)]
pub struct Bench {
    /// Whose processor is emulated
    #[arg(long, value_enum, default_value = "qemu")]
    machine: Emulator,
    /// Do not run Xen: only our own figures
    #[arg(long)]
    alone: bool,
    /// Compare with the figures of a run before, as kept in a JSON file
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Compare with the figures in tests/costs instead of with Xen; the status is 1 if one has grown by more than 3 %
    #[arg(long, conflicts_with = "baseline")]
    check: bool,
    /// Make the figures of this run those in tests/costs
    #[arg(long, conflicts_with = "check")]
    keep: bool,
    /// Where the figures are written to as JSON [default: target/bench/MACHINE.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where they are drawn as SVG [default: target/bench/MACHINE.svg]
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

impl Bench {
    /// Counts and compares; the status is 1 where something has grown that is checked.
    pub fn run(self) -> Result<u8> {
        let ours = runs::us(self.machine)?;
        if self.check {
            return check(self.machine, &ours);
        }
        let report = Report {
            machine: file_name(self.machine),
            xen: if self.alone {
                None
            } else {
                Some(runs::xen(self.machine)?)
            },
            ours,
        };
        let before = self.baseline.as_deref().map(Report::read).transpose()?;
        print!("{}", Table::new(&report, before.as_ref()));
        let folder = workspace::target_dir()?.join("bench");
        let place = |given: Option<PathBuf>, ending: &str| {
            given.unwrap_or_else(|| folder.join(format!("{}.{ending}", report.machine)))
        };
        let json = place(self.json, "json");
        report.write(&json)?;
        let chart = place(self.chart, "svg");
        chart::draw(&report, &chart)?;
        eprintln!(
            "xtask: the figures are in {} and {}",
            json.display(),
            chart.display()
        );
        if self.keep {
            let kept = kept(self.machine);
            Report {
                xen: None,
                ..report.clone()
            }
            .write(&kept)?;
            eprintln!("xtask: our own are kept in {}", kept.display());
        }
        Ok(0)
    }
}

/// What files about a machine are called, and the command line's word for it.
fn file_name(machine: Emulator) -> String {
    machine.name().to_lowercase()
}

/// Where the figures are that a run is held against.
fn kept(machine: Emulator) -> PathBuf {
    workspace::root().join(format!("tests/costs/{}.json", file_name(machine)))
}

fn check(machine: Emulator, ours: &Costs) -> Result<u8> {
    let file = kept(machine);
    let before = Report::read(&file).with_context(|| {
        format!(
            "no figures to compare with; `bench --machine {} --keep` writes them",
            machine.name()
        )
    })?;
    let growth = Growth::between(&before.ours, ours, TOLERANCE);
    print!("{growth}");
    Ok(u8::from(!growth.is_none()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
