//! `cargo xtask xen`: Debian's own Xen under the same emulator, as the reference for what a hypervisor answers.
//!
//! Xen, its tools and a Linux for its dom0 come from Debian's packages, fetched once and never committed. Our guests run
//! on it unchanged, created by its `xl`; what they say on their console comes back.

mod compare;
mod dom0;
mod packages;
mod record;
mod talk;
mod transcript;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};

use crate::guests;
pub use compare::Compare;
pub use talk::{Talk, Us};
pub use transcript::{Comparison, kept};

pub(crate) use dom0::{Dom0, Guest, Order};
use record::Recording;

/// How long a guest may take, Xen's own boot included.
const LIMIT: Duration = Duration::from_secs(180);

/// What `xen` takes.
#[derive(Debug, Args)]
pub struct Xen {
    /// What is to be done with it.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a guest of tests/guests, or an ELF file with a PVH entry, and print what it says
    Run(Run),
    /// Have long talks with Xen and keep what it answered as tests/transcripts, which tests hold against us
    Record(Recording),
}

#[derive(Debug, Args)]
struct Run {
    /// The guest: a name, or a file
    guest: String,
    /// Its command line
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    cmdline: String,
    /// Its memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    memory: u64,
    /// Stop after so many seconds, as an error
    #[arg(long, value_name = "SECONDS", default_value_t = LIMIT.as_secs())]
    timeout: u64,
    /// Print all that Xen and its dom0 say, too
    #[arg(long)]
    verbose: bool,
}

impl Xen {
    /// Does it, and answers with this process's exit status.
    pub fn run(self) -> Result<u8> {
        match self.verb {
            Verb::Run(verb) => verb.run(),
            Verb::Record(verb) => verb.run(),
        }
    }
}

impl Run {
    fn run(self) -> Result<u8> {
        let file = file_of(&self.guest)?;
        let guest = Guest {
            file: &file,
            command_line: &self.cmdline,
            memory_mib: self.memory,
            vcpus: 1,
        };
        let said = Dom0::fetch()?.run(&Order {
            verbose: self.verbose,
            ..Order::one(guest, Duration::from_secs(self.timeout))
        })?;
        print!("{}", said.console);
        Ok(u8::from(said.crashed))
    }
}

/// The ELF file of a guest: itself if it is one, else one of ours, built.
fn file_of(guest: &str) -> Result<PathBuf> {
    if guest.contains('/') {
        let file = Path::new(guest);
        ensure!(file.is_file(), "there is no file {guest}");
        return Ok(file.to_path_buf());
    }
    guests::build(guest)
}
