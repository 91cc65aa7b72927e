//! Who emulates a machine: a choice, and what each of them needs to be here.

use crate::machine::wiring::Wiring;
use crate::machine::{Machine, bochs, kvm, qemu};
use crate::tools;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::path::Path;
use std::process::Command;

/// The variable of the environment that names an emulator for the boot tests.
const VARIABLE: &str = "XENVISOR_EMULATOR";

/// Who emulates a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Emulator {
    /// QEMU, with an AMD processor (SVM)
    #[default]
    Qemu,
    /// QEMU on this computer's own processor, through nested KVM
    Kvm,
    /// Bochs, with an Intel processor (VMX)
    Bochs,
}

impl Emulator {
    /// The one that the environment names for the boot tests; the usual one if it names none.
    pub fn from_environment() -> Result<Emulator> {
        match std::env::var(VARIABLE) {
            Ok(word) => Emulator::from_str(&word, true)
                .ok()
                .with_context(|| format!("{VARIABLE} names no emulator: {word:?}")),
            Err(_) => Ok(Emulator::default()),
        }
    }

    /// Names it in the environment of `command`, for the boot tests.
    pub fn name_to(self, command: &mut Command) {
        command.env(VARIABLE, self.word());
    }

    /// The word for it on a command line.
    pub const fn word(self) -> &'static str {
        match self {
            Emulator::Qemu => "qemu",
            Emulator::Kvm => "kvm",
            Emulator::Bochs => "bochs",
        }
    }

    /// Makes it be here, or says what is missing.
    pub fn ensure(self) -> Result<()> {
        match self {
            Emulator::Qemu => tools::qemu().map(drop),
            Emulator::Kvm => {
                kvm::ensure()?;
                tools::qemu().map(drop)
            }
            Emulator::Bochs => tools::bochs().map(drop),
        }
    }

    /// The command that emulates `machine`, and where its words come out. `scratch` is a folder of its own that lives
    /// as long as the machine.
    pub(super) fn wire(self, machine: &Machine, scratch: &Path) -> Result<Wiring> {
        match self {
            Emulator::Qemu => qemu::wire(machine, qemu::Accelerator::Tcg, scratch),
            Emulator::Kvm => {
                kvm::ensure()?;
                qemu::wire(machine, qemu::Accelerator::Kvm, scratch)
            }
            Emulator::Bochs => bochs::wire(machine, scratch),
        }
    }

    /// How many times as long as in QEMU things may take: limits of time grow by it.
    pub const fn patience(self) -> u32 {
        match self {
            Emulator::Qemu | Emulator::Kvm => 1,
            Emulator::Bochs => 4,
        }
    }

    /// Whether it is so slow that a kernel is better unpacked before.
    pub const fn wants_unpacked_kernels(self) -> bool {
        matches!(self, Emulator::Bochs)
    }

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Emulator::Qemu => "QEMU",
            Emulator::Kvm => "QEMU with KVM",
            Emulator::Bochs => "Bochs",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_for_each_is_the_one_the_command_line_takes() {
        for emulator in Emulator::value_variants() {
            let taken = Emulator::from_str(emulator.word(), false);
            assert_eq!(taken.as_ref(), Ok(emulator));
        }
    }
}
