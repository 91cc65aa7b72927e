//! CPUID: what the processor says of itself. Each line begins with `cpuid`: whoever compares knows which bits may differ.

use crate::code;
use crate::trial::Walk;
use xenvisor_guests::processor::cpuid;

/// Leaves, with their subleaves.
const LEAVES: [(u32, u32); 26] = [
    (0, 0),
    (1, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (0xa, 0),
    (0xb, 0),
    (0xf, 0),
    (0x10, 0),
    (0x12, 0),
    (0x14, 0),
    (0x0fff_ffff, 0),
    (0x4000_0000, 0),
    (0x4000_0001, 0),
    (0x4000_0002, 0),
    (0x4000_0003, 0),
    (0x4000_0004, 0),
    (0x4000_0005, 0),
    (0x4000_0006, 0),
    (0x4000_0100, 0),
    (0x8000_0000, 0),
    (0x8000_0001, 0),
    (0x8000_0007, 0),
    (0x8000_000a, 0),
    (0x8fff_ffff, 0),
    (0xffff_ffff, 7),
];

/// Says what CPUID says.
pub fn all(walk: &mut Walk<'_>) {
    for (leaf, subleaf) in LEAVES {
        let [a, b, c, d] = cpuid(leaf, subleaf);
        walk.say(format_args!(
            "cpuid {leaf:#x}/{subleaf}: {a:#x} {b:#x} {c:#x} {d:#x}"
        ));
    }
    // A leaf that is the same everywhere, for what is around it.
    walk.with(|registers| registers.rax = 0xdead_beef_4000_0001)
        .everywhere("cpuid of a Xen leaf", code!("cpuid"));
    walk.with(|registers| registers.rax = 0x4000_0001).everywhere(
        "cpuid with prefixes",
        code!(".byte 0x66, 0xf3, 0x2e, 0x48, 0x0f, 0xa2"),
    );
    walk.silently(code!("mov ecx, 0x140", "mov eax, 1", "xor edx, edx", "wrmsr"));
    walk.with(|registers| registers.rax = 0x4000_0001)
        .everywhere("cpuid that faults", code!("cpuid"));
    walk.silently(code!("mov ecx, 0x140", "xor eax, eax", "xor edx, edx", "wrmsr"));
}
