//! A guest that tries on others what it may not, and one that is tried on.
//!
//! `intruder` meets the domains that `friend=` and `target=` on its command line name, and says what came of it;
//! `neighbour` offers a port and a frame to the domain that `visitor=` names, and is there for a while.

use xenvisor_abi::errno::EPERM;
use xenvisor_abi::grant_table::{
    GNTST_okay, GNTST_permission_denied, GNTTABOP_map_grant_ref, MapFlags, MapGrantRef,
};
use xenvisor_abi::hvm::hvm_op::{GetTime, HVMOP_get_time};
use xenvisor_abi::memory::{Domain, XENMEM_current_reservation};
use xenvisor_abi::sched::{Poll, RemoteShutdown, SCHEDOP_poll, SCHEDOP_remote_shutdown, SHUTDOWN_poweroff};
use xenvisor_abi::xen::{
    CONSOLEIO_write, HYPERVISOR_console_io, HYPERVISOR_hvm_op, HYPERVISOR_memory_op, HYPERVISOR_sched_op,
};

use crate::guest::{Ending, GrantTable, PvConsole, Refused, SimGuest, Trouble};
use crate::kernel;

/// Guest frames of its own: for the grant table, for a frame to grant, and for two to be mapped.
const TABLE: u64 = kernel::PAGES >> 12;
const OFFERED: u64 = TABLE + 1;
const READ: u64 = OFFERED + 1;
const WRITTEN: u64 = READ + 1;
/// The first reference that nobody else uses.
const REFERENCE: u32 = 8;
/// Ports among which a neighbour's is looked for.
const PORTS: u32 = 16;
/// How often it asks for what is not there yet.
const TRIES: u32 = 200;
/// How long a neighbour is there.
const STAY_NS: u64 = 2_000_000_000;

/// What came of an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Yes,
    Denied,
    No,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Denied => "denied",
            Self::No => "no",
        }
    }
}

impl<T> From<Result<T, Refused>> for Outcome {
    fn from(result: Result<T, Refused>) -> Self {
        match result {
            Ok(_) => Self::Yes,
            Err(refused) if i32::from(refused.number) == EPERM => Self::Denied,
            Err(_) => Self::No,
        }
    }
}

/// Tries what it may not.
pub(super) async fn intruder(guest: SimGuest) -> Ending {
    let guest = &guest;
    let console = PvConsole::find(guest).await?;
    for key in ["friend", "target"] {
        if let Ok(domain) = number(guest, key).await {
            meet(guest, &console, domain).await?;
        }
    }
    let arguments = [CONSOLEIO_write.into(), 1, guest.scratch()];
    let written = guest.call("console_io", HYPERVISOR_console_io, arguments).await;
    let line = format!("the host's console: {}", Outcome::from(written).word());
    console.line(guest, &line).await?;
    guest.shut_down(SHUTDOWN_poweroff).await
}

async fn number(guest: &SimGuest, key: &'static str) -> Result<u16, Trouble> {
    let domain = guest.option(key).await?;
    u16::try_from(domain).map_err(|_| Trouble::new(format!("there is no domain {domain}")))
}

async fn meet(guest: &SimGuest, console: &PvConsole, domain: u16) -> Ending {
    let offered = Outcome::from(guest.offer_port(domain).await).word();
    let bound = bind(guest, domain).await.word();
    let line = format!("domain {domain}: port offered {offered}, port bound {bound}");
    console.line(guest, &line).await?;
    let read = map(guest, domain, READ, MapFlags::READONLY).await?.word();
    let written = map(guest, domain, WRITTEN, MapFlags::empty()).await?.word();
    let line = format!("domain {domain}: page read {read}, page written {written}");
    console.line(guest, &line).await?;
    let mut size = Domain { domid: domain };
    let size = guest
        .call_with(
            "current_reservation",
            HYPERVISOR_memory_op,
            XENMEM_current_reservation,
            &mut size,
        )
        .await;
    let mut end = RemoteShutdown {
        domain_id: domain,
        reason: SHUTDOWN_poweroff,
        ..RemoteShutdown::default()
    };
    let command = SCHEDOP_remote_shutdown;
    let end = guest
        .call_with("remote_shutdown", HYPERVISOR_sched_op, command, &mut end)
        .await;
    let (size, end) = (Outcome::from(size).word(), Outcome::from(end).word());
    let line = format!("domain {domain}: size known {size}, shut down {end}");
    Ok(console.line(guest, &line).await?)
}

/// Tries the domain's ports until one is meant for this one, or it is denied.
async fn bind(guest: &SimGuest, domain: u16) -> Outcome {
    for _ in 0..TRIES {
        for port in 1..PORTS {
            match Outcome::from(guest.bind_port(domain, port).await) {
                Outcome::No => {}
                outcome => return outcome,
            }
        }
        guest.give_way().await;
    }
    Outcome::No
}

/// Asks for the domain's frame until it is offered, or it is denied.
async fn map(guest: &SimGuest, domain: u16, at: u64, flags: MapFlags) -> Result<Outcome, Trouble> {
    for _ in 0..TRIES {
        let mut argument = MapGrantRef {
            host_addr: at << 12,
            flags: (MapFlags::HOST_MAP | flags).bits(),
            reference: REFERENCE,
            dom: domain,
            ..MapGrantRef::default()
        };
        guest
            .grant_op("map_grant_ref", GNTTABOP_map_grant_ref, &mut argument)
            .await?;
        if argument.status == GNTST_okay {
            return Ok(Outcome::Yes);
        }
        if argument.status == GNTST_permission_denied {
            return Ok(Outcome::Denied);
        }
        guest.give_way().await;
    }
    Ok(Outcome::No)
}

/// Offers what it has, and stays for a while.
pub(super) async fn neighbour(guest: SimGuest) -> Ending {
    let guest = &guest;
    let console = PvConsole::find(guest).await?;
    let visitor = number(guest, "visitor").await?;
    let table = GrantTable::set_up(guest, TABLE).await?;
    table.offer(guest, REFERENCE, visitor, OFFERED).await;
    let port = Outcome::from(guest.offer_port(visitor).await).word();
    console
        .line(guest, &format!("for domain {visitor}: a page, port {port}"))
        .await?;
    sleep(guest, STAY_NS).await?;
    console.line(guest, "I am still here").await?;
    guest.shut_down(SHUTDOWN_poweroff).await
}

async fn time_ns(guest: &SimGuest) -> Result<u64, Trouble> {
    let mut time = GetTime::default();
    guest
        .call_with("get_time", HYPERVISOR_hvm_op, HVMOP_get_time, &mut time)
        .await?;
    Ok(time.now)
}

async fn sleep(guest: &SimGuest, ns: u64) -> Ending {
    let end = time_ns(guest).await?.saturating_add(ns);
    // A poll may end early.
    while time_ns(guest).await? < end {
        let mut poll = Poll {
            timeout: end,
            ..Poll::default()
        };
        guest
            .call_with("poll", HYPERVISOR_sched_op, SCHEDOP_poll, &mut poll)
            .await?;
    }
    Ok(())
}
