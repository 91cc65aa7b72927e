//! The command line: which verbs there are. What a verb takes stands in its own file.

use crate::{abi, bench, check, coverage, image, run, sim, test, xen, xtf};
use anyhow::Result;
use clap::{Parser, Subcommand};

/// The commands of the xenvisor repository.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Boot an image in QEMU or Bochs with an unmodified Debian kernel as its guest, and be its console
    Run(run::Run),
    /// Build a bootable image, as an ELF file or as an ISO that GRUB boots
    Image(image::Image),
    /// Run every test: host, house, images, and boots in QEMU and Bochs. Installs what it misses when it may
    Test(test::Test),
    /// Check what can be checked in a moment: format, clippy, host tests, bare build
    Check(check::Check),
    /// Measure which lines the tests on the host run, for each crate
    Coverage(coverage::Coverage),
    /// Compare every number and layout of the guest interface with the installed Xen headers
    Abi(abi::Abi),
    /// Run an example on the simulated machine instead of a real one
    Sim(sim::Sim),
    /// Run guests on Debian's own Xen in the same emulator, and keep what it answers
    Xen(xen::Xen),
    /// Have the same talks with Xen and with us, and compare them line by line
    Compare(xen::Compare),
    /// Count what each operation of a guest costs, with real Xen and with us, in instructions
    Bench(bench::Bench),
    /// Run the guests of a Xen Test Framework build that you have, each in a machine of its own
    Xtf(xtf::Xtf),
}

impl Verb {
    /// Does it, and answers with this process's exit status.
    pub fn run(self) -> Result<u8> {
        match self {
            Verb::Run(verb) => verb.run(),
            Verb::Image(verb) => verb.run(),
            Verb::Test(verb) => verb.run(),
            Verb::Check(verb) => verb.run(),
            Verb::Coverage(verb) => verb.run(),
            Verb::Abi(verb) => verb.run(),
            Verb::Sim(verb) => verb.run(),
            Verb::Xen(verb) => verb.run(),
            Verb::Compare(verb) => verb.run(),
            Verb::Bench(verb) => verb.run(),
            Verb::Xtf(verb) => verb.run(),
        }
    }
}
