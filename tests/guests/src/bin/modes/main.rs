//! Makes the same hypercall from every mode of the processor that this guest can get into, and says what came of it.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

#[cfg(all(bare, target_arch = "x86_64"))]
mod long;
#[cfg(all(bare, target_arch = "x86"))]
mod protected;

#[cfg(all(bare, target_arch = "x86_64"))]
use long::all;
#[cfg(all(bare, target_arch = "x86"))]
use protected::all;

/// A workstation's programs do not change modes.
#[cfg(not(bare))]
fn all(_guest: &mut Guest) {}

fn modes(guest: &mut Guest) -> Shutdown {
    all(guest);
    guest.say(format_args!("all modes of {} bits", guest.bits()));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(modes);
