//! The pieces every boot protocol has: modules, memory map entries, and choosing the protocol.

use heapless::{String, Vec};
use xenvisor_core::number::MachineAddr;

use super::info::{BootInfo, BootInfoError, LoadedModule, MAX_NAME};
use super::magic::{MULTIBOOT1_MAGIC, MULTIBOOT2_MAGIC, PVH_MAGIC};
use super::memory_map::{MAX_REGIONS, MemoryKind, MemoryRegion};
use super::reader::{Cursor, LoaderMemory};
use super::{multiboot1, multiboot2, pvh};

/// Longest string of a module that is looked at; its name is the first word.
const MAX_STRING: usize = 512;

/// Reads what the loader left at `info`, according to the magic number it brought.
pub(crate) fn gather(memory: &dyn LoaderMemory, magic: u32, info: u32) -> Result<BootInfo, BootInfoError> {
    match magic {
        PVH_MAGIC => pvh::read(memory, info.into()),
        MULTIBOOT1_MAGIC => multiboot1::read(memory, info.into()),
        MULTIBOOT2_MAGIC => multiboot2::read(memory, info.into()),
        other => Err(BootInfoError::UnknownProtocol(other)),
    }
}

/// Memory map entries as firmware gave them.
pub(crate) type FirmwareEntries = Vec<MemoryRegion, MAX_REGIONS>;

/// An empty list of entries.
pub(crate) fn firmware_entries() -> FirmwareEntries {
    Vec::new()
}

/// Adds the entry of `bytes` bytes at `start`, of an E820 type. Empty entries are left out.
pub(crate) fn push_entry(
    entries: &mut FirmwareEntries,
    start: u64,
    bytes: u64,
    e820: u32,
) -> Result<(), BootInfoError> {
    if bytes == 0 {
        return Ok(());
    }
    let entry = MemoryRegion {
        range: start..start.saturating_add(bytes),
        kind: MemoryKind::from_e820(e820),
    };
    entries.push(entry).map_err(|_| BootInfoError::MemoryMapTooLong)
}

/// Module number `index`, whose string lies at `string_at` (0: it has none and is called `unnamed`).
pub(crate) fn module(
    memory: &dyn LoaderMemory,
    index: usize,
    start: u64,
    bytes: u64,
    string_at: u64,
    unnamed: &str,
) -> Result<LoadedModule, BootInfoError> {
    if start.checked_add(bytes).is_none() {
        return Err(BootInfoError::ModuleOutOfRange(start));
    }
    let string: String<MAX_STRING> = match string_at {
        0 => String::new(),
        at => Cursor::new(memory, at)
            .text()?
            .ok_or(BootInfoError::ModuleNameTooLong(index))?,
    };
    let word = string.split_ascii_whitespace().next().unwrap_or(unnamed);
    let mut name = String::<MAX_NAME>::new();
    name.push_str(word)
        .map_err(|_| BootInfoError::ModuleNameTooLong(index))?;
    Ok(LoadedModule {
        name,
        start: MachineAddr::new(start),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::super::reader::fake::FakeMemory;
    use super::*;

    #[test]
    fn each_magic_number_leads_to_its_protocol_and_others_to_an_error() {
        let mut memory = FakeMemory::default();
        memory.words(0x1000, &[0; 13]);
        let found = [PVH_MAGIC, MULTIBOOT1_MAGIC, MULTIBOOT2_MAGIC, 7]
            .map(|magic| gather(&memory, magic, 0x1000).err());
        let expected = [
            BootInfoError::NoPvhMagic(0x1000),
            BootInfoError::NoMemoryMap,
            BootInfoError::NoMemoryMap,
            BootInfoError::UnknownProtocol(7),
        ];
        assert_eq!(found, expected.map(Some));
    }

    #[test]
    fn a_name_that_is_too_long_is_refused() {
        let mut memory = FakeMemory::default();
        memory
            .put(0x1000, &[b'x'; MAX_NAME + 1])
            .put(0x1000 + MAX_NAME as u64 + 1, b"\0");
        let found = module(&memory, 3, 0, 0, 0x1000, "");
        assert_eq!(found, Err(BootInfoError::ModuleNameTooLong(3)));
    }
}
