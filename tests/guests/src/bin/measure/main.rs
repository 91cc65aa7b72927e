//! Counts what operations of the hypervisor cost, in ticks of the time stamp counter: one line each, `cost NAME TICKS`.
//!
//! In an emulator whose counter counts instructions that is how many of them the machine executes for one operation,
//! the guest's own few among them. With `peer=N` on the command line the operations between two domains are counted
//! too; domain N runs this program with `peer=M role=other`, and does what it is asked for.
//!
//! With `only=NAME` that one is counted.
//!
//! It is for 64-bit code, in a guest of at least 16 MiB; what takes two vcpus is left out where there is one.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

#[cfg(all(bare, target_arch = "x86_64"))]
mod clock;
#[cfg(all(bare, target_arch = "x86_64"))]
mod events;
#[cfg(all(bare, target_arch = "x86_64"))]
mod grants;
#[cfg(all(bare, target_arch = "x86_64"))]
mod instructions;
#[cfg(all(bare, target_arch = "x86_64"))]
mod memory;
#[cfg(all(bare, target_arch = "x86_64"))]
mod other;
#[cfg(all(bare, target_arch = "x86_64"))]
mod pages;
#[cfg(all(bare, target_arch = "x86_64"))]
mod vcpus;

#[cfg(all(bare, target_arch = "x86_64"))]
fn measure(guest: &mut Guest) -> Shutdown {
    let peer = guest.option("peer");
    if let Some(peer) = peer.filter(|_| guest.word("role") == Some("other")) {
        return other::serve(guest, peer);
    }
    // First of all, so that nobody is being built any more while it counts.
    let link = peer.map(|peer| other::Link::to(guest, peer));
    let mut clock = clock::Clock::begin(guest);
    instructions::calls(&mut clock);
    instructions::all(&mut clock);
    events::all(&mut clock);
    grants::within(&mut clock);
    memory::all(&mut clock);
    vcpus::all(&mut clock);
    if let Some(link) = link {
        events::with(&mut clock, &link);
        grants::with(&mut clock, &link);
        link.end(clock.guest());
    }
    clock.end();
    Shutdown::PowerOff
}

/// Nothing else is worth comparing.
#[cfg(not(all(bare, target_arch = "x86_64")))]
fn measure(guest: &mut Guest) -> Shutdown {
    guest.say(format_args!("this is for 64-bit code"));
    Shutdown::Crash
}

xenvisor_guests::guest!(measure);
