//! A disk from which a machine boots an image with its modules, without a boot loader that knows files.
//!
//! Behind the [boot sector](super::boot_sector) the disk is what memory is to be from the image's first address on: its
//! segments where they belong, its command line, and the bundle of its modules.

use super::boot_sector::{BootSector, SECTOR};
use anyhow::{Context, Result};
use object::Endianness;
use object::elf::{PT_LOAD, PT_NOTE};
use object::read::elf::{ElfFile64, ProgramHeader};
use std::path::Path;

/// The note with the PVH entry: `XEN_ELFNOTE_PHYS32_ENTRY` of the public header `elfnote.h`.
const PVH_ENTRY: u32 = 18;
/// What the command line and the bundle begin at a multiple of.
const PAGE: usize = 4096;
/// A disk's size is a multiple of this: 16 heads with 63 sectors each, so that its geometry is whole.
const CYLINDER: usize = 16 * 63 * SECTOR;

/// Writes the disk for `image` to `output`.
pub fn write(image: &Path, bundle: Option<&Path>, command_line: &str, output: &Path) -> Result<()> {
    let read = |file: &Path| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let disk = contents(
        &read(image)?,
        bundle.map(read).transpose()?.as_deref(),
        command_line,
    )
    .with_context(|| format!("cannot boot {}", image.display()))?;
    std::fs::write(output, disk).with_context(|| format!("cannot write {}", output.display()))
}

fn contents(image: &[u8], bundle: Option<&[u8]>, command_line: &str) -> Result<Vec<u8>> {
    let (start, mut memory, entry) = load(image)?;
    let at = |offset: usize| {
        let offset = u32::try_from(offset).ok();
        offset
            .and_then(|offset| offset.checked_add(start))
            .context("it does not fit below 4 GiB")
    };
    let command_line_at = at(memory.len())?;
    memory.extend_from_slice(command_line.as_bytes());
    memory.push(0);
    pad(&mut memory, PAGE);
    let bundle = match bundle {
        Some(bundle) => {
            let place = at(memory.len())?;
            memory.extend_from_slice(bundle);
            Some((
                place,
                u32::try_from(bundle.len()).context("its modules are too large")?,
            ))
        }
        None => None,
    };
    pad(&mut memory, SECTOR);
    at(memory.len())?;
    let sector = BootSector {
        load_at: start,
        sectors: u32::try_from(memory.len() / SECTOR).context("it is too large")?,
        entry,
        command_line_at,
        bundle,
    };
    let mut disk = sector.bytes().to_vec();
    disk.append(&mut memory);
    pad(&mut disk, CYLINDER);
    Ok(disk)
}

/// Where an image's memory begins, what is in it from there on, and where the image is entered.
fn load(image: &[u8]) -> Result<(u32, Vec<u8>, u32)> {
    let elf = ElfFile64::<Endianness>::parse(image).context("it is no 64-bit ELF file")?;
    let endian = elf.endian();
    let segments = || {
        let headers = elf.elf_program_headers().iter();
        headers.filter(move |header| header.p_type(endian) == PT_LOAD)
    };
    let start = segments()
        .map(|header| header.p_paddr(endian))
        .min()
        .context("it has no segments")?;
    let mut memory = Vec::new();
    for header in segments() {
        let place = usize::try_from(header.p_paddr(endian).saturating_sub(start))?;
        let bytes = header
            .data(endian, image)
            .ok()
            .context("a segment is cut short")?;
        let end = place
            .checked_add(usize::try_from(header.p_memsz(endian))?)
            .filter(|end| *end <= 1 << 30)
            .context("its segments are too far apart")?;
        if memory.len() < end {
            memory.resize(end, 0);
        }
        memory
            .get_mut(place..place.saturating_add(bytes.len()))
            .context("a segment is larger than its memory")?
            .copy_from_slice(bytes);
    }
    pad(&mut memory, PAGE);
    let entry = entry(&elf, image).context("it has no PVH entry")?;
    Ok((
        u32::try_from(start).context("it begins above 4 GiB")?,
        memory,
        entry,
    ))
}

fn entry(elf: &ElfFile64<'_, Endianness>, image: &[u8]) -> Option<u32> {
    let endian = elf.endian();
    let headers = elf.elf_program_headers().iter();
    for header in headers.filter(|header| header.p_type(endian) == PT_NOTE) {
        let mut notes = header.notes(endian, image).ok()??;
        while let Ok(Some(note)) = notes.next() {
            if note.name() == b"Xen" && note.n_type(endian) == PVH_ENTRY {
                return note.desc().first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            }
        }
    }
    None
}

fn pad(bytes: &mut Vec<u8>, multiple: usize) {
    bytes.resize(bytes.len().next_multiple_of(multiple), 0);
}
