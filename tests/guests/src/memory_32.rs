//! The functions on memory that compiled code calls, where no C library brings them.
//!
//! String instructions do the work, so that no compiler sees a loop that it could turn into a call of the same function.

use core::arch::asm;

/// Copies between places that do not overlap.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's. ESI belongs to the compiler, so it is kept.
    unsafe {
        asm!("xchg esi, {from}", "rep movsb", "xchg esi, {from}", from = inout(reg) from => _,
            inout("edi") to => _, inout("ecx") count => _, options(nostack, preserves_flags));
    }
    to
}

/// Copies between places that may overlap.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: going up, no byte is written before it is read.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller's; going down, no byte is written before it is read.
    unsafe {
        asm!("xchg esi, {from}", "std", "rep movsb", "cld", "xchg esi, {from}",
            from = inout(reg) from.wrapping_add(count).wrapping_sub(1) => _,
            inout("edi") to.wrapping_add(count).wrapping_sub(1) => _, inout("ecx") count => _, options(nostack));
    }
    to
}

/// Fills with a byte.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's.
    unsafe {
        asm!("rep stosb", inout("edi") to => _, inout("ecx") count => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    to
}

/// Compares.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for place in 0..count {
        // SAFETY: the caller's.
        let (a, b) = unsafe { (one.add(place).read_volatile(), other.add(place).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// Compares; only whether there is a difference counts.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { memcmp(one, other, count) }
}

/// Counts the bytes before the zero.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller's.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
