//! A machine with one guest: `tests/images/one_guest.rs` as its image, and any ELF file with a PVH entry as its guest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::image;
use crate::machine::{Boot, Emulator, Machine, Running};

/// The image, built.
#[derive(Clone, Debug)]
pub struct OneGuest {
    image: PathBuf,
    emulator: Emulator,
}

impl OneGuest {
    /// Builds the image, for machines of this emulator.
    pub fn build(emulator: Emulator) -> Result<OneGuest> {
        Ok(OneGuest {
            emulator,
            image: image::build("one_guest", None)?,
        })
    }

    /// Starts a machine with this guest; `limit` is meant for a fast emulator. `settings` are words about it, as in `guest.guest.vcpus=2`.
    pub fn start(&self, guest: &Path, memory_mib: u64, settings: &str, limit: Duration) -> Result<Running> {
        let scratch = tempfile::tempdir().context("cannot create a scratch folder")?;
        let bundle = image::bundle(&[("guest", guest)], scratch.path())?;
        let bytes = std::fs::metadata(&bundle)
            .context("cannot look at the bundle")?
            .len();
        let boot = Boot::Image {
            image: self.image.clone(),
            bundle: Some(bundle),
        };
        let mut running = Machine::new(self.emulator, boot)
            .memory_mib(Machine::memory_for(memory_mib, bytes))
            .command_line(&format!("guest.guest.memory={memory_mib}M {settings}"))
            .time_limit(limit.saturating_mul(self.emulator.patience()))
            .start()?;
        running.keep(scratch);
        Ok(running)
    }
}
