//! Guests in silos: each may talk to the hub in the middle, none to another.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

/// Guests become domains 1, 2, 3 in the order in which they are described.
const HUB: DomainId = DomainId::new(1);

fn describe(boot: &Boot) -> Result<System, BootError> {
    let mut system = System::with_policy(Silo::around(HUB));
    let small = |name, module| Ok(Guest::pvh(name, boot.module(module)?).memory(16 * MIB));
    system.guest(small("hub", "neighbour")?.cmdline("visitor=2"));
    // Meets the hub, and is kept from the third: even a port that the third would offer it is denied.
    system.guest(small("intruder", "intruder")?.cmdline("friend=1 target=3"));
    system.guest(small("neighbour", "neighbour")?.cmdline("visitor=2"));
    Ok(system)
}

xenvisor::image!(describe);
