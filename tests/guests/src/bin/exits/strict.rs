//! What a processor checks, or has, and QEMU's does not: control registers that cannot be so, addresses that are none,
//! alignment, XCR0.
//!
//! Said where the command line has `strict=yes` only.

use crate::code;
use crate::trial::{DATA, Walk};
use crate::{control, events};

/// Addresses that are none, and bits that are reserved.
const REFUSED: [(u32, &str, u64); 7] = [
    (0x175, "SYSENTER_ESP, non-canonical", 0x0008_0000_0000_0000),
    (0x176, "SYSENTER_EIP, non-canonical", 0x8000_0000_0000_0000),
    (0xc000_0082, "LSTAR, non-canonical", 0x8000_0000_0000),
    (0xc000_0083, "CSTAR, non-canonical", 0xffff_0000_0000_0000),
    (0xc000_0100, "FS_BASE, non-canonical", 0x1234_5678_9abc_def0),
    (0xc000_0101, "GS_BASE, non-canonical", 0x8000_0000_0000),
    (
        0xc000_0102,
        "KERNEL_GS_BASE, non-canonical",
        0xffff_7fff_ffff_ffff,
    ),
];

/// Says what it does.
pub fn all(walk: &mut Walk<'_>) {
    if walk.word("strict").is_none() {
        return;
    }
    for (msr, name, value) in REFUSED {
        walk.with(|registers| {
            registers.rcx = u64::from(msr);
            registers.rax = value & 0xffff_ffff;
            registers.rdx = value >> 32;
        })
        .steps(name, code!("wrmsr"));
    }
    let flips = [
        ("cr0, NW alone", 1 << 29),
        ("cr0, PG", 1 << 31),
        ("cr0, PE", 1),
        ("cr0, PE and PG", 1 << 31 | 1),
        ("cr0, reserved bits below 32", 0x1ffa_ffc0),
        ("cr0, a bit above 32", 1 << 32),
        ("cr0, the last bit", 1 << 63),
    ];
    for (name, bits) in flips {
        walk.with(|registers| registers.rbx = bits).steps(
            name,
            code!(
                "mov rcx, cr0",
                "mov rax, rcx",
                "xor rax, rbx",
                "mov cr0, rax",
                "mov rax, cr0",
                "mov cr0, rcx",
                "xor ecx, ecx"
            ),
        );
    }
    walk.alone(
        "cr3 with a reserved bit",
        code!("mov rax, cr3", "bts rax, 60", "mov cr3, rax"),
    );
    walk.steps("cr8 of 16", code!("mov eax, 16", "mov cr8, rax"));
    walk.alone(
        "cr8 with high bits",
        code!("xor eax, eax", "bts rax, 40", "mov cr8, rax"),
    );
    walk.alone(
        "general detect",
        code!(
            "mov eax, 0x2400",
            "mov dr7, rax",
            "mov rbx, dr0",
            "mov rcx, dr7",
            "mov eax, 0x400",
            "mov dr7, rax"
        ),
    );
    events::held_back_by_cr8(walk);
    events::nested_nmis(walk);
    walk.steps("pause", code!("pause"));
    walk.everywhere("icebp", code!(".byte 0xf1"));
    walk.with(|registers| registers.rbx = DATA + 1).everywhere(
        "alignment",
        code!("pushfq", "or qword ptr [rsp], 0x40000", "popfq", "mov eax, [rbx]"),
    );
    walk.alone("AM", code!("mov rax, cr0", "or eax, 0x40000", "mov cr0, rax"));
    walk.with(|registers| registers.rbx = DATA + 1).everywhere(
        "alignment with AM",
        code!("pushfq", "or qword ptr [rsp], 0x40000", "popfq", "mov eax, [rbx]"),
    );
    walk.alone(
        "AM gone",
        code!("mov rax, cr0", "and eax, 0xfffbffff", "mov cr0, rax"),
    );
    walk.everywhere(
        "push to a non-canonical address",
        code!("xor eax, eax", "bts rax, 62", "mov rsp, rax", "push rax"),
    );
    control::xcr0(walk);
}
