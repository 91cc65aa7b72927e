//! Offers a port and a page to its visitor, and is there for a while.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

const REFERENCE: u32 = 8;
/// Long enough for a visitor that was started with it.
const STAY_NS: u64 = 3_000_000_000;

fn neighbour(guest: &mut Guest) -> Shutdown {
    let Some(visitor) = guest.option("visitor") else {
        guest.say(format_args!("no visitor on the command line"));
        return Shutdown::Crash;
    };
    let page = guest.offer_page(REFERENCE, visitor);
    let port = guest.allocate_port(visitor);
    guest.say(format_args!("for domain {visitor}: page {page:?}, port {port:?}"));
    guest.sleep_ns(STAY_NS);
    guest.say(format_args!("I am still here"));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(neighbour);
