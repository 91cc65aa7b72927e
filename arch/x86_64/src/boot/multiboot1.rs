//! What a multiboot 1 loader tells.
//!
//! Multiboot specification 0.6.96 §3.3. It knows nothing of ACPI: the BIOS area has to be searched. Pure:
//! tested on byte arrays.

use heapless::{String, Vec};

use super::gather::{firmware_entries, module, push_entry};
use super::info::{BootInfo, BootInfoError, Protocol};
use super::memory_map::MemoryMap;
use super::reader::{Cursor, LoaderMemory};

/// Flags: which fields are there.
const HAS_COMMAND_LINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MEMORY_MAP: u32 = 1 << 6;

/// Reads the information at machine address `at`.
pub(crate) fn read(memory: &dyn LoaderMemory, at: u64) -> Result<BootInfo, BootInfoError> {
    let mut fields = Cursor::new(memory, at);
    let flags = fields.u32()?;
    fields.skip(12); // mem_lower, mem_upper, boot_device
    let command_line_at = fields.u32()?;
    let module_count = fields.u32()?;
    let module_list = fields.u32()?;
    fields.skip(16); // symbols
    let map_bytes = fields.u32()?;
    let map_at = fields.u32()?;

    let mut modules = Vec::new();
    if flags & HAS_MODULES != 0 {
        let mut list = Cursor::new(memory, module_list.into());
        for index in 0..module_count {
            let start = list.u32()?;
            let end = list.u32()?;
            let string_at = list.u32()?;
            let _reserved = list.u32()?;
            let bytes = end
                .checked_sub(start)
                .ok_or(BootInfoError::ModuleOutOfRange(start.into()))?;
            let found = module(
                memory,
                index as usize,
                start.into(),
                bytes.into(),
                string_at.into(),
                "",
            )?;
            modules.push(found).map_err(|_| BootInfoError::TooManyModules)?;
        }
    }

    let mut entries = firmware_entries();
    if flags & HAS_MEMORY_MAP != 0 {
        let mut map = Cursor::new(memory, map_at.into());
        let end = u64::from(map_at) + u64::from(map_bytes);
        while map.at() < end {
            let rest = map.u32()?; // of this entry, itself not counted
            let next = map.at().saturating_add(rest.max(20).into());
            let start = map.u64()?;
            let bytes = map.u64()?;
            let kind = map.u32()?;
            push_entry(&mut entries, start, bytes, kind)?;
            map = Cursor::new(memory, next);
        }
    }
    if entries.is_empty() {
        return Err(BootInfoError::NoMemoryMap);
    }

    let command_line = if flags & HAS_COMMAND_LINE != 0 && command_line_at != 0 {
        Cursor::new(memory, command_line_at.into())
            .text()?
            .ok_or(BootInfoError::CommandLineTooLong)?
    } else {
        String::new()
    };
    Ok(BootInfo {
        protocol: Protocol::Multiboot1,
        command_line,
        memory: MemoryMap::from_firmware(&entries).map_err(|_| BootInfoError::MemoryMapTooLong)?,
        modules,
        acpi: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::reader::fake::FakeMemory;
    use super::*;
    use xenvisor_core::number::MachineAddr;

    fn grub_like() -> FakeMemory {
        let mut memory = FakeMemory::default();
        let flags = HAS_COMMAND_LINE | HAS_MODULES | HAS_MEMORY_MAP;
        memory.words(
            0x1000,
            &[flags, 0, 0, 0, 0x2000, 2, 0x3000, 0, 0, 0, 0, 48, 0x4000],
        );
        memory.put(0x2000, b"\0");
        memory.words(
            0x3000,
            &[0x20_0000, 0x20_0010, 0x5000, 0, 0x30_0000, 0x30_0000, 0x5100, 0],
        );
        memory.put(0x5000, b"vmlinuz quiet\0");
        memory.put(0x5100, b"initrd\0");
        memory.words(
            0x4000,
            &[20, 0, 0, 0x9_fc00, 0, 1, 20, 0x10_0000, 0, 0x10_0000, 0, 1],
        );
        memory
    }

    #[test]
    fn what_grub_gives_is_read_and_a_modules_first_word_is_its_name() {
        let info = read(&grub_like(), 0x1000).unwrap();
        assert_eq!(info.protocol, Protocol::Multiboot1);
        assert_eq!(info.command_line, "");
        assert_eq!(info.modules.len(), 2);
        assert_eq!(info.modules[0].name, "vmlinuz");
        assert_eq!(info.modules[0].start, MachineAddr::new(0x20_0000));
        assert_eq!(info.modules[0].bytes, 16);
        assert_eq!(info.modules[1].name, "initrd");
        assert_eq!(info.modules[1].bytes, 0);
        assert_eq!(info.memory.regions().count(), 2);
        assert_eq!(info.acpi, None);
    }

    #[test]
    fn a_module_that_ends_before_it_starts_is_refused() {
        let mut memory = grub_like();
        memory.words(0x7000, &[HAS_MODULES, 0, 0, 0, 0, 1, 0x8000, 0, 0, 0, 0, 0, 0]);
        memory.words(0x8000, &[0x2000, 0x1000, 0, 0]);
        assert_eq!(
            read(&memory, 0x7000).err(),
            Some(BootInfoError::ModuleOutOfRange(0x2000))
        );
    }

    #[test]
    fn a_loader_without_a_memory_map_is_refused() {
        let mut memory = FakeMemory::default();
        memory.words(0x1000, &[0; 13]);
        assert_eq!(read(&memory, 0x1000).err(), Some(BootInfoError::NoMemoryMap));
    }
}
