//! The privileged instructions that the VMX backend needs outside of the world switch, where the `x86` crate has none
//! that will do.

use core::arch::asm;

/// What is forgotten by INVEPT and INVVPID.
#[repr(C, align(16))]
struct Descriptor {
    what: u64,
    reserved: u64,
}

/// INVEPT types (SDM vol. 3 §31.3, INVEPT).
const SINGLE_CONTEXT: u64 = 1;
const ALL_CONTEXTS: u64 = 2;

/// Reads a field of the current control structure; 0 for one that the processor does not have.
///
/// One piece of assembly: what the instruction says of its success is in flags that anything in between may change.
///
/// # Safety
/// VMX is on, and a control structure is current.
pub(super) unsafe fn vmread(field: u32) -> u64 {
    let value: u64;
    let failed: u8;
    // SAFETY: the caller's contract; the instruction reads a field.
    unsafe {
        asm!(
            "vmread {value}, {field}",
            "setna {failed}",
            value = out(reg) value,
            failed = out(reg_byte) failed,
            field = in(reg) u64::from(field),
            options(nomem, nostack)
        );
    }
    if failed == 0 { value } else { 0 }
}

/// Writes a field of the current control structure. One that the processor does not have is one whose control is off.
///
/// # Safety
/// As [`vmread`]; the field's value has an effect at the next entry, which checks it.
pub(super) unsafe fn vmwrite(field: u32, value: u64) {
    // SAFETY: the caller's contract.
    unsafe { asm!("vmwrite {}, {}", in(reg) u64::from(field), in(reg) value, options(nomem, nostack)) };
}

/// Forgets what was translated through one second stage, by its pointer; or through all of them.
///
/// # Safety
/// VMX is on, and the processor has this type of INVEPT.
pub(super) unsafe fn invept(pointer: Option<u64>) {
    let kind = if pointer.is_some() {
        SINGLE_CONTEXT
    } else {
        ALL_CONTEXTS
    };
    let descriptor = Descriptor {
        what: pointer.unwrap_or(0),
        reserved: 0,
    };
    // SAFETY: the caller's contract; the instruction only forgets.
    unsafe {
        asm!("invept {}, [{}]", in(reg) kind, in(reg) &raw const descriptor, options(nostack, readonly))
    };
}

/// Forgets what was translated under any tag but the host's 0.
///
/// # Safety
/// VMX is on, and the processor has INVVPID for all contexts.
pub(super) unsafe fn invvpid_all() {
    let descriptor = Descriptor { what: 0, reserved: 0 };
    // SAFETY: the caller's contract; the instruction only forgets.
    unsafe {
        asm!("invvpid {}, [{}]", in(reg) ALL_CONTEXTS, in(reg) &raw const descriptor, options(nostack, readonly))
    };
}

/// Takes a non-maskable interrupt of the machine that an exit has taken from it: the host's handler runs.
///
/// # Safety
/// The host's gates are loaded.
pub(super) unsafe fn non_maskable_interrupt() {
    // SAFETY: the caller's contract. The gate of vector 2 leads to the host's handler, as for a real one; its IRET ends
    // the processor's blocking of further ones.
    unsafe { asm!("int 2") };
}
