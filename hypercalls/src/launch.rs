//! From a description to running guests, and to the end of the last one.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use xenvisor_core::domain::Domain;
use xenvisor_core::domain::create::{create, destroy};
use xenvisor_core::domain::life::{Reason, SuspendResult};
use xenvisor_core::hypervisor::Hypervisor;
use xenvisor_core::lock::{Rank, Ranked};
use xenvisor_core::machine::{Level, Machine};
use xenvisor_core::memory::frames::Frames;
use xenvisor_core::number::{DomainId, PcpuId};
use xenvisor_core::policy::Tally;
use xenvisor_core::service::Service;
use xenvisor_core::system::{AfterEnd, BootError, Guest, GuestId, System};

use crate::run::{GoOn, run};

/// How it went, when the last guest has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Every guest powered itself off.
    Well,
    /// A guest crashed, or could not be built.
    Badly,
}

/// What is left when the last guest has ended.
pub struct Finished {
    /// How it went.
    pub ended: Ended,
    /// What became of each guest, in the order of the description.
    pub fates: Vec<Fate>,
    /// The hypervisor, without domains.
    pub hypervisor: Hypervisor,
}

/// What became of a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fate {
    /// Its number.
    pub id: DomainId,
    /// Its name.
    pub name: String,
    /// Why it ended, the last time; `None` for one that could not be built.
    pub reason: Option<Reason>,
    /// What the policy denied it, in all its lives.
    pub denials: Tally,
}

/// Builds every guest of a description and runs them until the last one has ended.
///
/// A guest that cannot be built is reported, on the console and in the log, and the others run without it.
///
/// # Errors
/// When the description, or what the command line says about it, makes no sense; then nothing was started.
pub fn launch(
    machine: Arc<dyn Machine>,
    frames: Arc<Frames>,
    mut system: System,
    command_line: &str,
    services: Vec<Box<dyn Service>>,
) -> Result<Finished, BootError> {
    system.apply(command_line)?;
    system.check()?;
    let ids = system.ids();
    let (policy, scheduler, guests) = system.into_parts();
    let hypervisor = Hypervisor::new(machine, frames, policy, scheduler, services);
    let ended = Ranked::new(Rank::Output, Ended::Well);
    let fate = |(id, guest): (&GuestId, &Guest)| Fate {
        id: id.domain(),
        name: guest.name.clone(),
        reason: None,
        denials: Tally::default(),
    };
    let mut fates: Vec<Fate> = ids.iter().zip(&guests).map(fate).collect();
    let mut alive: usize = 0;
    for (id, guest) in ids.iter().zip(&guests) {
        match start(&hypervisor, id.domain(), guest) {
            Some(_) => alive = alive.saturating_add(1),
            None => *ended.lock() = Ended::Badly,
        }
    }
    if alive > 0 {
        run(&hypervisor, PcpuId::new(0), &mut |hypervisor, domain, reason| {
            let guest = ids
                .iter()
                .zip(&guests)
                .find(|(id, _)| id.domain() == domain.id)
                .map(|(_, guest)| guest);
            if reason == Reason::Suspend && domain.resume(SuspendResult::Cancelled) {
                let line = format_args!("goes on: nobody here saves guests, so its suspension is called off");
                hypervisor.log(Level::Info, Some(domain.id), line);
                return GoOn::Yes;
            }
            if let Some(fate) = fates.iter_mut().find(|fate| fate.id == domain.id) {
                fate.reason = Some(reason);
                fate.denials = fate.denials.with(&domain.denials.tally());
            }
            if after(hypervisor, domain, reason, guest, &ended) == AfterEnd::Destroy {
                alive = alive.saturating_sub(1);
            }
            if alive == 0 { GoOn::No } else { GoOn::Yes }
        });
    }
    let ended = *ended.lock();
    Ok(Finished {
        ended,
        fates,
        hypervisor,
    })
}

/// Builds one guest and says how that went.
fn start(hypervisor: &Hypervisor, id: DomainId, guest: &Guest) -> Option<Arc<Domain>> {
    hypervisor.log(
        Level::Info,
        Some(id),
        format_args!(
            "{}: {} MiB, {} vcpus, kernel {:?}",
            guest.name,
            guest.memory >> 20,
            guest.vcpus,
            guest.kernel
        ),
    );
    match create(hypervisor, id, guest) {
        Ok(domain) => Some(domain),
        Err(error) => {
            hypervisor.log(
                Level::Error,
                Some(id),
                format_args!("{} was not started: {error}", guest.name),
            );
            let line = alloc::format!("xenvisor: guest `{}` was not started: {error}\r\n", guest.name);
            hypervisor.machine.console_write(line.as_bytes());
            None
        }
    }
}

/// What becomes of a domain that has shut down. Takes the last hold on it, so that its memory is free before it is built
/// again.
fn after(
    hypervisor: &Hypervisor,
    domain: Arc<Domain>,
    reason: Reason,
    guest: Option<&Guest>,
    ended: &Ranked<Ended>,
) -> AfterEnd {
    let id = domain.id;
    let badly = matches!(reason, Reason::Crash | Reason::Watchdog | Reason::Other(_));
    let level = if badly { Level::Error } else { Level::Info };
    hypervisor.log(
        level,
        Some(id),
        format_args!("{} has ended: {reason:?}", domain.name),
    );
    let denials = domain.denials.tally();
    if denials.total() > 0 {
        hypervisor.log(
            Level::Info,
            Some(id),
            format_args!("{} was {denials}", domain.name),
        );
    }
    destroy(hypervisor, &domain);
    drop(domain);
    let wants_more = matches!(reason, Reason::Reboot | Reason::SoftReset);
    let again = guest.filter(|guest| wants_more && guest.on_reboot == AfterEnd::Restart);
    let restarted = again.map(|guest| start(hypervisor, id, guest).is_some());
    if badly || restarted == Some(false) {
        *ended.lock() = Ended::Badly;
    }
    if restarted == Some(true) {
        AfterEnd::Restart
    } else {
        AfterEnd::Destroy
    }
}
