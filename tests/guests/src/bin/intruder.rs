//! Tries on other domains what it may not, and says what came of it.
//!
//! `friend=` and `target=` on the command line name domains that run `neighbour`; both are met in the same way.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

const REFERENCE: u32 = 8;
/// Ports a small guest may have opened.
const PORTS: u32 = 16;
/// `-EPERM`, and a grant's status for it.
const DENIED: (i64, i16) = (-1, -8);
/// How often it asks for what is not there yet.
const TRIES: u32 = 20;

fn word(result: Result<i64, i64>) -> &'static str {
    match result {
        Ok(_) => "yes",
        Err(error) if error == DENIED.0 => "denied",
        Err(_) => "no",
    }
}

/// Asks until there is something to be had, or it is denied.
fn patiently(guest: &Guest, ask: impl Fn() -> Result<i64, i64>) -> &'static str {
    for _ in 0..TRIES {
        match ask() {
            Err(error) if error != DENIED.0 => guest.yield_now(),
            answer => return word(answer),
        }
    }
    "no"
}

fn grant<T>(result: Result<T, Refused>) -> Result<i64, i64> {
    match result {
        Ok(_) => Ok(0),
        Err(Refused::Call(error)) => Err(error),
        Err(Refused::Status(status)) if status == DENIED.1 => Err(DENIED.0),
        Err(Refused::Status(status)) => Err(i64::from(status) - 100),
    }
}

/// Tries the domain's ports until one is bound.
fn bind(guest: &Guest, domain: u16) -> Result<i64, i64> {
    let mut last = Err(0);
    for port in 1..PORTS {
        last = guest.bind_port(domain, port).map(i64::from);
        if last.is_ok() || last == Err(DENIED.0) {
            break;
        }
    }
    last
}

fn meet(guest: &mut Guest, domain: u16) {
    let offered = word(guest.allocate_port(domain).map(i64::from));
    let bound = patiently(guest, || bind(guest, domain));
    let read = patiently(guest, || grant(guest.map_offer_to_read(domain, REFERENCE)));
    let written = patiently(guest, || grant(guest.map_offer(domain, REFERENCE)));
    guest.say(format_args!(
        "domain {domain}: port offered {offered}, port bound {bound}"
    ));
    guest.say(format_args!(
        "domain {domain}: page read {read}, page written {written}"
    ));
    let (frames, shutdown) = (
        word(guest.frames_of(domain)),
        word(guest.shut_down_another(domain)),
    );
    guest.say(format_args!(
        "domain {domain}: size known {frames}, shut down {shutdown}"
    ));
}

fn intruder(guest: &mut Guest) -> Shutdown {
    for key in ["friend", "target"] {
        if let Some(domain) = guest.option(key) {
            meet(guest, domain);
        }
    }
    let console = word(guest.write_to_host("not the guest's own console\r\n"));
    guest.say(format_args!("the host's console: {console}"));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(intruder);
