//! The privileged instruction that the SVM backend needs outside of the world switch.

use core::arch::asm;

/// Stores FS, GS, TR, LDTR and the system-call MSRs in the control block at machine address `block`.
///
/// # Safety
/// EFER.SVME is set, and the page at `block` is a control block that nobody else uses.
pub(super) unsafe fn vmsave(block: u64) {
    // SAFETY: the caller's contract; the instruction writes to that page alone.
    unsafe { asm!("vmsave rax", in("rax") block, options(nostack, preserves_flags)) };
}
