//! Does a fixed kind of work without a pause, and says how many of the instructions that the processor executed were of
//! that work, for each of the ways in which its neighbour, the guest `hostile`, makes trouble.
//!
//! The counter must count instructions, as emulators can be told to. Both guests look at it to know what comes when.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;
use xenvisor_guests::trouble::{WAYS, Way, interrupts_on, ticks, work};

/// The work done at once, in rounds of two instructions.
const ROUNDS: u32 = 5_000;
const VECTOR: u8 = 0x40;

fn victim(guest: &mut Guest) -> Shutdown {
    if guest.listen(VECTOR).is_err() {
        return Shutdown::Crash;
    }
    // Whatever comes to this port comes as an interrupt, in the middle of the work.
    let port = loop {
        if let Some(port) = (1..16).find_map(|port| guest.bind_port(2, port).ok()) {
            break port;
        }
        guest.yield_now();
    };
    interrupts_on();
    // Not the one that has begun already, but then each of them from its beginning to its end.
    let first = Way::at(ticks());
    while Way::at(ticks()) == first {}
    let mut done = [(0_u64, 0_u64); WAYS];
    for _ in 0..WAYS {
        let (way, began) = (Way::at(ticks()), ticks());
        let mut rounds = 0_u64;
        while Way::at(ticks()) == way {
            work(ROUNDS);
            rounds += u64::from(ROUNDS);
            guest.take(port);
        }
        done[way as usize] = (2 * rounds, ticks() - began);
    }
    for (way, (worked, all)) in Way::ALL.into_iter().zip(done) {
        guest.say(format_args!(
            "beside {way:?}: {} of 1000",
            worked * 1000 / all.max(1)
        ));
    }
    guest.say(format_args!("{} upcalls", guest.upcalls()));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(victim);
