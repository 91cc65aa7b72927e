//! Where there is no memory: instructions that are done in software, and the pages of the local APIC.

use crate::code;
use crate::trial::{APIC, Code, DATA, NOWHERE, Walk};

/// Says what they do.
pub fn all(walk: &mut Walk<'_>) {
    nowhere(walk);
    strings(walk);
    apic(walk);
}

fn nowhere(walk: &mut Walk<'_>) {
    let all: [(&str, Code); 25] = [
        ("read of 1", code!("mov al, [rbx]")),
        ("read of 2", code!("mov ax, [rbx]")),
        ("read of 4", code!("mov eax, [rbx]")),
        ("read of 8", code!("mov rax, [rbx]")),
        ("read of 1, zeros around it", code!("movzx eax, byte ptr [rbx]")),
        (
            "read of 2, its sign before it",
            code!("movsx rax, word ptr [rbx]"),
        ),
        (
            "read of 4, its sign before it",
            code!("movsxd rax, dword ptr [rbx]"),
        ),
        ("read across a page", code!("mov rax, [rbx + 0xffd]")),
        ("write of 1", code!("mov [rbx], al")),
        ("write of 2", code!("mov [rbx], ax")),
        ("write of 4", code!("mov [rbx], eax")),
        ("write of 8", code!("mov [rbx], rax")),
        ("write of a number", code!("mov dword ptr [rbx], 0x1234")),
        ("write across a page", code!("mov [rbx + 0xffd], rax")),
        ("and", code!("and eax, [rbx]")),
        ("add to", code!("add [rbx], eax")),
        ("compare", code!("cmp dword ptr [rbx], -1", "sete al")),
        ("test", code!("test byte ptr [rbx], 0x80", "setne al")),
        ("exchange", code!("xchg [rbx], eax")),
        ("increment", code!("inc dword ptr [rbx]")),
        ("with a lock", code!("lock or dword ptr [rbx], 1")),
        ("exchange and add", code!("lock xadd [rbx], eax")),
        ("bit test", code!("bt dword ptr [rbx], 5", "setc al")),
        ("by a 32-bit address", code!("mov eax, [ebx]")),
        (
            "relative to code",
            code!(".byte 0x8b, 0x05, 0x00, 0x00, 0x00, 0x00", "xor eax, eax"),
        ),
    ];
    for (name, code) in all {
        walk.with(|registers| {
            registers.rax = 0x0123_4567_89ab_cdef;
            registers.rbx = NOWHERE;
        })
        .steps(name, code);
    }
}

fn strings(walk: &mut Walk<'_>) {
    let all: [(&str, Code); 6] = [
        ("copy from nowhere", code!("rep movsb")),
        ("copy to nowhere", code!("xchg rsi, rdi", "rep movsd")),
        ("fill of nowhere", code!("mov rdi, rsi", "rep stosq")),
        ("load from nowhere", code!("lodsd")),
        ("search of nowhere", code!("mov rdi, rsi", "repe scasb")),
        ("copy backwards", code!("std", "rep movsw")),
    ];
    for (name, code) in all {
        walk.with(|registers| {
            registers.rcx = 3;
            registers.rsi = NOWHERE + 0x100;
            registers.rdi = DATA + 0x400;
        })
        .steps(name, code);
    }
    walk.with(|registers| registers.rsi = DATA + 0x3f8).alone(
        "what was copied",
        code!("mov rax, [rsi]", "mov rbx, [rsi + 8]", "mov rcx, [rsi + 16]"),
    );
}

fn apic(walk: &mut Walk<'_>) {
    // Those that say the same on every machine: identity, version, priorities, destination, spurious vector, timer.
    for register in [
        0x20, 0x30, 0x80, 0xa0, 0xd0, 0xe0, 0xf0, 0x100, 0x200, 0x280, 0x300, 0x320, 0x350, 0x360, 0x370,
        0x380, 0x390, 0x3e0,
    ] {
        walk.say(format_args!("local APIC, {register:#x}"));
        walk.with(|registers| registers.rbx = APIC + register)
            .steps("read", code!("mov eax, [rbx]"));
    }
    walk.with(|registers| registers.rbx = APIC).steps(
        "logical identity",
        code!(
            "mov dword ptr [rbx + 0xd0], 0x02000000",
            "mov eax, [rbx + 0xd0]",
            "mov dword ptr [rbx + 0xd0], 0"
        ),
    );
    walk.with(|registers| registers.rbx = APIC).steps(
        "an error",
        code!(
            "mov dword ptr [rbx + 0x28], 0",
            "mov dword ptr [rbx + 0x280], 0",
            "mov eax, [rbx + 0x280]"
        ),
    );
}
