//! Waiting for a port without an upcall: a vcpu says which ports it waits for, and sleeps until one becomes pending.
//!
//! Saying so and looking whether one is pending already happen under the ports' lock, as every delivery does, so no
//! event falls in between. A vcpu that waits for several ports is woken by any port of its domain: it has to look
//! anyway, and its wait costs no memory.

use crate::number::{Port, VcpuId};

use super::deliver::NoSuchPort;
use super::ports::Ports;
use super::upcall::{Endpoint, Upcalls};

/// What a vcpu waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Poll {
    /// Nothing.
    No,
    /// One port.
    One(Port),
    /// Any port.
    Any,
}

/// Whether a vcpu has to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PollStart {
    /// One of the ports is pending.
    Ready,
    /// None is: [`Upcalls::end_poll`] is called when that changes, unless [`stop_poll`] comes first.
    Waiting,
}

/// Begins to wait for ports, masked or not. They are looked at in order, up to the first that is pending.
///
/// # Errors
/// The first that is not allocated, if none before it is pending; then the vcpu waits for nothing.
pub fn start_poll<E: Endpoint>(end: &E, vcpu: VcpuId, polled: &[Port]) -> Result<PollStart, NoSuchPort> {
    let mut ports = end.ports().lock();
    ports.set_poll(vcpu, Poll::No);
    for port in polled {
        // One that is not open could never end the wait: to Xen, too, it is no port. Port 0 never is.
        if !ports.is_valid(*port) || !ports.binding(*port).is_open() {
            return Err(NoSuchPort(*port));
        }
        if ports.is_pending(end, *port) {
            return Ok(PollStart::Ready);
        }
    }
    let poll = match polled {
        [port] => Poll::One(*port),
        _ => Poll::Any,
    };
    ports.set_poll(vcpu, poll);
    Ok(PollStart::Waiting)
}

/// Ends a wait: its time is over, or something else woke the vcpu.
pub fn stop_poll<E: Endpoint>(end: &E, vcpu: VcpuId) {
    end.ports().lock().set_poll(vcpu, Poll::No);
}

/// A port became pending: ends the waits for it.
pub(super) fn end(ports: &mut Ports, upcalls: &dyn Upcalls, port: Port) {
    if ports.polling == 0 {
        return;
    }
    for (number, vcpu) in (0..).zip(ports.vcpus.iter_mut()) {
        if vcpu.poll == Poll::Any || vcpu.poll == Poll::One(port) {
            vcpu.poll = Poll::No;
            ports.polling = ports.polling.saturating_sub(1);
            upcalls.end_poll(VcpuId::new(number));
        }
    }
}

impl Ports {
    fn set_poll(&mut self, vcpu: VcpuId, poll: Poll) {
        let Some(slot) = self.vcpu_mut(vcpu) else {
            return;
        };
        let was = core::mem::replace(&mut slot.poll, poll) != Poll::No;
        match (was, poll != Poll::No) {
            (false, true) => self.polling += 1,
            (true, false) => self.polling = self.polling.saturating_sub(1),
            _ => {}
        }
    }
}
