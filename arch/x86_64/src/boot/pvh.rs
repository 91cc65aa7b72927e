//! What a PVH loader tells: `struct hvm_start_info`.
//!
//! Public header: `arch-x86/hvm/start_info.h`. Version 0 has no memory map and is refused: guessing where
//! memory ends would be worse. Pure: tested on byte arrays.

use heapless::{String, Vec};
use xenvisor_core::number::MachineAddr;

use super::gather::{firmware_entries, module, push_entry};
use super::info::{AcpiRoot, BootInfo, BootInfoError, Protocol};
use super::magic::PVH_MAGIC;
use super::memory_map::MemoryMap;
use super::reader::{Cursor, LoaderMemory};

/// What the one module is called where QEMU's `-initrd` gives it no string.
const UNNAMED: &str = "bundle";

/// Reads the start information at machine address `at`.
pub(crate) fn read(memory: &dyn LoaderMemory, at: u64) -> Result<BootInfo, BootInfoError> {
    let mut fields = Cursor::new(memory, at);
    if fields.u32()? != PVH_MAGIC {
        return Err(BootInfoError::NoPvhMagic(at));
    }
    let version = fields.u32()?;
    let _flags = fields.u32()?;
    let module_count = fields.u32()?;
    let module_list = fields.u64()?;
    let command_line_at = fields.u64()?;
    let rsdp = fields.u64()?;
    if version == 0 {
        return Err(BootInfoError::NoMemoryMap);
    }
    let map_at = fields.u64()?;
    let map_entries = fields.u32()?;

    let mut modules = Vec::new();
    let mut list = Cursor::new(memory, module_list);
    for index in 0..module_count {
        let start = list.u64()?;
        let bytes = list.u64()?;
        let string_at = list.u64()?;
        let _reserved = list.u64()?;
        let found = module(memory, index as usize, start, bytes, string_at, UNNAMED)?;
        modules.push(found).map_err(|_| BootInfoError::TooManyModules)?;
    }

    let mut entries = firmware_entries();
    let mut map = Cursor::new(memory, map_at);
    for _ in 0..map_entries {
        let start = map.u64()?;
        let bytes = map.u64()?;
        let kind = map.u32()?;
        let _reserved = map.u32()?;
        push_entry(&mut entries, start, bytes, kind)?;
    }
    if entries.is_empty() {
        return Err(BootInfoError::NoMemoryMap);
    }

    let command_line = match command_line_at {
        0 => String::new(),
        at => Cursor::new(memory, at)
            .text()?
            .ok_or(BootInfoError::CommandLineTooLong)?,
    };
    Ok(BootInfo {
        protocol: Protocol::Pvh,
        command_line,
        memory: MemoryMap::from_firmware(&entries).map_err(|_| BootInfoError::MemoryMapTooLong)?,
        modules,
        acpi: (rsdp != 0).then(|| AcpiRoot::Pointer(MachineAddr::new(rsdp))),
    })
}

#[cfg(test)]
mod tests {
    use super::super::reader::fake::FakeMemory;
    use super::*;

    fn qemu_like() -> FakeMemory {
        let mut memory = FakeMemory::default();
        memory.words(
            0x1000,
            &[
                PVH_MAGIC, 1, 0, 1, 0x2000, 0, 0x3000, 0, 0xf_5a30, 0, 0x4000, 0, 2, 0,
            ],
        );
        memory.words(0x2000, &[0x3f00_0000, 0, 0x1234, 0, 0, 0, 0, 0]);
        memory.put(0x3000, b"guest.linux.memory=64M\0");
        memory.words(0x4000, &[0, 0, 0x9_fc00, 0, 1, 0]);
        memory.words(0x4018, &[0x10_0000, 0, 0x3ff0_0000, 0, 1, 0]);
        memory
    }

    #[test]
    fn what_qemu_gives_is_read_and_the_nameless_module_is_the_bundle() {
        // The two map entries lie one behind the other, as two pieces of fake memory.
        let info = read(&qemu_like(), 0x1000).unwrap();
        assert_eq!(info.protocol, Protocol::Pvh);
        assert_eq!(info.command_line, "guest.linux.memory=64M");
        assert_eq!(info.acpi, Some(AcpiRoot::Pointer(MachineAddr::new(0xf_5a30))));
        assert_eq!(info.modules.len(), 1);
        assert_eq!(info.modules[0].name, "bundle");
        assert_eq!(info.modules[0].start, MachineAddr::new(0x3f00_0000));
        assert_eq!(info.modules[0].bytes, 0x1234);
        assert_eq!(info.memory.regions().count(), 2);
    }

    #[test]
    fn a_wrong_magic_number_an_old_version_and_a_hole_are_named() {
        let mut memory = FakeMemory::default();
        memory.words(0x1000, &[0xdead_beef, 1]);
        assert_eq!(
            read(&memory, 0x1000).err(),
            Some(BootInfoError::NoPvhMagic(0x1000))
        );
        assert_eq!(
            read(&memory, 0x9000).err(),
            Some(BootInfoError::Unreadable(0x9000))
        );
        let mut memory = FakeMemory::default();
        memory.words(0x1000, &[PVH_MAGIC, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(read(&memory, 0x1000).err(), Some(BootInfoError::NoMemoryMap));
    }

    #[test]
    fn a_module_that_wraps_around_is_refused() {
        let mut memory = qemu_like();
        memory.words(
            0x5000,
            &[PVH_MAGIC, 1, 0, 1, 0x6000, 0, 0, 0, 0, 0, 0x4000, 0, 2, 0],
        );
        memory.words(0x6000, &[0x1000, 0, u32::MAX, u32::MAX, 0, 0, 0, 0]);
        assert_eq!(
            read(&memory, 0x5000).err(),
            Some(BootInfoError::ModuleOutOfRange(0x1000))
        );
    }
}
