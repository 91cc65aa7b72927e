//! Closing: one port, or all of them in slices.
//!
//! The other end of a channel is not closed with it: it waits again, for the same domain.

use alloc::sync::Arc;

use crate::lock::lock_pair;
use crate::number::{DomainId, Port};

use super::channel::Binding;
use super::ports::{Layout, Ports};
use super::two_level;
use super::upcall::Endpoint;

/// The port is not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotOpen(pub Port);

/// Closes a port: it is free, and what it was bound to is told of no more. `find` gives domains by number.
///
/// # Errors
/// When the port is not open.
pub fn close<E: Endpoint>(
    end: &E,
    port: Port,
    find: impl FnOnce(DomainId) -> Option<Arc<E>>,
) -> Result<(), NotOpen> {
    let here = end.id();
    let mut ports = end.ports().lock();
    let there = match ports.binding(port) {
        Binding::Free | Binding::Reserved => return Err(NotOpen(port)),
        Binding::Interdomain { remote, .. } if remote != here => remote,
        Binding::Interdomain { port: other, .. } => {
            ports.offer_again(other, here, port);
            ports.give_back(end, port);
            return Ok(());
        }
        _ => {
            ports.give_back(end, port);
            return Ok(());
        }
    };
    drop(ports);

    // A domain that is gone has closed its ports, or will not find ours when it does.
    let remote = find(there);
    let pair = remote
        .as_ref()
        .and_then(|remote| lock_pair((&here, end.ports()), (&there, remote.ports())));
    let (mut ports, remote_ports) = match pair {
        Some((ports, remote_ports)) => (ports, Some(remote_ports)),
        None => (end.ports().lock(), None),
    };
    match ports.binding(port) {
        Binding::Interdomain {
            remote,
            port: remote_port,
        } if remote == there => {
            if let Some(mut remote_ports) = remote_ports {
                remote_ports.offer_again(remote_port, here, port);
            }
        }
        // The remote has closed in between: ours waits for it, nothing more.
        Binding::Unbound { remote } if remote == there => {}
        // Somebody else of this domain has closed the port in between, and perhaps opened it for something new,
        // which is not what we were asked to close. There was a moment when it was not open.
        _ => return Err(NotOpen(port)),
    }
    ports.give_back(end, port);
    Ok(())
}

/// How far closing all ports has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Go on at this port.
    Continue(Port),
    /// All are closed.
    Done,
}

/// Closes up to `budget` ports from `from` on. For the end of a domain: after [`Ports::retire`], repeat from port 0
/// until it is done, and no port is open or ever will be.
pub fn close_some<E: Endpoint>(
    end: &E,
    from: Port,
    budget: u32,
    find: impl Fn(DomainId) -> Option<Arc<E>>,
) -> Progress {
    let valid = end.ports().lock().table.valid();
    let until = valid.min(from.raw().saturating_add(budget));
    for raw in from.raw()..until {
        // One that is not open is as it should be.
        let _ = close(end, Port::new(raw), &find);
    }
    if until < valid {
        Progress::Continue(Port::new(until))
    } else {
        Progress::Done
    }
}

/// Whether a reset begins or goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// It begins.
    First,
    /// It goes on where it was left.
    Next,
}

/// Why ports were not reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetError {
    /// Another reset is under way, so that none can begin; or none is, so that none can go on.
    OutOfTurn,
    /// Ports were opened meanwhile: they stay as they are, and so does the way of delivery. The reset is over.
    OpenedMeanwhile,
}

/// Closes all ports of a domain, up to `budget` of them each turn. When all are closed, the domain is told in the 2-level
/// way again, and its event words and control blocks are its own.
///
/// # Errors
/// As listed.
pub fn reset<E: Endpoint>(
    end: &E,
    turn: Turn,
    budget: u32,
    find: impl Fn(DomainId) -> Option<Arc<E>>,
) -> Result<Progress, ResetError> {
    let mut ports = end.ports().lock();
    match (turn, ports.resetting) {
        (Turn::First, 0) => ports.resetting = 1,
        (Turn::Next, from) if from != 0 => {}
        _ => return Err(ResetError::OutOfTurn),
    }
    let from = Port::new(ports.resetting);
    drop(ports);

    let progress = close_some(end, from, budget, find);

    let mut ports = end.ports().lock();
    if let Progress::Continue(port) = progress {
        ports.resetting = port.raw();
        return Ok(progress);
    }
    ports.resetting = 0;
    if ports.open() > 0 {
        return Err(ResetError::OpenedMeanwhile);
    }
    let old = core::mem::replace(&mut ports.layout, Layout::TwoLevel);
    if matches!(old, Layout::Fifo(_)) {
        two_level::clear_all(end);
    }
    // The pages go back without the lock.
    drop(ports);
    drop(old);
    Ok(progress)
}

impl Ports {
    /// The peer of one of our ports has closed: if the port still is bound to it, it waits for that domain again.
    fn offer_again(&mut self, port: Port, remote: DomainId, remote_port: Port) {
        let bound = Binding::Interdomain {
            remote,
            port: remote_port,
        };
        if let Some(channel) = self.open_mut(port)
            && channel.binding == bound
        {
            channel.binding = Binding::Unbound { remote };
        }
    }
}
