//! The virtual processor alone: one tiny guest, every exit shown, no hypervisor around it.

use crate::world::Machine;
use xtask::machine::Ending;

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn every_exit_of_a_tiny_guest_is_what_it_should_be() {
    let running = Machine::with("first_guest").ends(Ending::GuestsEnded);
    let said = running.console().text();
    // Exits up to the triple fault, each by what tells it from others. The guest itself checks its faults.
    let mut rest = said.as_str();
    for expected in [
        "PortWrite { port: 3f8, bytes: 1, value: 58 }",
        "PortRead { port: 61, bytes: 1 }",
        "Hypercall(Call { number: 11, arguments: [1,",
        "Unbacked { at: gaddr 0x500000, access: ReadWrite }",
        "Hypercall(Call { number: 12,",
        // The SSE register came through.
        "Hypercall(Call { number: 13, arguments: [ffffffff,",
        "PortWrite { port: e9, bytes: 1, value: 48 }",
        "PortWrite { port: e9, bytes: 1, value: 69 }",
        "PortWrite { port: e9, bytes: 1, value: 21 }",
        "Halt",
        // One interrupt by then; three with the APIC's own two.
        "Hypercall(Call { number: 14, arguments: [1,",
        "Halt",
        "Hypercall(Call { number: 15, arguments: [3,",
        "Shutdown",
    ] {
        let at = rest
            .find(expected)
            .unwrap_or_else(|| panic!("no {expected:?} where it should be in:\n{said}"));
        rest = &rest[at + expected.len()..];
    }
}
