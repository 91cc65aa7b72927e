//! Why a guest was not built: the module or the part of its description, and what is wrong with it.

use alloc::vec::Vec;
use core::fmt;

use super::kernel::KernelError;
use super::layout::LayoutError;
use super::start_info::CommandLineError;
use super::{Extent, RamFault};
use crate::memory::room;

/// Why a guest was not built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BuildError<'a> {
    /// The memory it should have.
    Memory(LayoutError),
    /// Its number of vcpus.
    Vcpus {
        /// What was asked for.
        found: u32,
    },
    /// Its command line.
    CommandLine(CommandLineError),
    /// Its kernel.
    Kernel {
        /// The module's name.
        module: &'a str,
        /// What is wrong with it.
        error: KernelError,
    },
    /// There is no room for its initrd beside the kernel.
    InitrdRoom {
        /// The module's name.
        module: &'a str,
        /// How many bytes it has.
        length: u64,
    },
    /// There is no room for what it is told at its start.
    StartInfoRoom {
        /// How many bytes that is.
        length: u64,
    },
    /// The kernel looks for the ACPI root pointer where a segment of it lies.
    RootPointerRoom {
        /// Where that would be.
        at: Extent,
    },
    /// The hypervisor has not the memory for the work.
    OutOfMemory(OutOfMemory),
    /// The guest's memory was not where its layout promised.
    Ram(RamFault),
}

/// The hypervisor has not so many bytes in one piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory {
    /// How many were asked for.
    pub bytes: u64,
}

impl OutOfMemory {
    /// An empty vector with room for `bytes` bytes.
    pub(super) fn or_room(bytes: usize) -> Result<Vec<u8>, Self> {
        room::vec(bytes).map_err(|_| Self { bytes: bytes as u64 })
    }
}

impl fmt::Display for BuildError<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => error.fmt(out),
            Self::Vcpus { found } => {
                write!(
                    out,
                    "it has {found} vcpus; expected 1 to {}",
                    super::acpi::VCPUS_MAX
                )
            }
            Self::CommandLine(error) => error.fmt(out),
            Self::Kernel { module, error } => write!(out, "kernel module \"{module}\": {error}"),
            Self::InitrdRoom { module, length } => write!(
                out,
                "initrd module \"{module}\" has {length} bytes, for which there is no room beside the kernel; \
                 give the guest more memory"
            ),
            Self::StartInfoRoom { length } => {
                write!(
                    out,
                    "no room for {length} bytes of start info below 1 GiB; give the guest more memory"
                )
            }
            Self::RootPointerRoom { at } => write!(
                out,
                "its kernel wants the ACPI root pointer below 1 MiB, at {at}, and lies there itself"
            ),
            Self::OutOfMemory(error) => error.fmt(out),
            Self::Ram(fault) => fault.fmt(out),
        }
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "the hypervisor has no {} bytes of memory in one piece",
            self.bytes
        )
    }
}

impl core::error::Error for BuildError<'_> {}
impl core::error::Error for OutOfMemory {}

impl From<OutOfMemory> for BuildError<'_> {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

impl From<RamFault> for BuildError<'_> {
    fn from(fault: RamFault) -> Self {
        Self::Ram(fault)
    }
}

impl From<LayoutError> for BuildError<'_> {
    fn from(error: LayoutError) -> Self {
        Self::Memory(error)
    }
}

impl From<CommandLineError> for BuildError<'_> {
    fn from(error: CommandLineError) -> Self {
        Self::CommandLine(error)
    }
}
