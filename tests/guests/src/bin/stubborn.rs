//! Has the processor for itself, with interrupts off and without one word to the hypervisor, as long as it is let.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

/// Many turns of any scheduler, on a processor of a hundred million steps a second and on any faster one.
const STEPS: u64 = 50_000_000;

fn stubborn(guest: &mut Guest) -> Shutdown {
    guest.say(format_args!("I do not give way"));
    for step in 0..STEPS {
        core::hint::black_box(step);
    }
    guest.say(format_args!("now I do"));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(stubborn);
