//! What a loader told us, copied out of its memory: the same for every boot protocol.
//!
//! Invariant: nothing here refers to the loader's own structures, which lie in memory that may be handed
//! out. Module *contents* stay where the loader put them; [`BootInfo::memory`] keeps them reserved.

use core::fmt;

use heapless::{String, Vec};
use xenvisor_core::number::MachineAddr;

use super::memory_map::MemoryMap;

/// Most modules a loader may give.
pub const MAX_MODULES: usize = 32;
/// Longest module name, in bytes.
pub const MAX_NAME: usize = 64;
/// Longest host command line, in bytes.
pub const MAX_COMMAND_LINE: usize = 2048;

/// How we were started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Xen's PVH boot ABI: QEMU's `-kernel`.
    Pvh,
    /// Multiboot 1: GRUB's `multiboot`.
    Multiboot1,
    /// Multiboot 2: GRUB's `multiboot2`.
    Multiboot2,
}

impl Protocol {
    /// Its name in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pvh => "PVH",
            Self::Multiboot1 => "multiboot 1",
            Self::Multiboot2 => "multiboot 2",
        }
    }
}

/// A file the loader put in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedModule {
    /// The first word of its string; `bundle` where PVH gives none.
    pub name: String<MAX_NAME>,
    /// Its first byte.
    pub start: MachineAddr,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Everything a boot protocol tells.
#[derive(Debug)]
pub struct BootInfo {
    /// Which protocol told it.
    pub protocol: Protocol,
    /// The host's command line; empty where there is none.
    pub command_line: String<MAX_COMMAND_LINE>,
    /// What each piece of memory is.
    pub memory: MemoryMap,
    /// The modules, in the loader's order. A bundle is not unpacked yet.
    pub modules: Vec<LoadedModule, MAX_MODULES>,
    /// Where ACPI starts, if the protocol says. Else the BIOS area has to be searched.
    pub acpi: Option<AcpiRoot>,
}

/// Where ACPI's tables start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcpiRoot {
    /// The root pointer, in firmware's memory.
    Pointer(MachineAddr),
    /// The table it points to: the RSDT for revision 0, the XSDT from 2 on.
    Table {
        /// Revision of the root pointer.
        revision: u8,
        /// The table's first byte.
        at: MachineAddr,
    },
}

/// Why a loader's information is of no use. Addresses are machine addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootInfoError {
    /// Neither PVH's nor multiboot's magic number, but this.
    UnknownProtocol(u32),
    /// A structure that should begin or go on here cannot be read.
    Unreadable(u64),
    /// The structure here does not carry PVH's magic number.
    NoPvhMagic(u64),
    /// The loader gave no memory map.
    NoMemoryMap,
    /// The memory map has more regions than we keep.
    MemoryMapTooLong,
    /// There are more modules than [`MAX_MODULES`].
    TooManyModules,
    /// The command line is longer than [`MAX_COMMAND_LINE`].
    CommandLineTooLong,
    /// Module `0` has a name longer than [`MAX_NAME`].
    ModuleNameTooLong(usize),
    /// The text here is not UTF-8.
    NotText(u64),
    /// A module ends before it starts, or past the end of addresses; it starts here.
    ModuleOutOfRange(u64),
}

impl fmt::Display for BootInfoError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownProtocol(magic) => write!(out, "started by no protocol we know (magic {magic:#x})"),
            Self::Unreadable(at) => write!(out, "the loader's structure at {at:#x} cannot be read"),
            Self::NoPvhMagic(at) => write!(out, "no hvm_start_info at {at:#x}"),
            Self::NoMemoryMap => out.write_str("the loader gave no memory map"),
            Self::MemoryMapTooLong => out.write_str("the memory map has too many regions"),
            Self::TooManyModules => write!(out, "more than {MAX_MODULES} modules"),
            Self::CommandLineTooLong => {
                write!(out, "the command line is longer than {MAX_COMMAND_LINE} bytes")
            }
            Self::ModuleNameTooLong(which) => {
                write!(out, "the name of module {which} is longer than {MAX_NAME} bytes")
            }
            Self::NotText(at) => write!(out, "the text at {at:#x} is not UTF-8"),
            Self::ModuleOutOfRange(at) => write!(out, "the module at {at:#x} ends outside of memory"),
        }
    }
}
