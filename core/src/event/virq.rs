//! Virtual interrupts: what the hypervisor itself has to tell a domain.
//!
//! A *per-vcpu* one is bound by each vcpu that wants it, and stays with that vcpu. A *global* one is bound once, for
//! the domain, on vcpu 0, and may then notify another vcpu. Raising one that nobody has bound is lost, and that is
//! right: binding it does not promise the past.

use crate::number::{Port, VcpuId, below};

use super::channel::Binding;
use super::ports::{Attempt, NoPort, Ports, with_room};
use super::upcall::Endpoint;

/// A virtual interrupt (`VIRQ_*` of the public header `xen.h`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Virq(u8);

impl Virq {
    /// How many numbers there are, architecture's own included.
    pub const COUNT: usize = 24;
    /// A vcpu's one-shot or periodic timer. Per vcpu.
    pub const TIMER: Self = Self(0);
    /// Somebody asks the guest to show its state. Per vcpu.
    pub const DEBUG: Self = Self(1);
    /// Bytes for the emergency console.
    pub const CONSOLE: Self = Self(2);
    /// A domain has shut down or crashed.
    pub const DOMAIN_EXCEPTION: Self = Self(3);
    /// A message in an Argo ring.
    pub const ARGO: Self = Self(11);

    /// A virtual interrupt, if the number is one.
    #[must_use]
    pub fn new(raw: u32) -> Option<Self> {
        below(Self::COUNT, raw).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }

    /// Whether the domain has it once, not each vcpu. The per-vcpu ones are the timer, debugging, and the two
    /// kinds of profiling (7 and 13).
    #[must_use]
    pub const fn is_global(self) -> bool {
        !matches!(self.0, 0 | 1 | 7 | 13)
    }
}

/// Why a virtual interrupt could not be bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindVirqError {
    /// There is no virtual interrupt of this number.
    NoSuchVirq(u32),
    /// A global one is bound on vcpu 0 only.
    GlobalElsewhere(VcpuId),
    /// The domain has no such vcpu.
    NoSuchVcpu(VcpuId),
    /// It is bound already, to this port.
    AlreadyBound(Port),
    /// There is no port for it.
    NoPort(NoPort),
}

impl From<NoPort> for BindVirqError {
    fn from(no: NoPort) -> Self {
        Self::NoPort(no)
    }
}

/// Binds a new port to a virtual interrupt of a vcpu.
///
/// # Errors
/// As listed; then nothing has changed.
pub fn bind_virq<E: Endpoint>(end: &E, virq: u32, vcpu: VcpuId) -> Result<Port, BindVirqError> {
    let virq = Virq::new(virq).ok_or(BindVirqError::NoSuchVirq(virq))?;
    if virq.is_global() && vcpu != VcpuId::new(0) {
        return Err(BindVirqError::GlobalElsewhere(vcpu));
    }
    with_room(end, || {
        let mut ports = end.ports().lock();
        match ports.virq_port(virq, vcpu) {
            None => return Err(Attempt::Refused(BindVirqError::NoSuchVcpu(vcpu))),
            Some(Some(port)) => return Err(Attempt::Refused(BindVirqError::AlreadyBound(port))),
            Some(None) => {}
        }
        let port = ports.take(end, Binding::Virq(virq), vcpu)?;
        ports.set_virq_port(virq, vcpu, Some(port));
        Ok(port)
    })
}

/// Raises a virtual interrupt: of this vcpu, or of the domain if it is a global one.
/// `false` if nobody has bound it.
pub fn raise_virq<E: Endpoint>(end: &E, virq: Virq, vcpu: VcpuId) -> bool {
    let mut ports = end.ports().lock();
    match ports.virq_port(virq, vcpu) {
        Some(Some(port)) => {
            ports.set_pending(end, port);
            true
        }
        _ => false,
    }
}

impl Ports {
    /// Who holds the binding of a virtual interrupt: vcpu 0 for a global one.
    const fn virq_holder(virq: Virq, vcpu: VcpuId) -> VcpuId {
        if virq.is_global() { VcpuId::new(0) } else { vcpu }
    }

    /// The port a virtual interrupt is bound to, if it is; `None` for a vcpu that does not exist.
    pub(super) fn virq_port(&self, virq: Virq, vcpu: VcpuId) -> Option<Option<Port>> {
        let vcpu = self.vcpu(Self::virq_holder(virq, vcpu))?;
        vcpu.virqs.get(usize::from(virq.raw())).copied()
    }

    pub(super) fn set_virq_port(&mut self, virq: Virq, vcpu: VcpuId, port: Option<Port>) {
        if let Some(slot) = self
            .vcpu_mut(Self::virq_holder(virq, vcpu))
            .and_then(|vcpu| vcpu.virqs.get_mut(usize::from(virq.raw())))
        {
            *slot = port;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_belongs_to_a_vcpu_and_the_console_to_the_domain() {
        assert!(!Virq::TIMER.is_global() && !Virq::DEBUG.is_global());
        assert!(Virq::CONSOLE.is_global() && Virq::ARGO.is_global());
        assert!(
            Virq::new(16).unwrap().is_global(),
            "the architecture's own are global"
        );
        assert_eq!(Virq::new(24), None);
    }
}
