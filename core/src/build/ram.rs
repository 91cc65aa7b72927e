//! What the builder needs of a guest's memory: a place to put bytes.
//!
//! The builder never reads back what it wrote and never holds a reference to guest memory; whoever owns the
//! second stage implements this by translating and copying.

use core::fmt;

use crate::number::GuestAddr;

/// Where the builder puts the guest's first bytes.
pub trait GuestRam {
    /// Copies `bytes` to the guest's memory at `at`. The span may cross frames.
    ///
    /// # Errors
    /// [`RamFault`] where some byte of it has no memory behind it; the bytes before may have been written.
    fn write(&mut self, at: GuestAddr, bytes: &[u8]) -> Result<(), RamFault>;

    /// Makes `length` bytes at `at` read as zero. Memory which is known to be zero need not be touched.
    ///
    /// # Errors
    /// [`RamFault`], as for [`GuestRam::write`].
    fn zero(&mut self, at: GuestAddr, length: u64) -> Result<(), RamFault>;
}

/// The guest has no memory at an address which its layout promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RamFault {
    /// The first address which could not be reached.
    pub at: GuestAddr,
}

impl fmt::Display for RamFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the guest has no memory at {:#x}", self.at.raw())
    }
}
