//! The running processor, as far as it shows in a guest: its CPUID, without what does not work in one, and what the
//! backends of all vendors ask of it.

use x86::msr::rdmsr;

use crate::guest::cpuid::Leaf;

/// CPUID 0x8000_0008, and AMD's IBPB in its EBX.
const SIZES: u32 = 0x8000_0008;
const PREDICTION_BARRIER: u32 = 1 << 12;
/// CPUID 7, and Intel's IBRS and IBPB in its EDX.
const FEATURES: u32 = 7;
const SPECULATION_CONTROL: u32 = 1 << 26;
/// The MSR of the microcode's revision.
const REVISION: u32 = 0x8b;

/// What guests may be told of the running processor: its CPUID, without what does not work in a guest.
///
/// QEMU's emulated processor (7.2) computes the flags behind CMPXCHG16B from stale state. Outside of a virtual machine
/// the next IRET hides that; but an exit stores the garbage as the guest's RFLAGS, and VMRUN loads it, the direction,
/// trap and virtual-8086 flags included. So there it is not shown (leaf 1, ECX bit 13), and kernels do without.
pub(crate) fn host_cpuid(leaf: u32, subleaf: u32) -> Leaf {
    const CMPXCHG16B: u32 = 1 << 13;
    let mut answer = native_cpuid(leaf, subleaf);
    if leaf == 1 && is_emulated() {
        answer.ecx &= !CMPXCHG16B;
    }
    answer
}

/// Whether the processor is QEMU's emulation, which signs as "TCGTCGTCGTCG" where hypervisors do.
pub(crate) fn is_emulated() -> bool {
    let name = native_cpuid(0x4000_0000, 0);
    [name.ebx, name.ecx, name.edx] == [0x5447_4354, 0x4354_4743, 0x4743_5447]
}

fn native_cpuid(leaf: u32, subleaf: u32) -> Leaf {
    let result = raw_cpuid::cpuid!(leaf, subleaf);
    Leaf {
        eax: result.eax,
        ebx: result.ebx,
        ecx: result.ecx,
        edx: result.edx,
    }
}

/// The components of XCR0 that the processor has (CPUID leaf 0xd).
pub(crate) fn extended_components() -> u64 {
    let leaf = native_cpuid(0xd, 0);
    u64::from(leaf.edx) << 32 | u64::from(leaf.eax)
}

/// Whether there is a barrier that keeps one guest's branches from steering another's (MSR PRED_CMD).
pub(crate) fn has_prediction_barrier() -> bool {
    let has = |leaf| native_cpuid(leaf & 0x8000_0000, 0).eax >= leaf;
    (has(SIZES) && native_cpuid(SIZES, 0).ebx & PREDICTION_BARRIER != 0)
        || (has(FEATURES) && native_cpuid(FEATURES, 0).edx & SPECULATION_CONTROL != 0)
}

/// The revision of the processor's microcode: AMD's tell it in the whole MSR, Intel's in its upper half.
pub(crate) fn microcode() -> u64 {
    // SAFETY: AMD's and Intel's processors have this MSR.
    unsafe { rdmsr(REVISION) }
}
