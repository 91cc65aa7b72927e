//! The privileged instructions that move what a guest leaves in a processor, each as one small function.
//!
//! They exist on the bare machine only, which runs at privilege level 0; what else they ask for is in each contract.

use core::arch::asm;

use x86::msr::{IA32_CSTAR, IA32_FMASK, IA32_KERNEL_GSBASE, IA32_LSTAR, IA32_STAR, rdmsr, wrmsr};

use super::extended_state::{Area, Kept};

/// Stores all extended state that XCR0 enables.
///
/// # Safety
/// CR4.OSXSAVE is set, CR0.TS and CR0.EM are clear, the area was made for all components in XCR0.
pub(super) unsafe fn xsave(area: &mut Area) {
    // SAFETY: the caller's contract; an area has room for the components it was made for, and is aligned to 64 bytes.
    unsafe {
        asm!("xsave64 [{}]", in(reg) area.pointer_mut(), in("eax") u32::MAX, in("edx") u32::MAX, options(nostack));
    }
}

/// Loads all extended state that XCR0 enables.
///
/// # Safety
/// As [`xsave`]; the area holds what [`xsave`] stored or an initial state.
pub(super) unsafe fn xrstor(area: &Area) {
    // SAFETY: the caller's contract. The vector registers are never the host's: it is compiled without them.
    unsafe {
        asm!("xrstor64 [{}]", in(reg) area.pointer(), in("eax") u32::MAX, in("edx") u32::MAX, options(nostack, readonly));
    }
}

/// Stores x87 and SSE state.
///
/// # Safety
/// CR4.OSFXSR is set, CR0.TS and CR0.EM are clear.
pub(super) unsafe fn fxsave(area: &mut Area) {
    // SAFETY: the caller's contract; every area has room for this state, and is aligned to 64 bytes.
    unsafe { asm!("fxsave64 [{}]", in(reg) area.pointer_mut(), options(nostack)) };
}

/// Loads x87 and SSE state.
///
/// # Safety
/// As [`fxsave`]; the area holds what [`fxsave`] stored or an initial state.
pub(super) unsafe fn fxrstor(area: &Area) {
    // SAFETY: the caller's contract. The vector registers are never the host's: it is compiled without them.
    unsafe { asm!("fxrstor64 [{}]", in(reg) area.pointer(), options(nostack, readonly)) };
}

/// Overwrites the x87 error pointers. AMD's older processors leave those of the last owner in place when the new
/// owner's state has no error pending, which would show it addresses of another guest (CVE-2006-1056).
///
/// # Safety
/// CR0.TS and CR0.EM are clear, and the x87 state is about to be loaded.
pub(super) unsafe fn forget_x87_pointers() {
    let zero = 0_u32;
    // SAFETY: the caller's contract. Clearing pending errors first keeps the load from raising one; the stack slot
    // freed makes room for it. All of it is overwritten next.
    unsafe {
        asm!("fnclex", "emms", "fild dword ptr [{}]", in(reg) &raw const zero, options(nostack, readonly));
    }
}

/// Reads DR0 to DR3.
///
/// # Safety
/// The caller runs at privilege level 0 with DR7.GD clear.
pub(super) unsafe fn read_breakpoints() -> [u64; 4] {
    let (a, b, c, d): (u64, u64, u64, u64);
    // SAFETY: the caller's contract.
    unsafe {
        asm!(
            "mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3",
            out(reg) a, out(reg) b, out(reg) c, out(reg) d,
            options(nomem, nostack, preserves_flags)
        );
    }
    [a, b, c, d]
}

/// Writes DR0 to DR3.
///
/// # Safety
/// As [`read_breakpoints`], and the host's DR7 enables none of them.
pub(super) unsafe fn write_breakpoints([a, b, c, d]: [u64; 4]) {
    // SAFETY: the caller's contract.
    unsafe {
        asm!(
            "mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}",
            in(reg) a, in(reg) b, in(reg) c, in(reg) d,
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// Reads a register that a guest left in the processor.
///
/// # Safety
/// The caller runs at privilege level 0 with DR7.GD clear.
pub(super) unsafe fn read_kept(register: Kept) -> u64 {
    let value: u64;
    // SAFETY: the caller's contract; the MSRs exist on every processor with long mode.
    unsafe {
        match register {
            Kept::Cr2 => asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)),
            Kept::Dr6 => asm!("mov {}, dr6", out(reg) value, options(nomem, nostack, preserves_flags)),
            Kept::Star => return rdmsr(IA32_STAR),
            Kept::LongStar => return rdmsr(IA32_LSTAR),
            Kept::CompatStar => return rdmsr(IA32_CSTAR),
            Kept::SyscallMask => return rdmsr(IA32_FMASK),
            Kept::KernelGsBase => return rdmsr(IA32_KERNEL_GSBASE),
        }
    }
    value
}

/// Writes a register that a guest leaves in the processor.
///
/// # Safety
/// As [`read_kept`]; the host uses none of them, and the value is one that the processor takes.
pub(super) unsafe fn write_kept(register: Kept, value: u64) {
    // SAFETY: the caller's contract.
    unsafe {
        match register {
            Kept::Cr2 => asm!("mov cr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            Kept::Dr6 => asm!("mov dr6, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            Kept::Star => wrmsr(IA32_STAR, value),
            Kept::LongStar => wrmsr(IA32_LSTAR, value),
            Kept::CompatStar => wrmsr(IA32_CSTAR, value),
            Kept::SyscallMask => wrmsr(IA32_FMASK, value),
            Kept::KernelGsBase => wrmsr(IA32_KERNEL_GSBASE, value),
        }
    }
}

/// Raises a machine check in the host: an intercepted one was never delivered.
///
/// # Safety
/// The host's gates are loaded.
pub(crate) unsafe fn machine_check() {
    // SAFETY: the caller's contract. The gate of vector 18 leads to the host's handler, as for a real one.
    unsafe { asm!("int 18") };
}
