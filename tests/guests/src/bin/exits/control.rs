//! Control and debug registers, and XCR0.

use crate::code;
use crate::trial::{CODE, DATA, Walk};

/// Says what they do.
pub fn all(walk: &mut Walk<'_>) {
    cr0(walk);
    cr4(walk);
    others(walk);
    debug(walk);
    extended(walk);
}

fn cr0(walk: &mut Walk<'_>) {
    walk.everywhere("cr0 read", code!("mov rax, cr0"));
    walk.everywhere("smsw", code!("smsw eax"));
    walk.everywhere(
        "cr0 written as it is",
        code!("mov rax, cr0", "mov cr0, rax", "xor eax, eax"),
    );
    // Flips the bits of RBX and says what CR0 is then.
    let flips = [
        ("TS and MP", 0xa),
        ("NE", 0x20),
        ("WP and AM", 0x5_0000),
        ("CD", 1 << 30),
        ("CD and NW", 3 << 29),
        ("ET", 0x10),
    ];
    for (name, bits) in flips {
        walk.say(format_args!("cr0, {name}"));
        walk.with(|registers| registers.rbx = bits).steps(
            "flipped",
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
    walk.steps(
        "clts",
        code!(
            "mov rcx, cr0",
            "or rcx, 8",
            "mov cr0, rcx",
            "clts",
            "mov rax, cr0",
            "xor ecx, ecx"
        ),
    );
    walk.outside("clts", code!("clts"));
    walk.with(|registers| registers.rbx = 0xe).steps(
        "lmsw",
        code!(
            "mov rcx, cr0",
            "lmsw bx",
            "mov rax, cr0",
            "mov cr0, rcx",
            "xor ecx, ecx"
        ),
    );
    walk.with(|registers| registers.rbx = 0).alone(
        "lmsw cannot leave protected mode",
        code!(
            "mov rcx, cr0",
            "lmsw bx",
            "mov rax, cr0",
            "mov cr0, rcx",
            "xor ecx, ecx"
        ),
    );
    walk.outside("lmsw", code!("lmsw ax"));
    // What CR0.TS is for.
    walk.alone(
        "x87 with TS",
        code!("mov rcx, cr0", "or rcx, 8", "mov cr0, rcx", "fninit"),
    );
    walk.alone("TS gone", code!("clts", "fninit", "mov rax, cr0"));
}

fn cr4(walk: &mut Walk<'_>) {
    walk.everywhere("cr4 read", code!("mov rax, cr4"));
    walk.everywhere(
        "cr4 written as it is",
        code!("mov rax, cr4", "mov cr4, rax", "xor eax, eax"),
    );
    let flips = [
        ("TSD and DE", 0xc),
        ("PSE", 0x10),
        ("PAE", 0x20),
        ("MCE", 0x40),
        ("PGE", 0x80),
        ("PCE", 0x100),
        ("OSFXSR and OSXMMEXCPT", 0x600),
        ("LA57", 1 << 12),
        ("VMXE", 1 << 13),
        ("SMXE", 1 << 14),
        ("bit 15", 1 << 15),
        ("bit 19", 1 << 19),
        ("CET", 1 << 23),
        ("PKS", 1 << 24),
        ("bit 31", 1 << 31),
        ("bit 32", 1 << 32),
        ("the last bit", 1 << 63),
    ];
    for (name, bits) in flips {
        walk.say(format_args!("cr4, {name}"));
        walk.with(|registers| registers.rbx = bits).steps(
            "flipped",
            code!(
                "mov rcx, cr4",
                "mov rax, rcx",
                "xor rax, rbx",
                "mov cr4, rax",
                "mov rax, cr4",
                "mov cr4, rcx",
                "xor ecx, ecx"
            ),
        );
    }
    // Every general register can be the source.
    walk.with(|registers| registers.r8_to_r15[7] = 1 << 13)
        .steps("cr4 from r15", code!("mov cr4, r15"));
    walk.with(|registers| registers.rbp = 1 << 13)
        .steps("cr4 from rbp", code!("mov cr4, rbp"));
    walk.alone("cr4 from rsp", code!("mov rsp, 0x2000", "mov cr4, rsp"));
}

fn others(walk: &mut Walk<'_>) {
    walk.alone("cr1", code!(".byte 0x0f, 0x20, 0xc8"));
    walk.alone("cr5", code!(".byte 0x0f, 0x22, 0xe8"));
    walk.with(|registers| registers.rbx = 0xffff_8123_4567_89ab)
        .everywhere("cr2", code!("mov cr2, rbx", "mov rax, cr2"));
    walk.steps(
        "cr3 written as it is",
        code!("mov rax, cr3", "mov cr3, rax", "xor eax, eax"),
    );
    walk.everywhere(
        "cr8",
        code!(
            "mov eax, 5",
            "mov cr8, rax",
            "mov rbx, cr8",
            "xor eax, eax",
            "mov cr8, rax"
        ),
    );
    // The task priority register of the local APIC is the same thing.
    walk.alone(
        "cr8 and the task priority",
        code!(
            "mov eax, 7",
            "mov cr8, rax",
            "mov ecx, 0xfee00080",
            "mov ebx, [rcx]",
            "mov dword ptr [rcx], 0x35",
            "mov rdx, cr8",
            "mov ebp, [rcx]",
            "mov dword ptr [rcx], 0",
            "mov rsi, cr8"
        ),
    );
}

fn debug(walk: &mut Walk<'_>) {
    walk.everywhere("dr7", code!("mov rax, dr7"));
    walk.steps("dr6", code!("mov rax, dr6"));
    walk.steps("dr4 and dr5", code!("mov rax, dr4", "mov rbx, dr5"));
    walk.alone(
        "dr4 with DE",
        code!("mov rax, cr4", "or rax, 8", "mov cr4, rax", "mov rbx, dr4"),
    );
    walk.alone(
        "DE gone",
        code!("mov rax, cr4", "and rax, -9", "mov cr4, rax", "mov rax, cr4"),
    );
    walk.alone(
        "dr7 with a high bit",
        code!("xor eax, eax", "bts rax, 32", "mov dr7, rax"),
    );
    walk.alone(
        "dr6 with a high bit",
        code!("xor eax, eax", "bts rax, 32", "mov dr6, rax"),
    );
    walk.alone(
        "dr0 to dr3",
        code!(
            "mov eax, 0x1230",
            "mov dr0, rax",
            "mov dr3, rax",
            "mov rbx, dr0",
            "mov rcx, dr3",
            "xor eax, eax",
            "mov dr0, rax",
            "mov dr3, rax"
        ),
    );
    // A breakpoint on an instruction that is intercepted: before it.
    walk.with(|registers| {
        registers.rbx = CODE + 14;
        registers.rax = 0x4000_0001;
        registers.rdx = 0x401;
        registers.rcx = 0x400;
        registers.rsi = 0x400;
    })
    .alone(
        "breakpoint on cpuid",
        code!(
            "mov dr0, rbx",
            "mov dr7, rdx",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop",
            "nop",
            "cpuid",
            "mov dr7, rsi"
        ),
    );
    walk.with(|registers| {
        registers.rbx = DATA;
        registers.rdx = 0xd_0401;
        registers.rsi = 0x400;
    })
    .alone(
        "watched data",
        code!(
            "mov dr0, rbx",
            "mov dr7, rdx",
            "mov eax, [rbx]",
            "mov [rbx], ecx",
            "nop",
            "mov dr7, rsi",
            "xor eax, eax"
        ),
    );
}

/// XCR0 needs CR4.OSXSAVE, which is not there yet.
fn extended(walk: &mut Walk<'_>) {
    // Without CR4.OSXSAVE.
    walk.everywhere("xsetbv without CR4's word", code!("xsetbv"));
    walk.everywhere("xgetbv without CR4's word", code!("xgetbv"));
}

/// What XCR0 can be, where CPUID shows XSAVE.
pub fn xcr0(walk: &mut Walk<'_>) {
    walk.alone(
        "OSXSAVE",
        code!(
            "mov rbx, cr4",
            "bts rbx, 18",
            "mov cr4, rbx",
            "mov rcx, cr4",
            "mov eax, 1",
            "mov esi, ecx",
            "cpuid",
            "xor eax, eax",
            "xor ebx, ebx",
            "xor edx, edx",
            "and ecx, 0x8000000"
        ),
    );
    let values = [
        ("x87", 0, 1_u64),
        ("x87 and SSE", 0, 3),
        ("nothing", 0, 0),
        ("SSE alone", 0, 2),
        ("AVX without SSE", 0, 5),
        ("bit 8", 0, 0x103),
        ("bit 62", 0, 1 << 62 | 3),
        ("the last bit", 0, 1 << 63 | 3),
        ("another register", 1, 3),
    ];
    for (name, register, value) in values {
        walk.say(format_args!("xcr0, {name}"));
        walk.with(|registers| {
            registers.rcx = register;
            registers.rax = 0xdead_beef_0000_0000 | value & 0xffff_ffff;
            registers.rdx = value >> 32;
        })
        .steps("xsetbv", code!("xsetbv"));
        walk.alone("then", code!("xgetbv"));
    }
    walk.with(|registers| registers.rax = 1)
        .outside("xsetbv", code!("xsetbv"));
    walk.alone(
        "OSXSAVE gone",
        code!("mov rbx, cr4", "btr rbx, 18", "mov cr4, rbx", "mov rcx, cr4"),
    );
}
