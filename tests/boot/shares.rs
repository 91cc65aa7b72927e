//! Guests beside each other: each has its share of the processor, whatever the other does with its own.

use xtask::machine::{Emulator, Ending};

use crate::world::{Machine, emulator, guest};

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

/// The times in a line that the guest `clock` has the host log: the host's, and the guest's, in nanoseconds.
fn times(line: &xtask::machine::Line) -> Option<(f64, f64)> {
    let guest: f64 = line.text.split_once("it is ")?.1.trim().parse().ok()?;
    let host: f64 = line.time.parse().ok()?;
    Some((host * 1e9, guest))
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn the_clock_of_a_guest_with_16_busy_vcpus_on_2_pcpus_is_the_hosts() {
    let running = Machine::with("one_guest")
        .module("guest", &guest("clock"))
        .line("guest.guest.vcpus=16")
        .pcpus(2)
        .ends(Ending::GuestsEnded);
    let lines = running.log().lines();
    let told: Vec<_> = lines.iter().filter_map(times).collect();
    assert!(told.len() >= 100, "{lines:?}");
    // The host hears a line a little after the guest has looked at its clock, if it was not preempted meanwhile.
    let late = |of: &[(f64, f64)]| {
        of.iter()
            .map(|(host, guest)| host - guest)
            .fold(f64::MAX, f64::min)
    };
    let (first, last) = (&told[..told.len() / 4], &told[told.len() * 3 / 4..]);
    let lasted = told[told.len() - 1].0 - told[0].0;
    let drift = (late(last) - late(first)).abs() / lasted;
    assert!(late(&told) >= -2_000.0, "the guest's clock is ahead: {told:?}");
    assert!(late(&told) < 0.001 * lasted && drift < 0.001, "{drift}: {told:?}");
    let said = running.console().text();
    assert!(
        said.contains("its clock never went back, its timer was never early"),
        "{said}"
    );
}
