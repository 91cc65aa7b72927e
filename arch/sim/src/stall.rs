//! Ends a run in which nothing can happen any more.
//!
//! Guests that wait for each other, or for a wake-up that was lost, would let the machine sleep for ever. This service
//! watches it sleep; after a simulated day without a step of any guest, it says so and crashes them all.

use std::sync::Arc;

use xenvisor_core::domain::Domain;
use xenvisor_core::domain::life::{Life, Reason};
use xenvisor_core::hypervisor::Hypervisor;
use xenvisor_core::machine::Level;
use xenvisor_core::number::Port;
use xenvisor_core::sched::OutOfMemory;
use xenvisor_core::service::{Service, ServiceId};

use crate::machine::SimMachine;

/// The loop naps a second at a time.
const MOST_NAPS: u64 = 86_400;

/// The service.
pub struct StallWatch {
    machine: SimMachine,
}

impl StallWatch {
    /// One that watches this machine.
    #[must_use]
    pub const fn new(machine: SimMachine) -> Self {
        Self { machine }
    }
}

impl Service for StallWatch {
    fn name(&self) -> &'static str {
        "stall watch"
    }

    fn attach(&self, _: &Hypervisor, _: &Arc<Domain>, _: ServiceId) -> Result<(), OutOfMemory> {
        Ok(())
    }

    fn notified(&self, _: &Hypervisor, _: &Arc<Domain>, _: Port) {}

    fn poll(&self, hypervisor: &Hypervisor) {
        if self.machine.naps() < MOST_NAPS {
            return;
        }
        for domain in hypervisor.domains() {
            if *domain.life.lock() == Life::Running {
                hypervisor.log(
                    Level::Error,
                    Some(domain.id),
                    format_args!("{} waits for something that can no longer happen", domain.name),
                );
                domain.shut_down(Reason::Crash);
            }
        }
    }

    fn detach(&self, _: &Hypervisor, _: &Arc<Domain>) {}
}
