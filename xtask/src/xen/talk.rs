//! One talk with a hypervisor, by a guest: with Xen, or with us.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use xenvisor_conversation::Area;

use crate::guests;
use crate::machine::Emulator;
use crate::one_guest::OneGuest;

use super::dom0::{Dom0, Guest, Order};

/// How long a talk may take, the boot of the machine included.
const LIMIT: Duration = Duration::from_secs(180);
/// How much memory the talks reckon with.
const MEMORY_MIB: u64 = 64;
/// What the guest that talks puts in front of each line of its transcript.
const MARK: &str = "| ";

/// A talk to be had: the same with whomever.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// About what.
    pub area: Area,
    /// From which seed.
    pub seed: u64,
    /// About how many calls.
    pub calls: u32,
}

/// The guest that talks, built.
pub(super) fn talker() -> Result<PathBuf> {
    guests::build("conversation")
}

/// What a talk with us takes: the guest that talks, and the image it runs in.
#[derive(Clone, Debug)]
pub struct Us {
    image: OneGuest,
    talker: PathBuf,
}

impl Us {
    /// Builds both, for machines of this emulator.
    pub fn build(emulator: Emulator) -> Result<Us> {
        Ok(Us {
            image: OneGuest::build(emulator)?,
            talker: talker()?,
        })
    }
}

impl Talk {
    /// The talk whose transcript is kept.
    pub const fn kept(area: Area) -> Talk {
        Talk {
            area,
            seed: 1,
            calls: 2000,
        }
    }

    /// Has it with Xen, and answers with the transcript.
    pub(super) fn with_xen(self, dom0: &Dom0, talker: &Path) -> Result<String> {
        let guest = Guest {
            file: talker,
            command_line: &self.command_line(),
            memory_mib: MEMORY_MIB,
            vcpus: 1,
        };
        let said = dom0.run(&Order::one(guest, LIMIT))?;
        if said.crashed {
            bail!("the guest crashed while it talked about {}", self.area.name());
        }
        self.transcript(&said.console)
    }

    /// Has it with us, on a machine of its own, and answers with the transcript.
    pub fn with_us(self, us: &Us) -> Result<String> {
        let settings = format!("guest.guest.cmdline=\"{}\"", self.command_line());
        let mut running = us.image.start(&us.talker, MEMORY_MIB, &settings, LIMIT)?;
        let ending = running.wait()?;
        if ending.exit_status() != 0 {
            bail!(
                "{ending} while it talked about {}\n{}",
                self.area.name(),
                running.story()
            );
        }
        self.transcript(&running.console().text())
    }

    fn command_line(self) -> String {
        let Talk { area, seed, calls } = self;
        format!("area={} seed={seed} calls={calls}", area.name())
    }

    /// The transcript in what a guest said.
    fn transcript(self, console: &str) -> Result<String> {
        if !console.contains(&format!("that was {}", self.area.name())) {
            bail!(
                "the talk about {} was cut short; the guest said\n{console}",
                self.area.name()
            );
        }
        let lines = console.lines().filter_map(|line| line.strip_prefix(MARK));
        Ok(lines
            .map(|line| format!("{}\n", line.trim_end_matches('\r')))
            .collect())
    }
}
