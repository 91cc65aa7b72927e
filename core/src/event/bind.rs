//! Binding a port to another domain's, to the domain itself, and to the vcpu it notifies.

use crate::lock::lock_pair;
use crate::number::{Port, VcpuId};

use super::channel::Binding;
use super::ports::{Attempt, NoPort, Ports, with_room};
use super::upcall::Endpoint;

/// Why two ports could not be bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindInterdomainError<X> {
    /// There is no local port.
    NoPort(NoPort),
    /// The remote port does not wait for this domain.
    NotOffered(Port),
    /// They may not be bound.
    Refused(X),
}

impl<X> From<NoPort> for BindInterdomainError<X> {
    fn from(no: NoPort) -> Self {
        Self::NoPort(no)
    }
}

/// Binds a new port to a remote port that waits for this domain (which may be the same domain). The new port is
/// pending at once: the remote may have sent before anybody was there. `allow` may refuse it, and is asked without any
/// lock, once everything else is as it should be.
///
/// # Errors
/// As listed, the first that applies; then nothing has changed.
pub fn bind_interdomain<E: Endpoint, X>(
    end: &E,
    remote: &E,
    remote_port: Port,
    allow: impl FnOnce() -> Result<(), X>,
) -> Result<Port, BindInterdomainError<X>> {
    let (here, there) = (end.id(), remote.id());
    let to_remote = Binding::Interdomain {
        remote: there,
        port: remote_port,
    };
    let to_local = |port| Binding::Interdomain { remote: here, port };
    with_room(end, || with_both(end, remote, |both| both.ends(remote_port)))?;
    allow().map_err(BindInterdomainError::Refused)?;
    with_room(end, || {
        with_both(end, remote, |both| {
            // What was seen before may have changed: only what is seen now counts.
            let port = both.ends(remote_port)?;
            both.ports.occupy(port, to_remote, VcpuId::new(0));
            if let Some(other) = both.remote().open_mut(remote_port) {
                other.binding = to_local(port);
            }
            both.ports.set_pending(end, port);
            Ok(port)
        })
    })
}

/// The ports of two domains that are to be bound, locked together.
struct Both<'a, E> {
    end: &'a E,
    ports: &'a mut Ports,
    /// The other domain's; `None` when it is the same domain.
    remote: Option<&'a mut Ports>,
}

impl<E: Endpoint> Both<'_, E> {
    fn remote(&mut self) -> &mut Ports {
        match &mut self.remote {
            Some(remote) => remote,
            None => self.ports,
        }
    }

    /// The local port to bind to a remote one that waits for this domain.
    fn ends<X>(&mut self, remote_port: Port) -> Result<Port, Attempt<BindInterdomainError<X>>> {
        let port = self.ports.lowest_free(self.end)?;
        let offered = Binding::Unbound {
            remote: self.end.id(),
        };
        if self.remote().binding(remote_port) == offered {
            Ok(port)
        } else {
            Err(Attempt::Refused(BindInterdomainError::NotOffered(remote_port)))
        }
    }
}

fn with_both<E: Endpoint, R>(end: &E, remote: &E, act: impl FnOnce(&mut Both<'_, E>) -> R) -> R {
    match lock_pair((&end.id(), end.ports()), (&remote.id(), remote.ports())) {
        Some((mut ports, mut remote)) => act(&mut Both {
            end,
            ports: &mut ports,
            remote: Some(&mut remote),
        }),
        None => act(&mut Both {
            end,
            ports: &mut end.ports().lock(),
            remote: None,
        }),
    }
}

/// Why a port for the domain's own use could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindIpiError {
    /// The domain has no such vcpu.
    NoSuchVcpu(VcpuId),
    /// There is no port.
    NoPort(NoPort),
}

impl From<NoPort> for BindIpiError {
    fn from(no: NoPort) -> Self {
        Self::NoPort(no)
    }
}

/// Opens a port that the domain sends on to notify one of its vcpus.
///
/// # Errors
/// As listed; then nothing has changed.
pub fn bind_ipi<E: Endpoint>(end: &E, vcpu: VcpuId) -> Result<Port, BindIpiError> {
    with_room(end, || {
        let mut ports = end.ports().lock();
        if ports.vcpu(vcpu).is_none() {
            return Err(Attempt::Refused(BindIpiError::NoSuchVcpu(vcpu)));
        }
        ports.take(end, Binding::Ipi, vcpu)
    })
}

/// Why a port does not notify another vcpu.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindVcpuError {
    /// The domain has no such vcpu.
    NoSuchVcpu(VcpuId),
    /// The port is not open.
    NotOpen(Port),
    /// The port notifies the vcpu it was bound on, for good: an IPI, a virtual interrupt of a vcpu.
    Fixed(Port),
}

/// Chooses the vcpu that a port notifies, from its next event on.
///
/// # Errors
/// As listed; then nothing has changed.
pub fn bind_vcpu<E: Endpoint>(end: &E, port: Port, vcpu: VcpuId) -> Result<(), BindVcpuError> {
    let mut ports = end.ports().lock();
    if ports.vcpu(vcpu).is_none() {
        return Err(BindVcpuError::NoSuchVcpu(vcpu));
    }
    let channel = ports.open_mut(port).ok_or(BindVcpuError::NotOpen(port))?;
    if channel.is_fixed() {
        return Err(BindVcpuError::Fixed(port));
    }
    channel.queue.vcpu = vcpu;
    Ok(())
}
