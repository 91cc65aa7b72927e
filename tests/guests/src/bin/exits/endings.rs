//! What a guest does not survive.

use crate::code;
use crate::trial::{NOWHERE, Walk};
use xenvisor_guests::prelude::*;

/// Ends the guest so.
pub fn end(walk: &mut Walk<'_>, how: &str) -> Shutdown {
    match how {
        "triple_fault" => walk.guest().triple_fault(),
        "fetch" => walk
            .with(|registers| registers.rax = NOWHERE)
            .alone("fetch from nowhere", code!("jmp rax")),
        "walk" => walk
            .with(|registers| registers.rax = NOWHERE)
            .alone("page tables nowhere", code!("mov cr3, rax", "mov eax, [0x1000]")),
        "delivery" => walk.with(|registers| registers.rax = NOWHERE + 0x800).alone(
            "interrupt table nowhere",
            code!(
                "push rax",
                "push ax",
                "mov word ptr [rsp], 0xfff",
                "lidt [rsp]",
                "int3"
            ),
        ),
        "halt" => walk.alone("halt for ever", code!("cli", "hlt")),
        other => walk.say(format_args!("no end is called {other}")),
    }
    Shutdown::Crash
}
