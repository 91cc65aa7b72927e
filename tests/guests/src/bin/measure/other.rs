//! The other domain, from both sides: it offers pages, answers events, and ends when it is told to.

use core::sync::atomic::Ordering;

use xenvisor_guests::prelude::*;

use crate::grants::{OFFERS, offer_pages};
use crate::pages::Pages;

/// Where the other domain is asked to end: the last word of its first page.
const END: usize = 511;
/// The ports that a guest's first own one may be.
const PORTS: core::ops::Range<u32> = 1..32;

static OFFERED: Pages<OFFERS> = Pages::new();

/// The other domain's part.
pub(crate) fn serve(guest: &mut Guest, peer: u16) -> Shutdown {
    offer_pages(&OFFERED, peer);
    let port = match guest.allocate_port(peer) {
        Ok(port) => port,
        Err(error) => {
            guest.say(format_args!("no port for domain {peer}: {error}"));
            return Shutdown::Crash;
        }
    };
    guest.say(format_args!("port {port} waits for domain {peer}"));
    while OFFERED.word(0, END).load(Ordering::Acquire) == 0 {
        guest.wait(port);
        // Once its peer has ended nobody hears it.
        let _sent = guest.send(port);
    }
    Shutdown::PowerOff
}

/// The way to the other domain.
pub(crate) struct Link {
    peer: u16,
    port: u32,
}

impl Link {
    /// Waits until the other domain is there.
    pub(crate) fn to(guest: &Guest, peer: u16) -> Self {
        loop {
            let bound = PORTS
                .into_iter()
                .find_map(|remote| guest.bind_port(peer, remote).ok());
            if let Some(port) = bound {
                let link = Self { peer, port };
                // What is pending at a port from its birth is not an answer.
                guest.take(port);
                let _sent = guest.send(port);
                guest.wait(port);
                return link;
            }
            guest.sleep_ns(10_000_000);
        }
    }

    pub(crate) fn peer(&self) -> u16 {
        self.peer
    }

    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Ends the other domain.
    pub(crate) fn end(&self, guest: &Guest) {
        crate::grants::write_offered(self.peer, 0, END * 8, 1);
        let _sent = guest.send(self.port);
    }
}
