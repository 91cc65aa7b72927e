//! The direct map: all RAM, at machine address plus a constant.
//!
//! It is never executable, and the image's own pages are left out of it, so that nothing of the image can
//! be written through it.

use xenvisor_core::number::MachineAddr;

use crate::boot::memory_map::MAX_ADDRESS;

/// Where machine address 0 appears: the first address of the upper half.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;

/// Where `at` appears. Whether anything is mapped there is for the caller to know.
#[must_use]
pub(crate) fn pointer(at: MachineAddr) -> *mut u8 {
    let offset = at.raw() % MAX_ADDRESS;
    core::ptr::with_exposed_provenance_mut(word(DIRECT_MAP + offset))
}

/// A 64-bit number as this machine's own word.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a word of this machine has 64 bits"
)]
pub(crate) const fn word(number: u64) -> usize {
    number as usize
}

/// What lies behind a pointer into the direct map.
pub(crate) fn machine_address(pointer: *const u8) -> Option<MachineAddr> {
    let offset = (pointer.addr() as u64).checked_sub(DIRECT_MAP)?;
    (offset < MAX_ADDRESS).then(|| MachineAddr::new(offset))
}
