//! Binds to its peer's port, tries to map its peer's page, and answers a hundred times.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

const ROUNDS: u32 = 100;
const REFERENCE: u32 = 8;
/// Ports a small guest may have opened.
const PORTS: u32 = 16;

fn pong(guest: &mut Guest) -> Shutdown {
    let Some(peer) = guest.option("peer") else {
        guest.say(format_args!("no peer on the command line"));
        return Shutdown::Crash;
    };
    let port = loop {
        if let Some(port) = (1..PORTS).find_map(|port| guest.bind_port(peer, port).ok()) {
            break port;
        }
        guest.yield_now();
    };
    guest.say(format_args!("bound to domain {peer} by port {port}"));
    match guest.map_offer(peer, REFERENCE) {
        Ok(_) => guest.say(format_args!("its page is mapped")),
        Err(refused) => guest.say(format_args!("its page is refused: {refused:?}")),
    }
    // Binding made this end pending. It is taken before the peer hears anything, so that no answer merges with it.
    guest.wait(port);
    if guest.send(port).is_err() {
        return Shutdown::Crash;
    }
    for _ in 0..ROUNDS {
        guest.wait(port);
        if guest.send(port).is_err() {
            return Shutdown::Crash;
        }
    }
    guest.say(format_args!("{ROUNDS} answers"));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(pong);
