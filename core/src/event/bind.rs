//! Binding a port to another domain's, to the domain itself, and to the vcpu it notifies.

use crate::lock::lock_pair;
use crate::number::{Port, VcpuId};

use super::channel::Binding;
use super::ports::{Attempt, NoPort, with_room};
use super::upcall::Endpoint;

/// Why two ports could not be bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindInterdomainError {
    /// The remote port does not wait for this domain.
    NotOffered(Port),
    /// There is no local port.
    NoPort(NoPort),
}

impl From<NoPort> for BindInterdomainError {
    fn from(no: NoPort) -> Self {
        Self::NoPort(no)
    }
}

/// Binds a new port to a remote port that waits for this domain (which may be the same domain). The new port is
/// pending at once: the remote may have sent before anybody was there.
///
/// # Errors
/// As listed; then nothing has changed.
pub fn bind_interdomain<E: Endpoint>(
    end: &E,
    remote: &E,
    remote_port: Port,
) -> Result<Port, BindInterdomainError> {
    let (here, there) = (end.id(), remote.id());
    let offered = Binding::Unbound { remote: here };
    let to_remote = Binding::Interdomain {
        remote: there,
        port: remote_port,
    };
    let to_local = |port| Binding::Interdomain { remote: here, port };
    let refused = || Attempt::Refused(BindInterdomainError::NotOffered(remote_port));
    let first = VcpuId::new(0);
    with_room(end, || {
        match lock_pair((&here, end.ports()), (&there, remote.ports())) {
            None => {
                let mut ports = end.ports().lock();
                if ports.binding(remote_port) != offered {
                    return Err(refused());
                }
                let port = ports.take(end, to_remote, first)?;
                if let Some(other) = ports.open_mut(remote_port) {
                    other.binding = to_local(port);
                }
                ports.set_pending(end, port);
                Ok(port)
            }
            Some((mut ports, mut remote_ports)) => {
                if remote_ports.binding(remote_port) != offered {
                    return Err(refused());
                }
                let port = ports.take(end, to_remote, first)?;
                if let Some(other) = remote_ports.open_mut(remote_port) {
                    other.binding = to_local(port);
                }
                ports.set_pending(end, port);
                Ok(port)
            }
        }
    })
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
