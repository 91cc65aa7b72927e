//! `hvm_start_info`: the page that tells a PVH guest what it was given.
//!
//! The structure (version 1), its list of modules, its memory map and the command line make one block, laid out
//! by [`StartInfo::bytes`] for the address it will have. Source: the public header `arch-x86/hvm/start_info.h`.

use alloc::vec::Vec;
use core::fmt;

use super::layout::{MAP_ENTRIES_MAX, MapEntry};
use super::{Extent, OutOfMemory};
use crate::number::GuestAddr;

/// "xEn3" with the top bit of the E set.
const MAGIC: u32 = 0x336e_c578;
/// The version that has a memory map.
const VERSION: u32 = 1;

const HEADER_BYTES: u64 = 56;
const MODULE_BYTES: u64 = 32;
const MAP_ENTRY_BYTES: u64 = 24;

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
        let mut block = Block::new(length)?;
        let address = |offset: u64| at.raw().saturating_add(offset);
        block.u32(MAGIC);
        block.u32(VERSION);
        block.u32(0); // Flags: neither privileged nor the initial domain.
        block.u32(self.initrd.map_or(0, |_| 1));
        block.u64(self.initrd.map_or(0, |_| address(HEADER_BYTES)));
        block.u64(address(self.command_line_offset()));
        block.u64(self.rsdp.raw());
        block.u64(address(self.map_offset()));
        block.u32(u32::try_from(self.map.len()).unwrap_or(0));
        block.u32(0);
        if let Some(initrd) = self.initrd {
            block.u64(initrd.start().raw());
            block.u64(initrd.length());
            block.u64(0); // The module has no command line of its own.
            block.u64(0);
        }
        for entry in self.map {
            block.u64(entry.extent.start().raw());
            block.u64(entry.extent.length());
            block.u32(entry.kind.number());
            block.u32(0);
        }
        block.0.extend_from_slice(self.command_line.0);
        block.0.push(0);
        Ok(block.0)
    }
}

/// Bytes in little-endian order, in a vector with room for all of them.
struct Block(Vec<u8>);

impl Block {
    fn new(length: u64) -> Result<Self, OutOfMemory> {
        let mut bytes = Vec::new();
        usize::try_from(length)
            .ok()
            .and_then(|length| bytes.try_reserve_exact(length).ok())
            .ok_or(OutOfMemory { bytes: length })?;
        Ok(Self(bytes))
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
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
