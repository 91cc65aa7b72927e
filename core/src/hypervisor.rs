//! The running whole: the machine, its frames, its domains, the policy, and who runs next.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::domain::Domain;
use crate::domains::Domains;
use crate::machine::{Level, Machine};
use crate::memory::frames::Frames;
use crate::number::DomainId;
use crate::policy::{Denials, Denied, Policy, Request, Verdict};
use crate::sched::{OutOfMemory, RunQueues, Scheduler};
use crate::service::{Service, ServiceId};

/// The hypervisor. One a machine; everything else hangs from it.
pub struct Hypervisor {
    /// The machine.
    pub machine: Arc<dyn Machine>,
    /// Its frames.
    pub frames: Arc<Frames>,
    /// Who may do what to whom.
    pub policy: Box<dyn Policy>,
    /// Who runs next.
    pub queues: Arc<RunQueues>,
    /// What answers guests from within.
    pub services: Vec<Box<dyn Service>>,
    domains: Domains,
    /// How many domains there have been.
    editions: AtomicU64,
}

impl Hypervisor {
    /// A hypervisor without domains.
    #[must_use]
    pub fn new(
        machine: Arc<dyn Machine>,
        frames: Arc<Frames>,
        policy: Box<dyn Policy>,
        scheduler: Box<dyn Scheduler>,
        services: Vec<Box<dyn Service>>,
    ) -> Self {
        let queues = RunQueues::new(machine.clone(), scheduler);
        Self::with_queues(machine, frames, policy, queues, services)
    }

    /// As [`Hypervisor::new`], with queues of several pools.
    #[must_use]
    pub fn with_queues(
        machine: Arc<dyn Machine>,
        frames: Arc<Frames>,
        policy: Box<dyn Policy>,
        queues: RunQueues,
        services: Vec<Box<dyn Service>>,
    ) -> Self {
        Self {
            machine,
            frames,
            policy,
            queues: Arc::new(queues),
            services,
            domains: Domains::default(),
            editions: AtomicU64::new(0),
        }
    }

    /// A number that no domain has had, to tell one from an earlier one with the same [`DomainId`].
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.editions.fetch_add(1, Ordering::Relaxed)
    }

    /// The domain with this number.
    #[must_use]
    pub fn domain(&self, id: DomainId) -> Option<Arc<Domain>> {
        self.domains.get(id)
    }

    /// All domains, in the order of their numbers.
    #[must_use]
    pub fn domains(&self) -> Vec<Arc<Domain>> {
        let mut all = Vec::new();
        self.domains.for_each(|domain| all.push(domain));
        all
    }

    /// The numbers of all domains, lowest first.
    #[must_use]
    pub fn domain_ids(&self) -> Vec<DomainId> {
        let mut all = Vec::new();
        self.domains.for_each(|domain| all.push(domain.id));
        all
    }

    /// Lists a domain that has been built.
    ///
    /// # Errors
    /// When there is no memory for the list, or the number is taken; then nothing has changed.
    pub fn list(&self, domain: Arc<Domain>) -> Result<(), OutOfMemory> {
        self.domains.insert(domain)
    }

    /// Takes a domain off the list: nobody new finds it.
    pub fn unlist(&self, id: DomainId) -> Option<Arc<Domain>> {
        self.domains.remove(id)
    }

    /// A service.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&dyn Service> {
        self.services.get(usize::from(id.0)).map(AsRef::as_ref)
    }

    /// A line for the log.
    pub fn log(&self, level: Level, domain: Option<DomainId>, line: fmt::Arguments<'_>) {
        self.machine.log(level, domain, line);
    }

    /// Asks the policy on behalf of `caller`, who makes the request. A refusal is counted, and leaves its reason in the
    /// log; a caller that asks again and again does so at ever larger intervals.
    ///
    /// # Errors
    /// When the policy denies it.
    pub fn authorise(&self, caller: &Domain, request: &Request) -> Result<(), Denied> {
        let Verdict::Deny(reason) = request.ask(self.policy.as_ref()) else {
            return Ok(());
        };
        let number = caller.denials.count(request.act());
        if Denials::is_worth_a_line(number) {
            let (words, target) = (request.act().words(), request.target());
            self.log(
                Level::Info,
                Some(caller.id),
                format_args!("denied: {words}: {reason} (denial {number}, about {target})"),
            );
        }
        Err(Denied)
    }
}
