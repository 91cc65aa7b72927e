//! `cargo xtask compare`: the same talks with Xen and with us, in the same emulator, line by line.

use anyhow::Result;
use clap::Args;

use crate::machine::Emulator;
use crate::progress::Step;

use super::dom0::Dom0;
use super::record::areas;
use super::talk::{Talk, Us, talker};
use super::transcript::{Comparison, kept};

/// What `compare` takes.
#[derive(Debug, Args)]
pub struct Compare {
    /// What to talk about [default: everything]
    #[arg(value_name = "AREA")]
    areas: Vec<String>,
    /// The seed of the talks [default: that of the transcripts in tests/transcripts]
    #[arg(long)]
    seed: Option<u64>,
    /// How many calls each has, about [default: as many as those]
    #[arg(long)]
    calls: Option<u32>,
    /// Where our side of the talks runs
    #[arg(long, value_enum, default_value = "qemu")]
    machine: Emulator,
    /// Ask Xen anew, even where there is a transcript
    #[arg(long)]
    fresh: bool,
}

impl Compare {
    /// Compares; the status is 1 where something differs.
    pub fn run(self) -> Result<u8> {
        let mut all_agree = true;
        let anew = self.fresh || self.seed.is_some() || self.calls.is_some();
        let xen = if anew {
            Some((Dom0::fetch()?, talker()?))
        } else {
            None
        };
        let us = Us::build(self.machine)?;
        for area in areas(&self.areas)? {
            let kept_talk = Talk::kept(area);
            let talk = Talk {
                area,
                seed: self.seed.unwrap_or(kept_talk.seed),
                calls: self.calls.unwrap_or(kept_talk.calls),
            };
            let theirs = match &xen {
                Some((dom0, talker)) => talk.with_xen(dom0, talker)?,
                None => kept(area)?,
            };
            let step = Step::begin(&format!("talking about {} with us", area.name()));
            let ours = talk.with_us(&us)?;
            drop(step);
            let comparison = Comparison::of(area, &theirs, &ours);
            println!("{comparison}");
            all_agree &= comparison.agrees();
        }
        Ok(u8::from(!all_agree))
    }
}
