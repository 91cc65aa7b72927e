//! `hvm_start_info`: the page that tells a PVH guest what it was given.
//!
//! The structure (version 1), its list of modules, its memory map and the command line make one block, laid out
//! by [`StartInfo::bytes`] for the address it will have. Source: the public header `arch-x86/hvm/start_info.h`.

use alloc::vec::Vec;
use core::fmt;

use xenvisor_abi::arch_x86::hvm::start_info as abi;
use zerocopy::IntoBytes;

use super::layout::{MAP_ENTRIES_MAX, MapEntry};
use super::{Extent, OutOfMemory};
use crate::number::GuestAddr;

/// The version that has a memory map.
const VERSION: u32 = 1;

const HEADER_BYTES: u64 = size_of::<abi::StartInfo>() as u64;
const MODULE_BYTES: u64 = size_of::<abi::ModlistEntry>() as u64;
const MAP_ENTRY_BYTES: u64 = size_of::<abi::MemmapTableEntry>() as u64;

/// The longest command line, in bytes without the terminator: what Linux would take, twice.
pub const COMMAND_LINE_MAX: usize = 4095;

/// The most bytes a block may have.
pub const BLOCK_BYTES_MAX: u64 =
    HEADER_BYTES + MODULE_BYTES + MAP_ENTRIES_MAX as u64 * MAP_ENTRY_BYTES + COMMAND_LINE_MAX as u64 + 1;

/// What a guest is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct StartInfo<'a> {
    /// Where its initrd lies, if it has one: the first and only module.
    pub initrd: Option<Extent>,
    /// Its command line.
    pub command_line: &'a CommandLine<'a>,
    /// Its memory map.
    pub map: &'a [MapEntry],
    /// Where the ACPI root pointer lies.
    pub rsdp: GuestAddr,
}

impl StartInfo<'_> {
    /// How many bytes the block has.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.command_line_offset()
            .saturating_add(self.command_line.0.len() as u64)
            .saturating_add(1)
    }

    fn map_offset(&self) -> u64 {
        HEADER_BYTES + if self.initrd.is_some() { MODULE_BYTES } else { 0 }
    }

    fn command_line_offset(&self) -> u64 {
        self.map_offset()
            .saturating_add(MAP_ENTRY_BYTES.saturating_mul(self.map.len() as u64))
    }

    /// The block, for a guest that finds it at `at`.
    ///
    /// # Errors
    /// When there is no memory to write it in.
    pub fn bytes(&self, at: GuestAddr) -> Result<Vec<u8>, OutOfMemory> {
        let length = self.length();
        let room = usize::try_from(length).map_err(|_| OutOfMemory { bytes: length })?;
        let mut block = OutOfMemory::or_room(room)?;
        let address = |offset: u64| at.raw().saturating_add(offset);
        let header = abi::StartInfo {
            magic: abi::XEN_HVM_START_MAGIC_VALUE,
            version: VERSION,
            flags: 0, // Neither privileged nor the initial domain.
            nr_modules: self.initrd.map_or(0, |_| 1),
            modlist_paddr: self.initrd.map_or(0, |_| address(HEADER_BYTES)),
            cmdline_paddr: address(self.command_line_offset()),
            rsdp_paddr: self.rsdp.raw(),
            memmap_paddr: address(self.map_offset()),
            memmap_entries: u32::try_from(self.map.len()).unwrap_or(0),
            reserved: 0,
        };
        block.extend_from_slice(header.as_bytes());
        if let Some(initrd) = self.initrd {
            let module = abi::ModlistEntry {
                paddr: initrd.start().raw(),
                size: initrd.length(),
                cmdline_paddr: 0,
                reserved: 0,
            };
            block.extend_from_slice(module.as_bytes());
        }
        for entry in self.map {
            let entry = abi::MemmapTableEntry {
                addr: entry.extent.start().raw(),
                size: entry.extent.length(),
                kind: entry.kind.number(),
                reserved: 0,
            };
            block.extend_from_slice(entry.as_bytes());
        }
        block.extend_from_slice(self.command_line.0);
        block.push(0);
        Ok(block)
    }
}

/// A command line that can be handed over: no byte of it is zero, and it is not too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandLine<'a>(&'a [u8]);

impl<'a> CommandLine<'a> {
    /// Checks a command line.
    ///
    /// # Errors
    /// When it is too long, or has a zero byte in it.
    pub fn new(line: &'a str) -> Result<Self, CommandLineError> {
        if line.len() > COMMAND_LINE_MAX {
            return Err(CommandLineError::TooLong { length: line.len() });
        }
        match line.bytes().position(|byte| byte == 0) {
            Some(at) => Err(CommandLineError::Zero { at }),
            None => Ok(Self(line.as_bytes())),
        }
    }
}

/// Why a command line cannot be handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandLineError {
    /// It has more than [`COMMAND_LINE_MAX`] bytes.
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// It has a zero byte, where it would end for the guest.
    Zero {
        /// The offset of the byte.
        at: usize,
    },
}

impl fmt::Display for CommandLineError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length } => {
                write!(
                    out,
                    "its command line has {length} bytes; at most {COMMAND_LINE_MAX} can be handed over"
                )
            }
            Self::Zero { at } => write!(out, "its command line has a zero byte, at offset {at}"),
        }
    }
}

impl core::error::Error for CommandLineError {}
