//! A guest's kernel: from a module's bytes to segments in guest memory and an entry point.
//!
//! A module is a raw ELF file, or a bzImage whose payload is one. The ELF is placed as it comes out of the
//! decoder, so that no copy of it exists: decoders (`payload`) push into a `Sink`, and the loader
//! (`elf`) is one. On failure the guest's memory may hold parts of the kernel; nothing else is changed.

mod bzimage;
mod elf;
mod error;
mod gzip;
mod lz4;
mod notes;
mod payload;
#[cfg(test)]
pub(crate) mod tests;
mod xz;
mod zstd;

pub use error::{Corruption, Field, KernelError, Part, Unsupported};
pub use payload::Format;

use super::{Extent, GuestRam};
use crate::number::GuestAddr;
use payload::Sink;

/// What was learned of a kernel by loading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Where the guest's first processor starts (note 18, `PHYS32_ENTRY`).
    pub entry: GuestAddr,
    /// Where its segments lie, in the order of its program headers; no two overlap.
    pub segments: heapless::Vec<Extent, SEGMENTS_MAX>,
    /// Whether it finds the ACPI root pointer wherever the start info says (feature 15,
    /// `linux_rsdp_unrestricted`); if not, it looks for it below 1 MiB only.
    pub rsdp_anywhere: bool,
    /// How it was compressed; `None` for a raw ELF file.
    pub format: Option<Format>,
}

/// The most segments that a kernel may load.
pub const SEGMENTS_MAX: usize = 16;

/// Judges what can be judged of the kernel in `file` without unpacking it: its headers, and whether they fit
/// the file and a guest whose memory lies at `extents`.
///
/// # Errors
/// [`KernelError`] says what is wrong with the file.
pub fn examine(file: &[u8], extents: &[Extent]) -> Result<(), KernelError> {
    if file.starts_with(&elf::MAGIC) {
        return elf::examine(file, extents);
    }
    Format::recognise(bzimage::payload(file)?).map(drop)
}

/// Loads the kernel in `file` into `ram`, whose memory lies at `extents`.
///
/// # Errors
/// [`KernelError`] says what is wrong with the file. Parts of it may be in `ram` then.
pub fn load(file: &[u8], extents: &[Extent], ram: &mut dyn GuestRam) -> Result<Kernel, KernelError> {
    let mut loader = elf::Loader::new(extents, ram);
    if file.starts_with(&elf::MAGIC) {
        loader.take(file)?;
        return loader.finish(None);
    }
    let payload = bzimage::payload(file)?;
    let format = Format::recognise(payload)?;
    payload::unpack(payload, &mut loader).map_err(|error| match error {
        KernelError::Unrecognised { start, .. } => KernelError::PayloadNotElf { start },
        other => other,
    })?;
    loader.finish(Some(format))
}

/// Hands the ELF file in `file` to `take`, piece by piece: what is in a bzImage, or a raw ELF file as it is. For whoever
/// unpacks a kernel before the machine that boots it is there.
///
/// # Errors
/// [`KernelError`] says what is wrong with the file. Parts of it may have been handed over then.
pub fn unpack(file: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<(), KernelError> {
    struct Taker<'t>(&'t mut dyn FnMut(&[u8]));
    impl Sink for Taker<'_> {
        fn take(&mut self, bytes: &[u8]) -> Result<(), KernelError> {
            (self.0)(bytes);
            Ok(())
        }
    }
    if file.starts_with(&elf::MAGIC) {
        take(file);
        return Ok(());
    }
    payload::unpack(bzimage::payload(file)?, &mut Taker(take))
}

/// The first four bytes, for messages; zeros where there are fewer.
fn first_four(bytes: &[u8]) -> [u8; 4] {
    let mut start = [0; 4];
    for (into, from) in start.iter_mut().zip(bytes) {
        *into = *from;
    }
    start
}
