//! One machine, as a description; [`Machine::start`] makes it run.

use crate::machine::log::Line;
use crate::machine::{Boot, Emulator, Running};
use anyhow::{Context, Result};
use std::time::Duration;

/// Is handed what the console says, as it says it.
pub type ConsoleSink = Box<dyn FnMut(&[u8]) + Send>;
/// Is handed the lines of the host's log.
pub type LogSink = Box<dyn FnMut(&Line) + Send>;

/// A machine to be started.
pub struct Machine {
    /// Who emulates it.
    pub emulator: Emulator,
    /// What it boots.
    pub boot: Boot,
    /// Its processor, in the emulator's words, where it is not the emulator's usual one.
    pub processor: Option<String>,
    /// How many processors it has.
    pub pcpus: u32,
    /// Whether its counter counts the instructions that it executes, so that runs are alike. In Bochs it always does.
    pub counts_instructions: bool,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// The command line of what it boots. An ISO has its own.
    pub command_line: String,
    /// Whether a debugger has it before its first instruction: gdb on port 1234, or Bochs's own in this terminal.
    pub debugger: bool,
    /// Whether it starts again when it resets itself, instead of ending.
    pub restarts: bool,
    /// When it is stopped at the latest, counted from its start.
    pub time_limit: Option<Duration>,
    /// Who hears the console, besides [`Running::console`].
    pub console_sink: Option<ConsoleSink>,
    /// Who hears the log, besides [`Running::log`].
    pub log_sink: Option<LogSink>,
}

impl Machine {
    /// A machine with hardware virtualization and nested paging, and 2 GiB of memory.
    pub fn new(emulator: Emulator, boot: Boot) -> Machine {
        Machine {
            emulator,
            boot,
            processor: None,
            pcpus: 1,
            counts_instructions: false,
            memory_mib: 2048,
            command_line: String::new(),
            debugger: false,
            restarts: false,
            time_limit: None,
            console_sink: None,
            log_sink: None,
        }
    }

    /// Sets when it is stopped at the latest.
    pub fn time_limit(mut self, limit: Duration) -> Machine {
        self.time_limit = Some(limit);
        self
    }

    /// Sets how many processors it has.
    pub fn pcpus(mut self, pcpus: u32) -> Machine {
        self.pcpus = pcpus;
        self
    }

    /// Lets its counter count instructions.
    pub fn counting_instructions(mut self) -> Machine {
        self.counts_instructions = true;
        self
    }

    /// Sets its memory.
    pub fn memory_mib(mut self, memory: u64) -> Machine {
        self.memory_mib = memory;
        self
    }

    /// Sets the command line of what it boots.
    pub fn command_line(mut self, line: &str) -> Machine {
        line.clone_into(&mut self.command_line);
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Running> {
        let scratch = tempfile::Builder::new()
            .prefix("xenvisor-")
            .tempdir()
            .context("cannot create a scratch folder")?;
        let wiring = self.emulator.wire(&self, scratch.path())?;
        Running::start(self, wiring, scratch)
    }

    /// The memory a machine needs for guests of `guests_mib` and modules of `modules` bytes: the modules are there as
    /// they were loaded and once unpacked from their bundle, and the host wants some for itself.
    pub fn memory_for(guests_mib: u64, modules: u64) -> u64 {
        let modules_mib = modules.div_ceil(1 << 20);
        guests_mib
            .saturating_add(modules_mib.saturating_mul(3))
            .saturating_add(256)
            .next_multiple_of(64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_holds_its_guests_the_modules_and_the_host() {
        assert_eq!(Machine::memory_for(512, 20 << 20), 832);
        assert!(Machine::memory_for(64, 0) >= 64 + 200);
    }
}
