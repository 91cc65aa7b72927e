//! Guests beside each other: each has its share of the processor, whatever the other does with its own.

use xtask::guests;
use xtask::machine::{Emulator, Ending};

use crate::world::{Machine, emulator};

fn guest(name: &str) -> Vec<u8> {
    std::fs::read(guests::build(name).unwrap()).unwrap()
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn whatever_a_guest_does_its_neighbour_executes_its_half_of_all_instructions() {
    // In Bochs a second is 10 million instructions: a slice is hardly longer there than the way from one to the next.
    if emulator() != Emulator::Qemu {
        return;
    }
    let running = Machine::with("shares")
        .module("victim", &guest("victim"))
        .module("hostile", &guest("hostile"))
        .counting_instructions()
        .ends(Ending::GuestsEnded);
    let said = running.console().text();
    for way in ["Work", "Calls", "Exits", "Yields", "Mappings", "Timers", "Events"] {
        let line = said
            .lines()
            .find_map(|line| line.split_once(&format!("beside {way}: ")));
        let part = line.and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
        let part = part.unwrap_or_else(|| panic!("nothing about {way} in:\n{said}"));
        assert!(part >= 475, "{part} of 1000 beside {way}:\n{said}");
    }
}
