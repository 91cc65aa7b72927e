//! Gives the verdict that a test guest of the Xen Test Framework gives, on the Xen console.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

fn verdict(guest: &mut Guest) -> Shutdown {
    guest.say(format_args!("Test result: SUCCESS"));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(verdict);
