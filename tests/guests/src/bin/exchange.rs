//! Offers a page to its peer, maps the peer's, copies from it, writes to it, and talks about each step by events.
//!
//! Command line: `peer=N`, `role=first` for the one who offers the port, and if wished `paging=pae` or `paging=pse`
//! (32-bit guests), `calls=page`, `events=upcalls` or `events=callback`.
#![cfg_attr(bare, no_std, no_main)]

use core::sync::atomic::Ordering;

use xenvisor_guests::prelude::*;

/// The first reference that no toolstack reserves.
const REFERENCE: u32 = 8;
/// Ports a small guest may have opened.
const PORTS: u32 = 16;
const VECTOR: u8 = 0x40;
/// What each says: this, plus how many bits its code has.
const GREETING: u32 = 0x5eed_0000;
const ANSWER: u32 = 0xa115_0000;
/// Where in the page, in bytes: at both ends.
const GREETING_AT: usize = 0;
const ANSWER_AT: usize = 4092;
const ROUNDS: u32 = 20;

struct Trouble(&'static str);

struct Talk<'a> {
    guest: &'a mut Guest,
    port: u32,
    by_upcalls: bool,
}

impl Talk<'_> {
    fn hear(&self) {
        if self.by_upcalls {
            self.guest.wait_for_upcall(self.port);
        } else {
            self.guest.wait(self.port);
        }
    }

    fn tell(&self) -> Result<(), Trouble> {
        self.guest
            .send(self.port)
            .map_err(|_| Trouble("an event was refused"))
    }

    /// Waits until the peer is as far.
    fn meet(&self, first: bool) -> Result<(), Trouble> {
        if first {
            self.tell()?;
            self.hear();
            Ok(())
        } else {
            self.hear();
            self.tell()
        }
    }
}

fn exchange(guest: &mut Guest) -> Shutdown {
    match converse(guest) {
        Ok(()) => Shutdown::PowerOff,
        Err(Trouble(what)) => {
            guest.say(format_args!("trouble: {what}"));
            Shutdown::Crash
        }
    }
}

fn converse(guest: &mut Guest) -> Result<(), Trouble> {
    let peer = guest.option("peer").ok_or(Trouble("no peer"))?;
    let first = guest.word("role") == Some("first");
    guest.turn_on_paging(match guest.word("paging") {
        Some("pae") => Paging::Pae,
        Some("pse") => Paging::Pse,
        _ => Paging::Off,
    });
    if guest.word("calls") == Some("page") {
        guest.call_by(Way::Page);
    }
    let listening = match guest.word("events") {
        Some("upcalls") => guest.listen(VECTOR),
        Some("callback") => guest.listen_past_the_apic(VECTOR),
        _ => Ok(()),
    };
    listening.map_err(|_| Trouble("no upcalls"))?;
    let by_upcalls = guest.word("events").is_some();
    guest
        .offer_page(REFERENCE, peer)
        .map_err(|_| Trouble("no table"))?;
    let mine = guest.bits();
    guest
        .offered_word(GREETING_AT)
        .store(GREETING + mine, Ordering::Release);

    let port = if first {
        guest.allocate_port(peer).map_err(|_| Trouble("no port"))?
    } else {
        loop {
            if let Some(port) = (1..PORTS).find_map(|port| guest.bind_port(peer, port).ok()) {
                break port;
            }
            guest.yield_now();
        }
    };
    let talk = Talk {
        guest,
        port,
        by_upcalls,
    };
    // Binding makes the binder's end pending. It takes that before the other hears anything.
    if first {
        talk.hear();
    } else {
        talk.hear();
        talk.tell()?;
    }

    let theirs = talk
        .guest
        .map_offer(peer, REFERENCE)
        .map_err(|_| Trouble("no mapping"))?;
    let greeting = theirs.word(GREETING_AT).load(Ordering::Acquire);
    let bits = greeting.wrapping_sub(GREETING);
    if bits != 32 && bits != 64 {
        return Err(Trouble("the mapped page says something else"));
    }
    let copied = talk.guest.copy_word(peer, REFERENCE, GREETING_AT as u16);
    if copied != Ok(greeting) {
        return Err(Trouble("the copy is not what is mapped"));
    }
    theirs.word(ANSWER_AT).store(ANSWER + mine, Ordering::Release);
    for _ in 0..ROUNDS {
        talk.meet(first)?;
    }
    if talk.guest.offered_word(ANSWER_AT).load(Ordering::Acquire) != ANSWER + bits {
        return Err(Trouble("no answer in the page that is offered"));
    }
    let guest = talk.guest;
    guest
        .unmap(theirs)
        .map_err(|_| Trouble("a mapping that cannot be given up"))?;
    let upcalls = guest.upcalls();
    if by_upcalls && upcalls < ROUNDS {
        return Err(Trouble("fewer upcalls than events"));
    }
    guest.say(format_args!(
        "{mine} bits, with a peer of {bits}: mapped, copied, answered, {upcalls} upcalls"
    ));
    Ok(())
}

xenvisor_guests::guest!(exchange);
