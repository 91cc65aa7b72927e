//! Kernels unpacked before their machine boots: on a slow emulator a guest's kernel would take a minute to unpack there.

use crate::debian::{Kernel, fetch_once};
use crate::progress::Step;
use crate::workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The ELF file in a bzImage; an ELF file is its own.
pub fn unpack(kernel: &Path) -> Result<Vec<u8>> {
    let file = std::fs::read(kernel).with_context(|| format!("cannot read {}", kernel.display()))?;
    let _step = Step::begin(&format!("unpacking {}", kernel.display()));
    let mut unpacked = Vec::new();
    xenvisor_core::build::kernel::unpack(&file, &mut |bytes| unpacked.extend_from_slice(bytes))
        .map_err(|error| anyhow::anyhow!("{}: {error}", kernel.display()))?;
    Ok(unpacked)
}

/// One of Debian's kernels, unpacked once and kept.
pub fn fetch(kernel: Kernel) -> Result<PathBuf> {
    let packed = kernel.fetch()?;
    let unpacked = workspace::cache_dir()?
        .join("unpacked")
        .join(packed.parent().and_then(Path::file_name).unwrap_or_default());
    fetch_once(&unpacked, |scratch| {
        let file = scratch.join("vmlinux");
        std::fs::write(&file, unpack(&packed)?).context("cannot write the unpacked kernel")?;
        Ok(file)
    })?;
    Ok(unpacked)
}
