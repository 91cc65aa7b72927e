//! From a description to running guests, and to the end of the last one.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use xenvisor_core::domain::Domain;
use xenvisor_core::domain::create::create;
use xenvisor_core::domain::destroy::Destruction;
use xenvisor_core::domain::life::{Reason, SuspendResult};
use xenvisor_core::hypervisor::Hypervisor;
use xenvisor_core::machine::{Level, Machine};
use xenvisor_core::memory::frames::Frames;
use xenvisor_core::number::DomainId;
use xenvisor_core::policy::Tally;
use xenvisor_core::sched::RunQueues;
use xenvisor_core::service::Service;
use xenvisor_core::system::{AfterEnd, BootError, Guest, GuestId, System};

use crate::run::{Keeper, Work, run_everywhere};

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
    let lookout = system.lookout();
    let (policy, pools, guests) = system.into_parts();
    let queues = RunQueues::in_pools(machine.clone(), &pools).with_lookout(lookout);
    let hypervisor = Hypervisor::with_queues(machine, frames, policy, queues, services);
    let mut keeper = Launcher::new(&ids, &guests);
    for (id, guest) in ids.iter().zip(&guests) {
        match start(&hypervisor, id.domain(), guest) {
            Some(_) => keeper.alive = keeper.alive.saturating_add(1),
            None => keeper.ended = Ended::Badly,
        }
    }
    run_everywhere(&hypervisor, &mut keeper);
    let Launcher { ended, fates, .. } = keeper;
    Ok(Finished {
        ended,
        fates,
        hypervisor,
    })
}

/// Keeps the guests of a description: takes apart those that have ended, and builds those again that want to.
struct Launcher<'a> {
    ids: &'a [GuestId],
    guests: &'a [Guest],
    fates: Vec<Fate>,
    /// Guests that run or are being taken apart.
    alive: usize,
    ended: Ended,
    /// Those that are being taken apart; there is room for all.
    going: Vec<Going>,
    /// Those that have ended and stay as they are; there is room for all.
    kept: Vec<(Arc<Domain>, Reason)>,
}

/// A guest that is being taken apart.
struct Going {
    destruction: Destruction,
    reason: Reason,
    steps: u32,
    /// The longest of them.
    longest_ns: u64,
}

impl Going {
    fn begin(hypervisor: &Hypervisor, domain: Arc<Domain>, reason: Reason) -> Self {
        Self {
            destruction: Destruction::begin(hypervisor, domain),
            reason,
            steps: 0,
            longest_ns: 0,
        }
    }

    /// Takes one step, between turns of others; whether it was the last.
    fn go_on(&mut self, hypervisor: &Hypervisor) -> bool {
        let began = hypervisor.machine.now();
        let is_gone = self.destruction.go_on(hypervisor);
        self.steps = self.steps.saturating_add(1);
        self.longest_ns = self.longest_ns.max(hypervisor.machine.now().ns_since(began));
        if is_gone {
            hypervisor.log(
                Level::Debug,
                Some(self.destruction.domain().id),
                format_args!(
                    "is gone: {} steps, the longest of {} ns",
                    self.steps, self.longest_ns
                ),
            );
        }
        is_gone
    }
}

impl<'a> Launcher<'a> {
    fn new(ids: &'a [GuestId], guests: &'a [Guest]) -> Self {
        let fate = |(id, guest): (&GuestId, &Guest)| Fate {
            id: id.domain(),
            name: guest.name.clone(),
            reason: None,
            denials: Tally::default(),
        };
        Self {
            ids,
            guests,
            fates: ids.iter().zip(guests).map(fate).collect(),
            alive: 0,
            ended: Ended::Well,
            going: Vec::with_capacity(guests.len()),
            kept: Vec::with_capacity(guests.len()),
        }
    }

    fn guest(&self, id: DomainId) -> Option<&'a Guest> {
        let all = self.ids.iter().zip(self.guests);
        all.filter(|(guest, _)| guest.domain() == id)
            .map(|(_, guest)| guest)
            .next()
    }

    /// What becomes of a guest of which nothing is left.
    fn gone(&mut self, hypervisor: &Hypervisor, id: DomainId, reason: Reason) {
        let again = self
            .guest(id)
            .filter(|guest| fate(guest, reason) == AfterEnd::Restart);
        let restarted = again.map(|guest| start(hypervisor, id, guest).is_some());
        if is_bad(reason) || restarted == Some(false) {
            self.ended = Ended::Badly;
        }
        if restarted != Some(true) {
            self.alive = self.alive.saturating_sub(1);
        }
    }
}

/// What becomes of a guest that ends so.
const fn fate(guest: &Guest, reason: Reason) -> AfterEnd {
    match reason {
        Reason::Reboot | Reason::SoftReset => guest.on_reboot,
        Reason::PowerOff | Reason::Suspend => AfterEnd::Destroy,
        Reason::Crash | Reason::Watchdog | Reason::Other(_) => guest.on_crash,
    }
}

/// Whether a guest that ends so has not ended well.
const fn is_bad(reason: Reason) -> bool {
    matches!(reason, Reason::Crash | Reason::Watchdog | Reason::Other(_))
}

impl Keeper for Launcher<'_> {
    fn ended(&mut self, hypervisor: &Hypervisor, domain: Arc<Domain>, reason: Reason) {
        let id = Some(domain.id);
        if reason == Reason::Suspend && domain.resume(SuspendResult::Cancelled) {
            let line = format_args!("goes on: nobody here saves guests, so its suspension is called off");
            return hypervisor.log(Level::Info, id, line);
        }
        let denials = domain.denials.tally();
        if let Some(fate) = self.fates.iter_mut().find(|fate| fate.id == domain.id) {
            fate.reason = Some(reason);
            fate.denials = fate.denials.with(&denials);
        }
        let level = if is_bad(reason) { Level::Error } else { Level::Info };
        hypervisor.log(level, id, format_args!("{} has ended: {reason:?}", domain.name));
        if denials.total() > 0 {
            hypervisor.log(Level::Info, id, format_args!("{} was {denials}", domain.name));
        }
        if self.guest(domain.id).map(|guest| fate(guest, reason)) == Some(AfterEnd::Preserve) {
            hypervisor.log(Level::Info, id, format_args!("{} is kept as it is", domain.name));
            return self.kept.push((domain, reason));
        }
        self.going.push(Going::begin(hypervisor, domain, reason));
    }

    fn work(&mut self, hypervisor: &Hypervisor) -> Work {
        if self.alive == self.kept.len()
            && let Some((domain, reason)) = self.kept.pop()
        {
            // Nobody runs any more: it was kept for as long as it is kept.
            self.going.push(Going::begin(hypervisor, domain, reason));
        }
        if let Some(going) = self.going.last_mut()
            && going.go_on(hypervisor)
        {
            let (id, reason) = (going.destruction.domain().id, going.reason);
            // The last hold on it: its memory is free before it is built again.
            self.going.pop();
            self.gone(hypervisor, id, reason);
        }
        match (self.alive, self.going.is_empty()) {
            (0, _) => Work::Finished,
            (_, true) => Work::None,
            (_, false) => Work::More,
        }
    }
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
