//! What an image wants: guests, a policy, a scheduler. Pure data, made before anything runs.
//!
//! A description can be printed, compared and checked on a workstation. [`System::apply`] lets the person who boots the
//! image change it from the command line; every word there that means nothing is an error that names it.

mod boot;
mod error;
mod guest;
mod overrides;

pub use boot::{Boot, Module};
pub use error::BootError;
pub use guest::{AfterEnd, Guest, GuestId};

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::machine::Access;
use crate::policy::{Policy, StaticPartition, XenDefault};
use crate::sched::{Lookout, PcpuSet, Pool, RoundRobin, Scheduler, Share};

/// The description of all that runs on a machine.
pub struct System {
    policy: Chosen,
    scheduler: Box<dyn Scheduler>,
    lookout: Lookout,
    /// Pools beside the one that has all other pcpus.
    pools: Vec<Pool>,
    guests: Vec<Guest>,
}

/// Where the policy comes from.
enum Chosen {
    /// The image's own.
    Own(Box<dyn Policy>),
    /// What the description declares.
    Declared(StaticPartition),
}

impl Default for System {
    fn default() -> Self {
        Self::with_policy(XenDefault::default())
    }
}

impl System {
    /// A system whose guests may do to each other what the policy allows.
    #[must_use]
    pub fn with_policy(policy: impl Policy + 'static) -> Self {
        Self::new(Chosen::Own(Box::new(policy)))
    }

    /// A system whose guests do to each other what the description declares, and nothing else: see
    /// [`System::channel`], [`System::share`] and [`System::device`].
    #[must_use]
    pub fn partitioned() -> Self {
        Self::new(Chosen::Declared(StaticPartition::new()))
    }

    fn new(policy: Chosen) -> Self {
        Self {
            policy,
            scheduler: Box::new(RoundRobin::new()),
            lookout: Lookout::default(),
            pools: Vec::new(),
            guests: Vec::new(),
        }
    }

    /// Orders runnable vcpus another way than in turn.
    pub fn schedule(&mut self, scheduler: impl Scheduler + 'static) {
        self.scheduler = Box::new(scheduler);
    }

    /// Lets pcpus look after each other in another way: see [`Lookout`]. `host.watchdog=SECONDS` (or `off`) and
    /// `host.on_stuck=fail` (or `report`) on the command line say so as well.
    pub const fn look_out(&mut self, lookout: Lookout) {
        self.lookout = lookout;
    }

    /// How pcpus look after each other.
    #[must_use]
    pub const fn lookout(&self) -> Lookout {
        self.lookout
    }

    /// Sets pcpus apart, with an order of their own. Guests that say so ([`Guest::pcpus`]) run there; all others run on
    /// the pcpus that are in no such pool.
    pub fn pool(&mut self, pcpus: PcpuSet, scheduler: impl Scheduler + 'static) {
        let scheduler = Box::new(scheduler);
        self.pools.push(Pool { pcpus, scheduler });
    }

    /// One guest more. Guests become domains 1, 2, 3 and so on, in the order in which they are described.
    pub fn guest(&mut self, guest: Guest) -> GuestId {
        self.guests.push(guest);
        GuestId::new(self.guests.len())
    }

    /// Declares that two guests may have event channels between them. Like all declarations, means something to
    /// [`System::partitioned`] alone: any other policy speaks for itself.
    pub fn channel(&mut self, one: GuestId, other: GuestId) {
        self.declare(|partition| partition.channel(one.domain(), other.domain()));
    }

    /// Declares that `grantee` may use the pages that `granter` offers it: to read them, or to write them as well.
    pub fn share(&mut self, granter: GuestId, grantee: GuestId, access: Access) {
        self.declare(|partition| partition.share(granter.domain(), grantee.domain(), access));
    }

    /// Declares that `backend` serves a device to `frontend`: event channels between the two, and the frontend's pages,
    /// writable, for the backend.
    pub fn device(&mut self, backend: GuestId, frontend: GuestId) {
        self.declare(|partition| partition.device(backend.domain(), frontend.domain()));
    }

    fn declare(&mut self, what: impl FnOnce(StaticPartition) -> StaticPartition) {
        if let Chosen::Declared(partition) = &mut self.policy {
            *partition = what(core::mem::take(partition));
        }
    }

    /// The guests, in order.
    #[must_use]
    pub fn guests(&self) -> &[Guest] {
        &self.guests
    }

    /// The names by which the guests are known, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<GuestId> {
        (1..=self.guests.len()).map(GuestId::new).collect()
    }

    /// Applies what the command line says about guests: `guest.NAME.memory=512M`, `guest.NAME.vcpus=2`,
    /// `guest.NAME.event_channels=4095`, `guest.NAME.on_crash=restart`, `guest.NAME.cmdline="console=hvc0 quiet"`.
    ///
    /// # Errors
    /// The first word that is not understood; then the description is spoilt and must not be used.
    pub fn apply(&mut self, command_line: &str) -> Result<(), BootError> {
        overrides::apply(&mut self.guests, &mut self.lookout, command_line)
    }

    /// Whether the description can be built at all.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), BootError> {
        if self.guests.is_empty() {
            return Err(BootError::NoGuests);
        }
        for (n, guest) in self.guests.iter().enumerate() {
            if guest.weight == 0 || guest.weight > Share::MAX_WEIGHT {
                return Err(BootError::BadWeight {
                    name: guest.name.clone(),
                    weight: guest.weight,
                });
            }
            if self
                .guests
                .iter()
                .take(n)
                .any(|earlier| earlier.name == guest.name)
            {
                return Err(BootError::SameName {
                    name: guest.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// Takes it apart: policy, pools of pcpus (the last one has all that no other has), guests.
    #[must_use]
    pub fn into_parts(mut self) -> (Box<dyn Policy>, Vec<Pool>, Vec<Guest>) {
        let set_apart = self
            .pools
            .iter()
            .fold(PcpuSet::NONE, |all, pool| all.and_also(pool.pcpus));
        let rest = PcpuSet::ALL.without(set_apart);
        for guest in &mut self.guests {
            if guest.pcpus == PcpuSet::ALL && !rest.is_empty() {
                guest.pcpus = rest;
            }
        }
        self.pools.push(Pool {
            pcpus: rest,
            scheduler: self.scheduler,
        });
        let policy = match self.policy {
            Chosen::Own(policy) => policy,
            Chosen::Declared(partition) => Box::new(partition),
        };
        (policy, self.pools, self.guests)
    }
}

#[cfg(test)]
mod tests;
