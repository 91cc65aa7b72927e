//! The end of a domain, in slices, so that others run meanwhile however large it was.
//!
//! ```text
//!   unlisted ──> no pcpu runs it ──> ports closed ──> mappings given up ──> services told, memory given back ──> gone
//! ```
//!
//! From the first step on nobody new finds it. What others still use of it (frames they have mapped, ports they look at)
//! holds the domain or its frames by references of its own; the last one that goes takes the rest with it.

use alloc::sync::Arc;

use super::Domain;
use super::life::Life;
use crate::event::{Progress, close_some};
use crate::grant::map;
use crate::hypervisor::Hypervisor;
use crate::number::{Gfn, GrantHandle, Port};

/// Ports closed in a slice.
const PORTS: u32 = 1024;
/// Mappings given up in a slice.
const MAPPINGS: u32 = 256;
/// Frames given back in a slice, or a little more.
const FRAMES: u64 = 4096;

/// A domain that is being taken apart.
pub struct Destruction {
    domain: Arc<Domain>,
    step: Step,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Pcpus,
    Ports(Port),
    Mappings(GrantHandle),
    Services,
    Memory(Gfn),
    Nothing,
}

impl Destruction {
    /// Takes a domain that has shut down off the lists.
    pub fn begin(hypervisor: &Hypervisor, domain: Arc<Domain>) -> Self {
        *domain.life.lock() = Life::Dying;
        hypervisor.unlist(domain.id);
        hypervisor.queues.remove_watchdogs(domain.id);
        domain.ports.lock().retire();
        Self {
            domain,
            step: Step::Pcpus,
        }
    }

    /// The domain.
    #[must_use]
    pub const fn domain(&self) -> &Arc<Domain> {
        &self.domain
    }

    /// Takes one slice. `true` when there is nothing left to do: the domain is gone, but for what others hold of it.
    pub fn go_on(&mut self, hypervisor: &Hypervisor) -> bool {
        let domain = &self.domain;
        let find = |id| hypervisor.domain(id);
        self.step = match self.step {
            // Vcpus were told to stop; one that was in the guest then may still be on its way out.
            Step::Pcpus if domain.vcpus.iter().any(|vcpu| vcpu.cpu.try_lock().is_none()) => Step::Pcpus,
            Step::Pcpus => {
                for vcpu in &domain.vcpus {
                    hypervisor.queues.remove(vcpu);
                }
                Step::Ports(Port::new(0))
            }
            Step::Ports(from) => match close_some(&**domain, from, PORTS, find) {
                Progress::Continue(next) => Step::Ports(next),
                _ => Step::Mappings(GrantHandle::new(0)),
            },
            Step::Mappings(from) => match map::give_up_some(domain.party(), from, MAPPINGS, find) {
                map::Progress::Continue(next) => Step::Mappings(next),
                _ => Step::Services,
            },
            Step::Services => {
                super::create::detach(hypervisor, domain, hypervisor.services.len());
                Step::Memory(Gfn::new(0))
            }
            Step::Memory(from) => match domain.memory.give_back_some(from, FRAMES) {
                Some(next) => Step::Memory(next),
                None => {
                    *domain.life.lock() = Life::Gone;
                    Step::Nothing
                }
            },
            Step::Nothing => Step::Nothing,
        };
        self.step == Step::Nothing
    }
}

/// Takes a domain apart in one go.
pub fn destroy(hypervisor: &Hypervisor, domain: &Arc<Domain>) {
    let mut destruction = Destruction::begin(hypervisor, domain.clone());
    while !destruction.go_on(hypervisor) {
        hypervisor.machine.relax();
    }
}
