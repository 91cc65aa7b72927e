//! The guest that counts, with us and with Xen.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::machine::{Boot, Emulator, Machine};
use crate::progress::Step;
use crate::xen::{Dom0, Guest, Order};
use crate::{guests, image};

use super::costs::Costs;

/// The guest's program.
const PROGRAM: &str = "measure";
/// How it finds the other domain, and the other one it.
const WORDS: [&str; 2] = ["peer=2", "peer=1 role=other"];
const MEMORY_MIB: u64 = 64;
/// How long a run may take: counting takes an emulator its time.
const LIMIT: Duration = Duration::from_secs(600);

/// Counts with us.
pub(super) fn us(emulator: Emulator) -> Result<Costs> {
    let guest = guests::build(PROGRAM)?;
    let image = image::build("exchange", None)?;
    let step = Step::begin("counting with xenvisor");
    let scratch = tempfile::tempdir().context("cannot create a scratch folder")?;
    let bundle = image::bundle(&[("one", &guest), ("two", &guest)], scratch.path())?;
    let boot = Boot::Image {
        image,
        bundle: Some(bundle),
    };
    let [one, two] = WORDS;
    let line = format!(
        "guest.one.cmdline=\"{one}\" guest.one.vcpus=2 guest.one.memory={MEMORY_MIB}M guest.two.cmdline=\"{two}\" \
         guest.two.memory={MEMORY_MIB}M"
    );
    let mut running = Machine::new(emulator, boot)
        .memory_mib(Machine::memory_for(2 * MEMORY_MIB, 1 << 20))
        .command_line(&line)
        .counting_instructions()
        .time_limit(LIMIT.saturating_mul(emulator.patience()))
        .start()?;
    let ending = running.wait()?;
    drop(step);
    if ending.exit_status() != 0 {
        bail!("{ending} while costs were counted\n{}", running.story());
    }
    Costs::said(&running.console().text())
}

/// Counts with Debian's Xen.
pub(super) fn xen(emulator: Emulator) -> Result<Costs> {
    if emulator != Emulator::Qemu {
        bail!(
            "Xen is run in QEMU alone so far: with --machine {} there is --alone",
            emulator.name()
        );
    }
    let file = guests::build(PROGRAM)?;
    let [one, two] = WORDS.map(|words| Guest {
        file: &file,
        command_line: words,
        memory_mib: MEMORY_MIB,
        vcpus: 1,
    });
    let said = Dom0::fetch()?.run(&Order {
        companion: Some(two),
        counts_instructions: true,
        ..Order::one(Guest { vcpus: 2, ..one }, LIMIT)
    })?;
    if said.crashed {
        bail!(
            "the guest that counts has crashed under Xen; it said\n{}",
            said.console
        );
    }
    Costs::said(&said.console)
}
