//! Offers a port and a page to its peer, and makes a hundred round trips.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

const ROUNDS: u32 = 100;
/// The first reference that no toolstack reserves.
const REFERENCE: u32 = 8;

fn ping(guest: &mut Guest) -> Shutdown {
    let Some(peer) = guest.option("peer") else {
        guest.say(format_args!("no peer on the command line"));
        return Shutdown::Crash;
    };
    let offered = guest.offer_page(REFERENCE, peer);
    guest.say(format_args!("a page for domain {peer}: {offered:?}"));
    let port = match guest.allocate_port(peer) {
        Ok(port) => port,
        Err(error) => {
            guest.say(format_args!("no port for domain {peer}: {error}"));
            return Shutdown::Crash;
        }
    };
    guest.say(format_args!("port {port} waits for domain {peer}"));
    guest.wait(port);
    for _ in 0..ROUNDS {
        if guest.send(port).is_err() {
            return Shutdown::Crash;
        }
        guest.wait(port);
    }
    guest.say(format_args!("{ROUNDS} round trips"));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(ping);
