//! Two guests that talk through one event channel, and find that they may share nothing else.
//!
//! `ping` offers a port to its peer and grants it a frame; `pong` finds the port, answers each event with one, and asks
//! for the frame at the end. `peer=` on the command line names the other domain, `rounds=` says how often they talk, and
//! `bitmaps=1` has events told by bitmaps instead of queues.

use xenvisor_abi::grant_table::GNTST_okay;
use xenvisor_abi::sched::SHUTDOWN_poweroff;

use crate::guest::{Delivery, Ending, Events, GrantTable, PvConsole, SimGuest, Trouble};
use crate::kernel;

/// How often they talk when nobody says otherwise.
const ROUNDS: u64 = 5;
/// Guest frames of its own: for events, for the grant table, for a frame to grant, and for one to be mapped.
const EVENTS: u64 = kernel::PAGES >> 12;
const TABLE: u64 = EVENTS + 4;
const OFFERED: u64 = TABLE + 1;
const WINDOW: u64 = OFFERED + 1;
/// The first reference that nobody else uses.
const REFERENCE: u32 = 8;
/// Linux's vector for upcalls.
const VECTOR: u8 = 0xf3;
/// Ports among which the peer's is looked for.
const PORTS: u32 = 16;
/// How often it is looked for.
const TRIES: u32 = 100_000;

/// What both begin with.
struct Talk {
    events: Events,
    console: PvConsole,
    peer: u16,
    rounds: u64,
}

impl Talk {
    async fn begin(guest: &SimGuest) -> Result<Self, Trouble> {
        let peer = guest.option("peer").await?;
        let delivery = match guest.option("bitmaps").await {
            Ok(1) => Delivery::TwoLevel,
            _ => Delivery::Fifo,
        };
        Ok(Self {
            peer: u16::try_from(peer).map_err(|_| Trouble::new(format!("there is no domain {peer}")))?,
            rounds: guest.option("rounds").await.unwrap_or(ROUNDS),
            events: Events::set_up(guest, delivery, EVENTS, VECTOR).await?,
            console: PvConsole::find(guest).await?,
        })
    }

    async fn say(&self, guest: &SimGuest, text: &str) -> Ending {
        Ok(self.console.line(guest, text).await?)
    }
}

/// Offers, sends first, and waits for each answer.
pub(super) async fn ping(guest: SimGuest) -> Ending {
    let guest = &guest;
    let talk = Talk::begin(guest).await?;
    // The grant first: when the peer has found the port, everything is there.
    let table = GrantTable::set_up(guest, TABLE).await?;
    table.offer(guest, REFERENCE, talk.peer, OFFERED).await;
    let port = guest.offer_port(talk.peer).await?;
    talk.events.open(guest, port).await?;
    let hello = format!(
        "I offer port {port} to domain {}, and grant {REFERENCE}",
        talk.peer
    );
    talk.say(guest, &hello).await?;
    talk.events.wait(guest, port).await;
    for round in 1..=talk.rounds {
        guest.send_event(port).await?;
        talk.events.wait(guest, port).await;
        talk.say(guest, &format!("round {round}: answered")).await?;
    }
    // The last word is the peer's: it has tried the grant.
    guest.send_event(port).await?;
    talk.events.wait(guest, port).await;
    talk.say(guest, "that is all").await?;
    guest.shut_down(SHUTDOWN_poweroff).await
}

/// Finds the port, answers, and asks for the grant at the end.
pub(super) async fn pong(guest: SimGuest) -> Ending {
    let guest = &guest;
    let talk = Talk::begin(guest).await?;
    let port = find_port(guest, talk.peer).await?;
    talk.events.open(guest, port).await?;
    talk.say(guest, &format!("port {port} leads to domain {}", talk.peer))
        .await?;
    // A port that has just been bound is pending once, in case an event was missed.
    talk.events.wait(guest, port).await;
    guest.send_event(port).await?;
    for _ in 0..talk.rounds {
        talk.events.wait(guest, port).await;
        guest.send_event(port).await?;
    }
    talk.events.wait(guest, port).await;
    let status = guest.map_grant(talk.peer, REFERENCE, WINDOW).await?;
    let outcome = if status == GNTST_okay {
        "I map the grant".to_owned()
    } else {
        format!("I may not map the grant: status {status}")
    };
    talk.say(guest, &outcome).await?;
    guest.send_event(port).await?;
    guest.shut_down(SHUTDOWN_poweroff).await
}

/// Tries the peer's ports until one is meant for this domain.
async fn find_port(guest: &SimGuest, peer: u16) -> Result<u32, Trouble> {
    for _ in 0..TRIES {
        for port in 1..PORTS {
            if let Ok(own) = guest.bind_port(peer, port).await {
                return Ok(own);
            }
        }
        guest.give_way().await;
    }
    Err(Trouble::new(format!("domain {peer} offers no port")))
}
