//! Interrupts: when they come, what holds them back, and what is done in between.

use crate::code;
use crate::trial::{APIC, Code, Walk};

/// RFLAGS: interrupts are enabled.
const IF: u64 = 1 << 9;

/// Says what they do.
pub fn all(walk: &mut Walk<'_>) {
    interrupts(walk);
    shadows(walk);
    priorities(walk);
    halts(walk);
    nmis(walk);
}

/// Runs code with RSI at the local APIC and, in EDI, the command that sends this processor interrupt 0x31.
fn run(walk: &mut Walk<'_>, name: &str, enabled: bool, code: Code) {
    walk.with(|registers| {
        registers.rsi = APIC;
        // To itself, fixed.
        registers.rdi = 0x4_0031;
        registers.rdx = 0x1234;
        registers.rflags |= if enabled { IF } else { 0 };
    });
    if enabled {
        walk.steps(name, code);
    } else {
        // Processors do not agree whether there is a step between STI and what is behind it.
        walk.alone(name, code);
    }
    walk.silently(code!("mov eax, 0xfee000b0", "mov dword ptr [rax], 0"));
}

fn interrupts(walk: &mut Walk<'_>) {
    run(
        walk,
        "interrupt to itself",
        true,
        code!("mov [rsi + 0x300], edi", "nop", "nop"),
    );
    run(
        walk,
        "interrupt held back",
        false,
        code!(
            "mov [rsi + 0x300], edi",
            "nop",
            "nop",
            "mov eax, [rsi + 0x210]",
            "sti",
            "nop",
            "nop",
            "mov ebx, [rsi + 0x210]"
        ),
    );
    run(
        walk,
        "two interrupts",
        false,
        code!(
            "mov [rsi + 0x300], edi",
            "add edi, 0x10",
            "mov [rsi + 0x300], edi",
            "sti",
            "nop",
            "nop"
        ),
    );
    run(
        walk,
        "interrupt by popf",
        false,
        code!("mov [rsi + 0x300], edi", "push 0x202", "popfq", "nop"),
    );
    run(
        walk,
        "an impossible vector",
        true,
        code!(
            "mov edi, 0x40005",
            "mov [rsi + 0x300], edi",
            "nop",
            "mov eax, [rsi + 0x300]"
        ),
    );
}

fn shadows(walk: &mut Walk<'_>) {
    let all: [(&str, Code); 9] = [
        (
            "sti, cpuid",
            code!(
                "mov [rsi + 0x300], edi",
                "mov eax, 0x40000001",
                "sti",
                "cpuid",
                "nop"
            ),
        ),
        (
            "sti, in",
            code!("mov [rsi + 0x300], edi", "sti", "in al, dx", "nop"),
        ),
        (
            "sti, out",
            code!("mov [rsi + 0x300], edi", "sti", "out dx, al", "nop"),
        ),
        (
            "sti, outsb",
            code!("mov [rsi + 0x300], edi", "sti", "outsb", "nop"),
        ),
        (
            "sti, rdmsr",
            code!("mov [rsi + 0x300], edi", "mov ecx, 0x1b", "sti", "rdmsr", "nop"),
        ),
        (
            "sti, wbinvd",
            code!("mov [rsi + 0x300], edi", "sti", "wbinvd", "nop"),
        ),
        (
            "sti, read of nothing",
            code!(
                "mov [rsi + 0x300], edi",
                "mov ebx, 0xe0000000",
                "sti",
                "mov eax, [rbx]",
                "nop"
            ),
        ),
        (
            "sti, cli",
            code!("mov [rsi + 0x300], edi", "sti", "cli", "nop", "sti", "nop", "nop"),
        ),
        ("sti, sti", code!("mov [rsi + 0x300], edi", "sti", "sti", "nop")),
    ];
    for (name, code) in all {
        run(walk, name, false, code);
    }
    run(
        walk,
        "stack segment",
        true,
        code!("mov eax, ss", "mov ss, eax", "mov [rsi + 0x300], edi", "nop"),
    );
    run(
        walk,
        "stack segment, cpuid",
        true,
        code!(
            "mov eax, 0x40000001",
            "mov ebx, ss",
            "mov ss, ebx",
            "cpuid",
            "nop"
        ),
    );
}

/// A processor of QEMU 7.2 takes an interrupt of the class that CR8 holds back, and ends QEMU when CR8 is written while
/// one waits: for those that check.
pub fn held_back_by_cr8(walk: &mut Walk<'_>) {
    run(
        walk,
        "held back by cr8",
        true,
        code!(
            "mov eax, 3",
            "mov cr8, rax",
            "mov [rsi + 0x300], edi",
            "nop",
            "nop",
            "mov eax, 2",
            "mov cr8, rax",
            "nop",
            "nop",
            "xor eax, eax",
            "mov cr8, rax"
        ),
    );
}

fn priorities(walk: &mut Walk<'_>) {
    run(
        walk,
        "held back by the task priority",
        true,
        code!(
            "mov dword ptr [rsi + 0x80], 0x4f",
            "mov [rsi + 0x300], edi",
            "nop",
            "nop",
            "mov dword ptr [rsi + 0x80], 0x20",
            "nop",
            "nop",
            "mov rax, cr8",
            "mov dword ptr [rsi + 0x80], 0"
        ),
    );
    run(
        walk,
        "not held back by cr8",
        true,
        code!(
            "mov eax, 2",
            "mov cr8, rax",
            "mov [rsi + 0x300], edi",
            "nop",
            "xor eax, eax",
            "mov cr8, rax"
        ),
    );
}

fn halts(walk: &mut Walk<'_>) {
    run(
        walk,
        "sti, hlt",
        false,
        code!("mov [rsi + 0x300], edi", "sti", "hlt", "nop"),
    );
    run(
        walk,
        "hlt until the timer",
        false,
        code!(
            "mov dword ptr [rsi + 0x3e0], 0xb",
            "mov dword ptr [rsi + 0x320], 0x33",
            "mov dword ptr [rsi + 0x380], 1000",
            "sti",
            "hlt",
            "nop",
            "mov dword ptr [rsi + 0x320], 0x10000"
        ),
    );
    run(
        walk,
        "hlt until the deadline",
        false,
        code!(
            "mov dword ptr [rsi + 0x320], 0x40034",
            "rdtsc",
            "mov ecx, 0x6e0",
            "add eax, 1000",
            "adc edx, 0",
            "wrmsr",
            "sti",
            "hlt",
            "nop",
            "xor eax, eax",
            "xor edx, edx",
            "xor ecx, ecx",
            "mov dword ptr [rsi + 0x320], 0x10000"
        ),
    );
}

/// Sends this processor an NMI, by a physical destination: the identity in the upper word.
fn send_nmi() -> Code {
    code!(
        "mov eax, [rsi + 0x20]",
        "mov [rsi + 0x310], eax",
        "mov dword ptr [rsi + 0x300], 0x400",
        "nop",
        "nop",
        "xor eax, eax"
    )
}

/// One that comes while another's handler runs comes right behind that handler's end. SVM says nothing when the end is
/// over, so there it comes behind the next exit.
pub fn nested_nmis(walk: &mut Walk<'_>) {
    walk.nmis(2)
        .with(|registers| registers.rsi = APIC)
        .alone("nmi whose handler sends two", send_nmi());
    walk.with(|registers| registers.rsi = APIC)
        .steps("nmi to itself", send_nmi());
}

fn nmis(walk: &mut Walk<'_>) {
    let nmi = send_nmi();
    walk.with(|registers| registers.rsi = APIC)
        .alone("nmi to itself", nmi);
    walk.with(|registers| registers.rsi = APIC).alone(
        "nmi behind a stack segment",
        code!(
            "mov eax, [rsi + 0x20]",
            "mov [rsi + 0x310], eax",
            "mov ebx, ss",
            "mov ss, ebx",
            "mov dword ptr [rsi + 0x300], 0x400",
            "nop",
            "nop",
            "xor eax, eax"
        ),
    );
    walk.with(|registers| registers.rsi = APIC).alone(
        "nmi between sti and cli",
        code!(
            "mov eax, [rsi + 0x20]",
            "mov [rsi + 0x310], eax",
            "sti",
            "mov dword ptr [rsi + 0x300], 0x400",
            "cli",
            "xor eax, eax"
        ),
    );
}
