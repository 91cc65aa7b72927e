//! RDMSR and WRMSR: registers that are passed through, held, made up, and not there.

use crate::code;
use crate::trial::Walk;

/// Registers that read the same on every machine.
const READ: [(u32, &str); 29] = [
    (0x1b, "APIC_BASE"),
    (0xfe, "MTRRCAP"),
    (0x174, "SYSENTER_CS"),
    (0x175, "SYSENTER_ESP"),
    (0x176, "SYSENTER_EIP"),
    (0x17a, "MCG_STATUS"),
    (0x1d9, "DEBUGCTL"),
    (0x250, "MTRR_FIX64K"),
    (0x277, "PAT"),
    (0x2ff, "MTRR_DEF_TYPE"),
    (0x480, "VMX_BASIC"),
    (0x485, "VMX_MISC"),
    (0x6e0, "TSC_DEADLINE"),
    (0x802, "x2APIC id"),
    (0x3fff_ffff, "the last before Xen's"),
    (0x4000_0000, "Xen's page"),
    (0x4000_0001, "behind it"),
    (0xc000_0080, "EFER"),
    (0xc000_0081, "STAR"),
    (0xc000_0082, "LSTAR"),
    (0xc000_0084, "SFMASK"),
    (0xc000_0100, "FS_BASE"),
    (0xc000_0101, "GS_BASE"),
    (0xc000_0102, "KERNEL_GS_BASE"),
    (0xc000_1fff, "the last of the second range"),
    (0xc001_0114, "VM_CR"),
    (0xc001_0117, "VM_HSAVE_PA"),
    (0xc001_2000, "behind the third range"),
    (0xffff_ffff, "the last of all"),
];

/// Registers and what is written to them; read back afterwards.
const WRITTEN: [(u32, &str, u64); 31] = [
    (0x1b, "APIC_BASE", 0xfee0_0900),
    (0x1b, "APIC_BASE with a reserved bit", 0xfee0_0901),
    (0x1b, "APIC_BASE of x2APIC without the APIC", 0xfee0_0400),
    (0x174, "SYSENTER_CS", 8),
    (0x175, "SYSENTER_ESP", 0xffff_8000_0000_1234),
    (0x176, "SYSENTER_EIP", 0x1_2345_6789),
    (0x250, "MTRR_FIX64K", 0x0606_0606_0606_0606),
    (
        0x250,
        "MTRR_FIX64K with a type that there is not",
        0x0206_0606_0606_0606,
    ),
    (0x277, "PAT", 0x0007_0406_0007_0406),
    (0x277, "PAT with a type that there is not", 0x0207_0406_0007_0406),
    (0x2ff, "MTRR_DEF_TYPE", 0xc06),
    (0x480, "VMX_BASIC", 0),
    (0x1d9, "DEBUGCTL", 0),
    (0x4000_0001, "behind Xen's page", 0),
    (0xc000_0080, "EFER with a reserved bit", 1 << 20 | 0x500),
    (0xc000_0080, "EFER without LME", 0x400),
    (0xc000_0080, "EFER with SVME", 0x1d00),
    (0xc000_0080, "EFER with NXE and SCE", 0x901),
    (0xc000_0080, "EFER as it was", 0x500),
    (0xc000_0081, "STAR", 0x0013_0008_1234_5678),
    (0xc000_0082, "LSTAR", 0xffff_ffff_8000_0000),
    (0xc000_0084, "SFMASK", 0x4_7700),
    (0xc000_0100, "FS_BASE", 0x7fff_ffff_f000),
    (0xc000_0101, "GS_BASE", 0xffff_8880_0000_0000),
    (0xc000_0102, "KERNEL_GS_BASE", 0x1000),
    (0x6e0, "TSC_DEADLINE", 0),
    (0x2fe, "beside MTRR_DEF_TYPE", 0),
    (0x80b, "x2APIC end of interrupt", 0),
    (0xc001_0117, "VM_HSAVE_PA", 0),
    (0xc000_0500, "nothing in the second range", 0),
    (0x1234, "nothing in the first range", 0),
];

/// Says what they do.
pub fn all(walk: &mut Walk<'_>) {
    // Not with garbage in the upper half of RCX, which QEMU 7.2 takes for a part of the number when it looks into the map
    // of what is intercepted.
    for (msr, name) in READ {
        walk.say(format_args!("{name}, {msr:#x}"));
        walk.with(|registers| registers.rcx = u64::from(msr))
            .steps("rdmsr", code!("rdmsr"));
    }
    walk.with(|registers| registers.rcx = 0xc000_0080)
        .outside("rdmsr", code!("rdmsr"));
    walk.with(|registers| registers.rcx = 0xc000_0102)
        .outside("rdmsr, passed through", code!("rdmsr"));
    for (msr, name, value) in WRITTEN {
        walk.say(format_args!("{name}: {value:#x} to {msr:#x}"));
        walk.with(|registers| {
            registers.rcx = u64::from(msr);
            registers.rax = 0xdead_beef_0000_0000 | value & 0xffff_ffff;
            registers.rdx = 0xdead_beef_0000_0000 | value >> 32;
        })
        .steps("wrmsr", code!("wrmsr"));
        walk.with(|registers| registers.rcx = u64::from(msr))
            .alone("then", code!("rdmsr"));
    }
    walk.with(|registers| registers.rcx = 0xc000_0102)
        .outside("wrmsr", code!("wrmsr"));
    walk.with(|registers| registers.rcx = 0x1234)
        .outside("wrmsr of nothing", code!("wrmsr"));
    time(walk);
    bases(walk);
}

/// The counter is what it was set to, or a little more; and what it was set by is kept.
fn time(walk: &mut Walk<'_>) {
    walk.alone(
        "tsc written",
        code!(
            "mov ecx, 0x10",
            "xor eax, eax",
            "xor edx, edx",
            "wrmsr",
            "rdtsc",
            "mov eax, 0",
            "xor ecx, ecx"
        ),
    );
    walk.alone(
        "tsc adjusted",
        code!(
            "mov ecx, 0x3b",
            "xor eax, eax",
            "mov edx, 0x1000",
            "wrmsr",
            "rdtsc",
            "mov ebx, edx",
            "shr ebx, 12",
            "xor edx, edx",
            "xor eax, eax",
            "wrmsr",
            "rdmsr",
            "mov edi, edx",
            "mov esi, eax",
            "xor eax, eax",
            "xor edx, edx",
            "xor ecx, ecx"
        ),
    );
}

/// The bases that are registers of their own too.
fn bases(walk: &mut Walk<'_>) {
    walk.alone(
        "swapgs",
        code!(
            "mov ecx, 0xc0000101",
            "mov eax, 0x111000",
            "xor edx, edx",
            "wrmsr",
            "mov ecx, 0xc0000102",
            "mov eax, 0x222000",
            "wrmsr",
            "swapgs",
            "rdmsr",
            "mov ebx, eax",
            "mov ecx, 0xc0000101",
            "rdmsr",
            "mov esi, eax",
            "xor eax, eax",
            "xor edx, edx",
            "wrmsr",
            "mov ecx, 0xc0000102",
            "wrmsr"
        ),
    );
    walk.alone(
        "fs base used",
        code!(
            "mov ecx, 0xc0000100",
            "mov eax, 0x1a00000",
            "xor edx, edx",
            "wrmsr",
            "mov dword ptr fs:[0x10], 0x5a5a",
            "mov ebx, [0x1a00010]",
            "xor eax, eax",
            "wrmsr",
            "xor ecx, ecx"
        ),
    );
}
