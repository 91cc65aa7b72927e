//! Services: what the daemons of a control domain do elsewhere, done in the hypervisor's own image.
//!
//! A service is the other end of event channels that guests send on; it never blocks, and it reaches guests through
//! the same doors as everybody else.

use alloc::sync::Arc;

use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::number::Port;
use crate::sched::OutOfMemory;

/// The place of a service in [`Hypervisor::services`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceId(pub u8);

/// Something that answers guests from within the hypervisor.
pub trait Service: Send + Sync {
    /// Its name, for the log.
    fn name(&self) -> &'static str;

    /// A domain has been built and is about to run: the service takes its end of the domain's pages and ports.
    ///
    /// # Errors
    /// When there is no port or no memory left for it; then the domain is not started.
    fn attach(&self, hypervisor: &Hypervisor, domain: &Arc<Domain>, me: ServiceId)
    -> Result<(), OutOfMemory>;

    /// The guest has sent an event to a port whose other end is this service.
    fn notified(&self, hypervisor: &Hypervisor, domain: &Arc<Domain>, port: Port);

    /// Looks whether there is something to do that no guest has asked for (input from outside). Called often, cheap.
    fn poll(&self, hypervisor: &Hypervisor);

    /// The domain is going away.
    fn detach(&self, hypervisor: &Hypervisor, domain: &Arc<Domain>);
}
