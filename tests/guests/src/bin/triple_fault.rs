//! Ends in a triple fault.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

fn triple_fault(guest: &mut Guest) -> Shutdown {
    guest.say(format_args!("about to fault three times over"));
    guest.triple_fault()
}

xenvisor_guests::guest!(triple_fault);
