//! Delivery: an event reaches a port, and the guest is told unless it has masked the port.
//!
//! Events are edges: a port that is pending already stays so, and several sends before the guest looks are one event.
//! An event is never lost to a port that is open and whose guest keeps to the protocol.
//!
//! **A send takes two locks, one after the other.** The sender's port says where the other end is; the lock is
//! dropped; then, with the receiver's lock, the other end must still name the sender's port as *its* other end.
//! In between, either end may have been closed. Then the receiver's port is free, unbound, or bound to something else,
//! and the event goes nowhere: the send came after the close. Or both ends were closed and bound to each other again,
//! port for port: then the event arrives on a channel on which the sender may send, once more than it was sent, which
//! every receiver has to bear (binding itself makes a port pending). An event sent on a channel that stays open is
//! delivered, since the second look finds what the first one found.

use alloc::sync::Arc;

use crate::number::{DomainId, Port};
use crate::service::ServiceId;

use super::channel::Binding;
use super::poll;
use super::ports::{Layout, Ports};
use super::two_level;
use super::upcall::{Endpoint, Upcalls};

/// What became of something sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// The other end is pending.
    Delivered,
    /// There is nobody at the other end (yet, or any more): nothing has happened, and whoever binds will look.
    Nowhere,
    /// The other end is a service: the caller tells it, without any lock of ours.
    ToService(ServiceId),
}

/// Why something could not be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError<X> {
    /// One cannot send on this port: it is not open, or bound to an interrupt.
    NotSendable(Port),
    /// It may not be sent.
    Refused(X),
}

/// Sends on a port: makes the other end pending. `find` gives domains by number; `allow` may refuse the receiver.
///
/// # Errors
/// When the port is not one to send on, or `allow` refuses; then nothing has happened.
pub fn send<E: Endpoint, X>(
    end: &E,
    port: Port,
    find: impl FnOnce(DomainId) -> Option<Arc<E>>,
    allow: impl FnOnce(DomainId) -> Result<(), X>,
) -> Result<Sent, SendError<X>> {
    let mut ports = end.ports().lock();
    let (remote, remote_port) = match ports.binding(port) {
        Binding::Ipi => {
            ports.set_pending(end, port);
            return Ok(Sent::Delivered);
        }
        Binding::Unbound { .. } => return Ok(Sent::Nowhere),
        Binding::Service { service, .. } => return Ok(Sent::ToService(service)),
        Binding::Free | Binding::Reserved | Binding::Virq(_) | Binding::Pirq(_) => {
            return Err(SendError::NotSendable(port));
        }
        Binding::Interdomain { remote, port } => (remote, port),
    };
    drop(ports);
    allow(remote).map_err(SendError::Refused)?;
    let expected = Binding::Interdomain {
        remote: end.id(),
        port,
    };
    if remote == end.id() {
        return Ok(arrive(end, remote_port, expected));
    }
    Ok(find(remote).map_or(Sent::Nowhere, |remote| arrive(&*remote, remote_port, expected)))
}

/// A service makes the port pending that it is the other end of.
pub fn raise<E: Endpoint>(end: &E, port: Port, service: ServiceId) -> Sent {
    let mut ports = end.ports().lock();
    match ports.binding(port) {
        Binding::Service { service: bound, .. } if bound == service => {
            ports.set_pending(end, port);
            Sent::Delivered
        }
        _ => Sent::Nowhere,
    }
}

/// Makes a port pending if it is (still) bound like this.
fn arrive<E: Endpoint>(end: &E, port: Port, expected: Binding) -> Sent {
    let mut ports = end.ports().lock();
    if ports.binding(port) != expected {
        return Sent::Nowhere;
    }
    ports.set_pending(end, port);
    Sent::Delivered
}

/// There is no such port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSuchPort(pub Port);

/// Unmasks a port for the guest; if it is pending, its vcpu is told now. A closed port is left alone.
///
/// # Errors
/// When there never was such a port.
pub fn unmask<E: Endpoint>(end: &E, port: Port) -> Result<(), NoSuchPort> {
    let mut ports = end.ports().lock();
    if !ports.is_valid(port) {
        return Err(NoSuchPort(port));
    }
    let Ports { table, layout, .. } = &mut *ports;
    if let Some(channel) = table.get_mut(port).filter(|channel| channel.binding.is_open()) {
        match layout {
            Layout::TwoLevel => two_level::unmask(end, port, channel),
            Layout::Fifo(fifo) => fifo.unmask(end, port, channel),
        }
    }
    Ok(())
}

impl Ports {
    /// Makes an open port pending, tells its vcpu unless it is masked, and ends the waits for it.
    pub(super) fn set_pending(&mut self, upcalls: &dyn Upcalls, port: Port) {
        let Self { table, layout, .. } = self;
        let Some(channel) = table.get_mut(port).filter(|channel| channel.binding.is_open()) else {
            return;
        };
        let news = match layout {
            Layout::TwoLevel => two_level::set_pending(upcalls, port, channel),
            Layout::Fifo(fifo) => fifo.set_pending(upcalls, port, channel),
        };
        if news {
            poll::end(self, upcalls, port);
        }
    }

    /// Forgets an event on a port.
    pub(super) fn clear_pending(&mut self, upcalls: &dyn Upcalls, port: Port) {
        let Self { table, layout, .. } = self;
        match (layout, table.get_mut(port)) {
            (Layout::Fifo(fifo), Some(channel)) => fifo.clear_pending(upcalls, port, channel),
            (Layout::TwoLevel, _) => {
                two_level::clear_pending(upcalls, port);
            }
            (_, None) => {}
        }
    }

    /// Whether an open port is pending, masked or not.
    #[must_use]
    pub fn is_pending(&self, upcalls: &dyn Upcalls, port: Port) -> bool {
        self.binding(port).is_open()
            && match &self.layout {
                Layout::TwoLevel => two_level::is_pending(upcalls, port),
                Layout::Fifo(fifo) => fifo.is_pending(upcalls, port),
            }
    }
}
