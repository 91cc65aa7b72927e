//! `cargo xtask xen record`: talks with Xen, kept.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use xenvisor_conversation::Area;

use crate::workspace;

use super::dom0::{Dom0, Guest};
use super::{LIMIT, file_of};

/// What a guest that talks puts in front of each line of its transcript.
const MARK: &str = "| ";
/// How much memory the talks reckon with.
const MEMORY_MIB: u64 = 64;

/// What `record` takes.
#[derive(Debug, Args)]
pub(super) struct Recording {
    /// What to talk about [default: everything]
    #[arg(value_name = "AREA")]
    areas: Vec<String>,
    /// The seed of the talks
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many calls each has, about
    #[arg(long, default_value_t = 2000)]
    calls: u32,
    /// Where the transcripts go [default: tests/transcripts]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

impl Recording {
    pub(super) fn run(self) -> Result<u8> {
        let areas = if self.areas.is_empty() {
            Area::ALL.to_vec()
        } else {
            self.areas.iter().map(|name| named(name)).collect::<Result<_>>()?
        };
        let folder = match &self.into {
            Some(folder) => folder.clone(),
            None => workspace::root().join("tests/transcripts"),
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let dom0 = Dom0::fetch()?;
        let file = file_of("conversation")?;
        for area in areas {
            let (name, seed, calls) = (area.name(), self.seed, self.calls);
            let guest = Guest {
                file: &file,
                command_line: &format!("area={name} seed={seed} calls={calls}"),
                memory_mib: MEMORY_MIB,
            };
            let said = dom0.run(&guest, LIMIT, false)?;
            let mut transcript = String::new();
            for line in said.console.lines().filter_map(|line| line.strip_prefix(MARK)) {
                writeln!(transcript, "{line}").context("cannot write to memory")?;
            }
            if said.crashed || !said.console.contains(&format!("that was {name}")) {
                bail!(
                    "the talk about {name} was cut short; the guest said\n{}",
                    said.console
                );
            }
            let to = folder.join(format!("{name}.txt"));
            std::fs::write(&to, &transcript).with_context(|| format!("cannot write {}", to.display()))?;
            println!("{}: {} lines", to.display(), transcript.lines().count());
        }
        Ok(0)
    }
}

fn named(name: &str) -> Result<Area> {
    let Some(area) = Area::named(name) else {
        let all: Vec<&str> = Area::ALL.iter().map(|area| area.name()).collect();
        bail!("there are no talks about {name:?}: say one of {}", all.join(", "));
    };
    Ok(area)
}
