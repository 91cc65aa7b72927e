//! What a multiboot 2 loader tells: a list of tags.
//!
//! Multiboot 2 specification §3.6. ACPI's root pointer comes as a copy inside the information, whose memory
//! is handed out later, so what it points to is kept instead. Pure: tested on byte arrays.

use heapless::{String, Vec};
use xenvisor_core::number::MachineAddr;

use super::gather::{firmware_entries, module, push_entry};
use super::info::{AcpiRoot, BootInfo, BootInfoError, Protocol};
use super::magic::MULTIBOOT2_TAG_END;
use super::memory_map::MemoryMap;
use super::reader::{Cursor, LoaderMemory};

/// Tag types.
const END: u32 = MULTIBOOT2_TAG_END as u32;
const COMMAND_LINE: u32 = 1;
const MODULE: u32 = 3;
const MEMORY_MAP: u32 = 6;
const ACPI_OLD: u32 = 14;
const ACPI_NEW: u32 = 15;

/// Bytes in front of each tag's content: type and size.
const TAG_HEADER: u64 = 8;

/// Reads the information at machine address `at`.
pub(crate) fn read(memory: &dyn LoaderMemory, at: u64) -> Result<BootInfo, BootInfoError> {
    let mut info = BootInfo {
        protocol: Protocol::Multiboot2,
        command_line: String::new(),
        memory: MemoryMap::default(),
        modules: Vec::new(),
        acpi: None,
    };
    let mut entries = firmware_entries();
    let mut header = Cursor::new(memory, at);
    let end = at.saturating_add(header.u32()?.into());
    let _reserved = header.u32()?;
    let mut tag_at = header.at();
    while tag_at < end {
        let mut tag = Cursor::new(memory, tag_at);
        let kind = tag.u32()?;
        let bytes = u64::from(tag.u32()?).max(TAG_HEADER);
        let tag_end = tag_at.saturating_add(bytes);
        match kind {
            END => break,
            COMMAND_LINE => {
                info.command_line = tag.text()?.ok_or(BootInfoError::CommandLineTooLong)?;
            }
            MODULE => {
                let start = tag.u32()?;
                let end = tag.u32()?;
                let length = end
                    .checked_sub(start)
                    .ok_or(BootInfoError::ModuleOutOfRange(start.into()))?;
                let index = info.modules.len();
                let found = module(memory, index, start.into(), length.into(), tag.at(), "")?;
                info.modules
                    .push(found)
                    .map_err(|_| BootInfoError::TooManyModules)?;
            }
            MEMORY_MAP => {
                let entry_bytes = u64::from(tag.u32()?).max(24);
                let _version = tag.u32()?;
                let mut entry_at = tag.at();
                while entry_at.saturating_add(entry_bytes) <= tag_end {
                    let mut entry = Cursor::new(memory, entry_at);
                    let start = entry.u64()?;
                    let length = entry.u64()?;
                    push_entry(&mut entries, start, length, entry.u32()?)?;
                    entry_at = entry_at.saturating_add(entry_bytes);
                }
            }
            ACPI_OLD if info.acpi.is_some() => {}
            ACPI_OLD | ACPI_NEW => info.acpi = Some(root_pointer(&mut tag)?),
            _ => {}
        }
        tag_at = tag_end.saturating_add(7) & !7;
    }
    if entries.is_empty() {
        return Err(BootInfoError::NoMemoryMap);
    }
    info.memory = MemoryMap::from_firmware(&entries).map_err(|_| BootInfoError::MemoryMapTooLong)?;
    Ok(info)
}

/// What the copy of ACPI's root pointer says. ACPI specification 6.5 §5.2.5.3.
fn root_pointer<M: LoaderMemory + ?Sized>(copy: &mut Cursor<'_, M>) -> Result<AcpiRoot, BootInfoError> {
    copy.skip(15); // signature, checksum, OEM
    let revision = copy.u8()?;
    let old = copy.u32()?;
    if revision == 0 {
        return Ok(AcpiRoot::Table {
            revision,
            at: MachineAddr::new(old.into()),
        });
    }
    copy.skip(4); // length
    Ok(AcpiRoot::Table {
        revision,
        at: MachineAddr::new(copy.u64()?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::reader::fake::FakeMemory;
    use super::*;

    fn tag(kind: u32, content: &[u8]) -> std::vec::Vec<u8> {
        let mut tag = kind.to_le_bytes().to_vec();
        tag.extend_from_slice(&(8 + u32::try_from(content.len()).unwrap()).to_le_bytes());
        tag.extend_from_slice(content);
        tag.resize(tag.len().next_multiple_of(8), 0);
        tag
    }

    fn words(words: &[u32]) -> std::vec::Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn information(tags: &[std::vec::Vec<u8>]) -> FakeMemory {
        let body: std::vec::Vec<u8> = tags.concat();
        let mut bytes = words(&[8 + u32::try_from(body.len()).unwrap(), 0]);
        bytes.extend(body);
        let mut memory = FakeMemory::default();
        memory.put(0x1000, &bytes);
        memory
    }

    fn map_tag() -> std::vec::Vec<u8> {
        tag(
            MEMORY_MAP,
            &words(&[24, 0, 0, 0, 0x9_fc00, 0, 1, 0, 0x10_0000, 0, 0x10_0000, 0, 1, 0]),
        )
    }

    #[test]
    fn what_grub_gives_is_read_tag_by_tag() {
        let mut kernel = words(&[0x20_0000, 0x20_0100]);
        kernel.extend_from_slice(b"vmlinuz\0");
        let memory = information(&[
            tag(COMMAND_LINE, b"a=b\0"),
            tag(0x99, b"unknown"),
            tag(MODULE, &kernel),
            map_tag(),
            tag(ACPI_OLD, b"RSD PTR .OEMOEM\0\x00\x10\0\0"),
            tag(
                ACPI_NEW,
                b"RSD PTR .OEMOEM\x02\x00\x10\0\0\x24\0\0\0\x00\x20\0\0\0\0\0\0",
            ),
            tag(ACPI_OLD, b"RSD PTR .OEMOEM\0\x00\x30\0\0"),
            tag(END, b""),
            tag(MODULE, b"past the end"),
        ]);
        let info = read(&memory, 0x1000).unwrap();
        assert_eq!(info.command_line, "a=b");
        assert_eq!(info.modules.len(), 1);
        assert_eq!(info.modules[0].name, "vmlinuz");
        assert_eq!(info.modules[0].bytes, 0x100);
        assert_eq!(info.memory.regions().count(), 2);
        let newest = AcpiRoot::Table {
            revision: 2,
            at: MachineAddr::new(0x2000),
        };
        assert_eq!(info.acpi, Some(newest));
    }

    #[test]
    fn a_tag_of_size_0_does_not_stop_the_walk() {
        let memory = information(&[words(&[0x99, 0]), map_tag(), tag(END, b"")]);
        assert!(read(&memory, 0x1000).is_ok());
    }

    #[test]
    fn information_that_is_cut_off_is_an_error() {
        let mut memory = FakeMemory::default();
        memory.words(0x1000, &[0x100, 0, COMMAND_LINE, 0x20]);
        assert_eq!(
            read(&memory, 0x1000).err(),
            Some(BootInfoError::Unreadable(0x1010))
        );
        let memory = information(&[tag(END, b"")]);
        assert_eq!(read(&memory, 0x1000).err(), Some(BootInfoError::NoMemoryMap));
    }
}
