//! Physical interrupts: the numbers that a guest may bind ports to.
//!
//! No domain here has a device of the host, so nothing ever makes such a port pending. That is how Xen treats a guest
//! with virtual hardware as well: it may bind a port to a number that no device is routed to, and hears nothing.

use crate::number::{Port, VcpuId, below};

use super::channel::Binding;
use super::ports::{Attempt, NoPort, with_room};
use super::upcall::Endpoint;

/// A number of a physical interrupt that a guest may use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pirq(u8);

impl Pirq {
    /// How many there are. Xen counts the host's interrupt lines, 24 with one I/O APIC, and adds 32 for each guest.
    pub const COUNT: usize = 24 + 32;

    /// A physical interrupt, if the number is one.
    #[must_use]
    pub fn new(raw: u32) -> Option<Self> {
        below(Self::COUNT, raw).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }
}

/// Which port each physical interrupt of a domain is bound to.
pub(super) struct Pirqs([Option<Port>; Pirq::COUNT]);

impl Default for Pirqs {
    fn default() -> Self {
        Self([None; Pirq::COUNT])
    }
}

impl Pirqs {
    fn get(&self, pirq: Pirq) -> Option<Port> {
        self.0.get(usize::from(pirq.raw())).copied().flatten()
    }

    pub(super) fn set(&mut self, pirq: Pirq, port: Option<Port>) {
        if let Some(slot) = self.0.get_mut(usize::from(pirq.raw())) {
            *slot = port;
        }
    }
}

/// Why a physical interrupt could not be bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindPirqError {
    /// There is no physical interrupt of this number.
    NoSuchPirq(u32),
    /// It is bound already, to this port.
    AlreadyBound(Port),
    /// There is no port for it.
    NoPort(NoPort),
}

impl From<NoPort> for BindPirqError {
    fn from(no: NoPort) -> Self {
        Self::NoPort(no)
    }
}

/// Binds a new port to a physical interrupt. It notifies vcpu 0 until the guest chooses another.
///
/// # Errors
/// As listed; then nothing has changed.
pub fn bind_pirq<E: Endpoint>(end: &E, pirq: u32) -> Result<Port, BindPirqError> {
    let pirq = Pirq::new(pirq).ok_or(BindPirqError::NoSuchPirq(pirq))?;
    with_room(end, || {
        let mut ports = end.ports().lock();
        if let Some(port) = ports.pirqs.get(pirq) {
            return Err(Attempt::Refused(BindPirqError::AlreadyBound(port)));
        }
        let port = ports.take(end, Binding::Pirq(pirq), VcpuId::new(0))?;
        ports.pirqs.set(pirq, Some(port));
        Ok(port)
    })
}
