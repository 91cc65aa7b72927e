//! `cargo xtask test`: every test there is, on a machine that may have nothing but Rust.

use crate::check::{self, say, step};
use crate::machine::Emulator;
use crate::{abi, debian, guests, image, tools, workspace};
use anyhow::Result;
use clap::Args;
use std::time::Instant;

/// The images the boot tests start.
const IMAGES: [&str; 10] = [
    "linux",
    "one_guest",
    "two_guests",
    "exchange",
    "shares",
    "stuck",
    "xen_default",
    "silo",
    "partitioned",
    "read_only_grants",
];

/// The guests they start in them, besides Debian's kernels.
const GUESTS: [&str; 16] = [
    "conversation",
    "ping",
    "pong",
    "hello",
    "stubborn",
    "triple_fault",
    "verdict",
    "intruder",
    "neighbour",
    "exchange",
    "exits",
    "modes",
    "second_vcpu",
    "clock",
    "victim",
    "hostile",
];

/// Those of them that 32-bit code is made of as well.
const GUESTS_32: [&str; 4] = ["exchange", "modes", "second_vcpu", "narrow"];

/// Where the boot tests run, one after the other.
const EMULATORS: [Emulator; 2] = [Emulator::Qemu, Emulator::Bochs];

/// What `test` takes.
#[derive(Debug, Args)]
pub struct Test {
    /// Leave out what boots a machine
    #[arg(long)]
    pub no_boot: bool,
    /// Only boot tests whose name contains this
    #[arg(long, value_name = "WORD")]
    pub boot: Option<String>,
    /// Boot tests on this machine only [default: first in QEMU, then in Bochs]
    #[arg(long, value_enum)]
    pub machine: Option<Emulator>,
}

impl Test {
    /// Tests it all.
    pub fn run(self) -> Result<u8> {
        let began = Instant::now();
        tools::ensure_bare_target()?;
        if tools::is_root() {
            tools::ensure(&[&[tools::QEMU, tools::XEN_HEADERS][..], &tools::ISO_TOOLS].concat())?;
        } else if let Err(error) = abi::fetch() {
            say(&format!(
                "layouts will not be compared with Xen's headers: {error:#}"
            ));
        }
        if self.boot.is_none() {
            check::host_tests()?;
            check::style()?;
            check::bare_build()?;
        }
        if !self.no_boot {
            let machines = self.machine.as_slice();
            let machines = if machines.is_empty() { &EMULATORS } else { machines };
            for machine in machines {
                machine.ensure()?;
            }
            boot_tests(self.boot.as_deref(), machines)?;
        }
        say(&format!("every test passed, after {:.0?}", began.elapsed()));
        Ok(0)
    }
}

fn boot_tests(only: Option<&str>, machines: &[Emulator]) -> Result<()> {
    say("what the boot tests need");
    for example in IMAGES {
        image::build(example, None)?;
    }
    for guest in GUESTS {
        guests::build(guest)?;
    }
    for guest in GUESTS_32 {
        guests::build_32(guest)?;
    }
    for kernel in debian::Kernel::ALL {
        kernel.fetch()?;
    }
    debian::busybox()?;
    if only.is_none() {
        let mut loaders = workspace::cargo();
        loaders.env("XENVISOR_TEST_KERNELS", workspace::cache_dir()?);
        loaders.args(["test", "--quiet", "--package", "xenvisor-core", "real_kernels"]);
        step("tests of loaders on Debian's kernels", &mut loaders)?;
    }
    for machine in machines {
        let mut tests = workspace::cargo();
        tests.args([
            "test",
            "--package",
            "xenvisor",
            "--test",
            "boot",
            "--",
            "--ignored",
        ]);
        tests.args(only);
        machine.name_to(&mut tests);
        step(
            &format!("tests that boot a machine in {}", machine.name()),
            &mut tests,
        )?;
    }
    Ok(())
}
