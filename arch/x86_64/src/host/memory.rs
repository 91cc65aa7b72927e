//! The machine's memory for those above: only what was free when the host began, through the direct map.
//!
//! Nothing else can be reached through it, whatever address comes in: not the image, its heap, its page
//! tables, the modules, firmware or devices. Such reads give zeros and such writes vanish, piece by piece.
//! Guests write the same memory at any moment, so every access is volatile, atomic, or made by one
//! instruction the compiler cannot look into; nothing read here is ever assumed to stay.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xenvisor_core::machine::MachineMemory;
use xenvisor_core::number::MachineAddr;

use super::direct_map::{pointer, word};
use crate::boot::memory_map::Ranges;

/// See the file's header.
pub(crate) struct DirectMemory {
    /// Sorted, disjoint, mapped writable in the direct map, and used by nobody but those above.
    free: Ranges,
    /// The largest of them, where nearly everything is.
    largest: Range<u64>,
}

impl DirectMemory {
    /// Memory that consists of `free`: what [`super::address_space::AddressSpace::free_memory`] gave.
    pub(crate) fn new(free: Ranges) -> Self {
        let length = |range: &&Range<u64>| range.end - range.start;
        let largest = free.iter().max_by_key(length).cloned().unwrap_or_default();
        Self { free, largest }
    }

    /// How many of `bytes` bytes at `at` have the same answer to "is it ours?", and the answer.
    #[inline]
    fn piece(&self, at: u64, bytes: usize) -> (usize, bool) {
        if self.largest.contains(&at) {
            return (bytes.min(word(self.largest.end - at)), true);
        }
        self.piece_elsewhere(at, bytes)
    }

    #[cold]
    fn piece_elsewhere(&self, at: u64, bytes: usize) -> (usize, bool) {
        for range in &self.free {
            if range.contains(&at) {
                return (bytes.min(word(range.end - at)), true);
            }
            if at < range.start {
                return (bytes.min(word(range.start - at)), false);
            }
        }
        (bytes, false)
    }

    /// The 64-bit or 32-bit word at `at`, if it is aligned and ours.
    fn cell<T>(&self, at: MachineAddr) -> Option<*mut T> {
        let aligned = at.raw().is_multiple_of(size_of::<T>() as u64);
        let (bytes, ours) = self.piece(at.raw(), size_of::<T>());
        (aligned && ours && bytes == size_of::<T>()).then(|| pointer(at).cast())
    }

    fn atomic_64(&self, at: MachineAddr) -> Option<&AtomicU64> {
        // SAFETY: `cell` gives an aligned word of ours, mapped for ever; everybody who writes it meanwhile
        // (guests, other processors) is outside of Rust, and the atomic's operations are single instructions.
        self.cell(at).map(|cell| unsafe { AtomicU64::from_ptr(cell) })
    }

    fn atomic_32(&self, at: MachineAddr) -> Option<&AtomicU32> {
        // SAFETY: as in `atomic_64`.
        self.cell(at).map(|cell| unsafe { AtomicU32::from_ptr(cell) })
    }
}

impl MachineMemory for DirectMemory {
    fn read(&self, at: MachineAddr, into: &mut [u8]) {
        let mut at = at.raw();
        let mut rest = into;
        while !rest.is_empty() {
            let (bytes, ours) = self.piece(at, rest.len());
            let Some((now, later)) = rest.split_at_mut_checked(bytes) else {
                return;
            };
            if ours {
                let source = pointer(MachineAddr::new(at));
                // SAFETY: `piece` says that these bytes are ours, so they are mapped; `now` is a Rust slice,
                // which never lies in memory that was free (or is a large heap block, which those above
                // do not name here at the same time), so the two do not overlap.
                unsafe { copy(source, now.as_mut_ptr(), now.len()) };
            } else {
                now.fill(0);
            }
            at = at.saturating_add(bytes as u64);
            rest = later;
        }
    }

    fn write(&self, at: MachineAddr, from: &[u8]) {
        let mut at = at.raw();
        let mut rest = from;
        while !rest.is_empty() {
            let (bytes, ours) = self.piece(at, rest.len());
            let Some((now, later)) = rest.split_at_checked(bytes) else {
                return;
            };
            if ours {
                // SAFETY: as in `read`, the other way round.
                unsafe { copy(now.as_ptr(), pointer(MachineAddr::new(at)), now.len()) };
            }
            at = at.saturating_add(bytes as u64);
            rest = later;
        }
    }

    fn fetch_or(&self, at: MachineAddr, bits: u64) -> u64 {
        self.atomic_64(at)
            .map_or(0, |cell| cell.fetch_or(bits, Ordering::SeqCst))
    }

    fn fetch_and(&self, at: MachineAddr, bits: u64) -> u64 {
        self.atomic_64(at)
            .map_or(0, |cell| cell.fetch_and(bits, Ordering::SeqCst))
    }

    fn compare_exchange(&self, at: MachineAddr, old: u64, new: u64) -> Result<u64, u64> {
        match self.atomic_64(at) {
            Some(cell) => cell.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst),
            // Reads as zero, swallows the write.
            None if old == 0 => Ok(0),
            None => Err(0),
        }
    }

    fn compare_exchange_32(&self, at: MachineAddr, old: u32, new: u32) -> Result<u32, u32> {
        match self.atomic_32(at) {
            Some(cell) => cell.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst),
            None if old == 0 => Ok(0),
            None => Err(0),
        }
    }

    fn zero(&self, at: MachineAddr, bytes: u64) {
        let mut at = at.raw();
        let mut rest = bytes;
        while rest != 0 {
            let (bytes, ours) = self.piece(at, word(rest));
            if ours {
                // SAFETY: `piece` says that these bytes are ours, so they are mapped and nobody's Rust value.
                unsafe { fill_zero(pointer(MachineAddr::new(at)), bytes) };
            }
            at = at.saturating_add(bytes as u64);
            rest -= bytes as u64;
        }
    }

    fn copy(&self, from: MachineAddr, to: MachineAddr, bytes: u64) {
        let (mut from, mut to, mut rest) = (from.raw(), to.raw(), bytes);
        while rest != 0 {
            let (readable, from_ours) = self.piece(from, word(rest));
            let (bytes, to_ours) = self.piece(to, readable);
            let target = pointer(MachineAddr::new(to));
            if to_ours && from_ours {
                // SAFETY: `piece` says that both ends are ours, so they are mapped. Whether they overlap
                // only decides what is copied.
                unsafe { copy(pointer(MachineAddr::new(from)), target, bytes) };
            } else if to_ours {
                // SAFETY: as above; what is not ours reads as zeros.
                unsafe { fill_zero(target, bytes) };
            }
            from = from.saturating_add(bytes as u64);
            to = to.saturating_add(bytes as u64);
            rest -= bytes as u64;
        }
    }
}

/// Copies bytes that somebody else may be writing. A power of two up to 8 that is aligned at both ends goes
/// in one access.
///
/// # Safety
/// Both ends must be mapped for `bytes` bytes, the target writable, and no reference may cover the end that
/// is guest memory.
unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    macro_rules! one_access {
        ($word:ty) => {{
            let (from, to) = (from.cast::<$word>(), to.cast::<$word>());
            // Only the end in guest memory has to be one access; the other is ours alone, and x86 does
            // unaligned accesses within a cache line in one piece as well.
            // SAFETY: the caller vouches for the bytes; alignment does not matter to these two.
            let word = unsafe { read_one(from) };
            // SAFETY: as above.
            unsafe { write_one(to, word) };
        }};
    }
    match bytes {
        1 => one_access!(u8),
        2 => one_access!(u16),
        4 => one_access!(u32),
        8 => one_access!(u64),
        _ => {
            // SAFETY: the caller vouches for both ends. One instruction each for words and the rest, so
            // that the compiler assumes nothing about bytes that others write.
            unsafe {
                core::arch::asm!(
                    "rep movsq",
                    "mov rcx, {rest}",
                    "rep movsb",
                    rest = in(reg) bytes % 8,
                    inout("rcx") bytes / 8 => _,
                    inout("rsi") from => _,
                    inout("rdi") to => _,
                    options(nostack, preserves_flags)
                );
            }
        }
    }
}

/// One load of 1, 2, 4 or 8 bytes, at any alignment.
///
/// # Safety
/// The bytes must be mapped.
unsafe fn read_one<T: Copy>(from: *const T) -> T {
    if from.is_aligned() {
        // SAFETY: mapped (the caller) and aligned.
        unsafe { from.read_volatile() }
    } else {
        // SAFETY: mapped (the caller).
        unsafe { from.read_unaligned() }
    }
}

/// One store of 1, 2, 4 or 8 bytes, at any alignment.
///
/// # Safety
/// The bytes must be mapped and writable.
unsafe fn write_one<T: Copy>(to: *mut T, value: T) {
    if to.is_aligned() {
        // SAFETY: mapped, writable (the caller) and aligned.
        unsafe { to.write_volatile(value) }
    } else {
        // SAFETY: mapped and writable (the caller).
        unsafe { to.write_unaligned(value) }
    }
}

/// Writes zeros.
///
/// # Safety
/// The bytes must be mapped and writable, and no reference may cover them.
unsafe fn fill_zero(to: *mut u8, bytes: usize) {
    // SAFETY: the caller vouches for the target.
    unsafe {
        core::arch::asm!(
            "rep stosq",
            "mov rcx, {rest}",
            "rep stosb",
            rest = in(reg) bytes % 8,
            inout("rcx") bytes / 8 => _,
            inout("rdi") to => _,
            in("rax") 0_u64,
            options(nostack, preserves_flags)
        );
    }
}
