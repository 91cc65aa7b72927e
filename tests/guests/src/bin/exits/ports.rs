//! IN, OUT and their string forms.

use crate::code;
use crate::trial::{Code, DATA, EDGE, Walk};

/// Says what they do.
pub fn all(walk: &mut Walk<'_>) {
    single(walk);
    strings(walk);
}

fn single(walk: &mut Walk<'_>) {
    // What a read leaves of the register is what was there.
    let reads: [(&str, Code); 6] = [
        ("in al, imm", code!("in al, 0x61")),
        ("in ax, imm", code!("in ax, 0x61")),
        ("in eax, imm", code!("in eax, 0x61")),
        ("in al, dx", code!("in al, dx")),
        ("in ax, dx", code!("in ax, dx")),
        ("in eax, dx", code!("in eax, dx")),
    ];
    for (name, code) in reads {
        for port in [0x1234, 0x3fd, 0xcfc, 0x70, 0xffff] {
            walk.say(format_args!("port {port:#x}"));
            walk.with(|registers| {
                registers.rax = 0x0123_4567_89ab_cdef;
                registers.rdx = 0x5a5a_0000 | port;
            })
            .everywhere(name, code);
        }
    }
    let writes: [(&str, Code); 6] = [
        ("out imm, al", code!("out 0x62, al")),
        ("out imm, ax", code!("out 0x62, ax")),
        ("out imm, eax", code!("out 0x62, eax")),
        ("out dx, al", code!("out dx, al")),
        ("out dx, ax", code!("out dx, ax")),
        ("out dx, eax", code!("out dx, eax")),
    ];
    for (name, code) in writes {
        // The delay ports are passed through.
        for port in [0x1234, 0x80, 0xed, 0xcf8, 0xffff] {
            walk.say(format_args!("port {port:#x}"));
            walk.with(|registers| {
                registers.rax = 0x0123_4567_89ab_cdef;
                registers.rdx = port;
            })
            .everywhere(name, code);
        }
    }
}

fn strings(walk: &mut Walk<'_>) {
    let all: [(&str, Code); 10] = [
        ("insb", code!("insb")),
        ("insw", code!("insw")),
        ("insd", code!("insd")),
        ("outsb", code!("outsb")),
        ("outsw", code!("outsw")),
        ("outsd", code!("outsd")),
        ("rep insb", code!("rep insb")),
        ("rep insd", code!("rep insd")),
        ("rep outsw", code!("rep outsw")),
        ("rep outsb backwards", code!("std", "rep outsb")),
    ];
    for (name, code) in all {
        for count in [0, 1, 3] {
            walk.say(format_args!("count {count}"));
            walk.with(|registers| {
                registers.rdx = 0x1234;
                registers.rcx = count;
                registers.rdi = DATA + 0x100;
                registers.rsi = DATA + 0x200;
            })
            .everywhere(name, code);
        }
    }
    // With the upper half of the count, and with a 32-bit count and address.
    walk.with(|registers| {
        registers.rdx = 0x1234;
        registers.rcx = 0xffff_ffff_0000_0002;
        registers.rdi = 0xffff_ffff_0000_0000 | DATA;
    })
    .steps("rep insw by 32 bits", code!(".byte 0x67, 0xf3, 0x66, 0x6d"));
    // Over the edge of what is mapped.
    walk.with(|registers| {
        registers.rdx = 0x1234;
        registers.rcx = 8;
        registers.rdi = EDGE - 4;
    })
    .steps("rep insw over the edge", code!("rep insw"));
    walk.with(|registers| {
        registers.rdx = 0x1234;
        registers.rcx = 8;
        registers.rsi = EDGE - 3;
    })
    .steps("rep outsd over the edge", code!("rep outsd"));
    walk.with(|registers| {
        registers.rdx = 0x1234;
        registers.rcx = 1;
        registers.rdi = 1 << 63;
    })
    .steps("insb to a non-canonical address", code!("insb"));
    walk.with(|registers| registers.rdi = DATA + 0x300).alone(
        "what was written",
        code!(
            "mov dx, 0x1234",
            "mov dword ptr [rdi], 0",
            "insb",
            "mov eax, [rdi - 1]",
            "xor edx, edx"
        ),
    );
}
