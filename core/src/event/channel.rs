//! One port of a domain: what it is bound to, whom it notifies, and how urgently.
//!
//! ```text
//!               alloc_unbound                 a remote binds
//!   Free ─────────────────────> Unbound ────────────────────────> Interdomain
//!     │                            ^                                  │  ^
//!     │ bind_virq, bind_ipi, ...   └──────── the remote closes ───────┘  │
//!     ├─> Virq, Pirq, Ipi, Service        bind_interdomain                │
//!     └──────────────────────────────────────────────────────────────────┘
//!   every open port: close ─> Free
//! ```
//!
//! Invariant: an `Interdomain` port's peer is `Interdomain` and names this port, except while its domain is destroyed.

use crate::number::{DomainId, Port, VcpuId};
use crate::service::ServiceId;

use super::pirq::Pirq;
use super::virq::Virq;

/// What a port is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Binding {
    /// Nothing: it may be allocated.
    #[default]
    Free,
    /// Nothing, ever: port 0.
    Reserved,
    /// It waits for `remote` to bind to it.
    Unbound {
        /// Who may bind to it.
        remote: DomainId,
    },
    /// It is one end of a channel.
    Interdomain {
        /// The domain at the other end.
        remote: DomainId,
        /// Its port.
        port: Port,
    },
    /// A virtual interrupt makes it pending.
    Virq(Virq),
    /// A physical interrupt would make it pending, if the domain had a device that raises one.
    Pirq(Pirq),
    /// The domain itself makes it pending.
    Ipi,
    /// The other end is a service inside the hypervisor.
    Service {
        /// Which service hears what is sent.
        service: ServiceId,
        /// The domain whose service it would be elsewhere: what the guest is told.
        domain: DomainId,
    },
}

impl Binding {
    /// Whether the port is in use, so that it can become pending and be closed.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self, Self::Free | Self::Reserved)
    }
}

/// How urgent a port is in the FIFO way: 0 is served first, 15 last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Priority(u8);

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 16;
    /// The most urgent.
    pub const HIGHEST: Self = Self(0);
    /// The least urgent.
    pub const LOWEST: Self = Self(15);

    /// A priority, if it is one.
    #[must_use]
    pub fn new(raw: u32) -> Option<Self> {
        u8::try_from(raw)
            .ok()
            .filter(|raw| *raw <= Self::LOWEST.0)
            .map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    /// The middle: what a port has unless its guest chooses.
    fn default() -> Self {
        Self(7)
    }
}

/// One of a domain's FIFO queues: those of a vcpu, one for each priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct QueueName {
    pub(super) vcpu: VcpuId,
    pub(super) priority: Priority,
}

/// One port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Channel {
    /// What it is bound to.
    pub(super) binding: Binding,
    /// Where its events go: the vcpu it notifies and how urgently.
    pub(super) queue: QueueName,
    /// The FIFO queue it was linked to last. It may still be the tail there, however it is bound since.
    pub(super) last: QueueName,
    /// It is pending, but has no event word yet to say so.
    pub(super) unseen: bool,
}

impl Channel {
    /// Gives the port another binding. Of its last life nothing is left but its place in a queue: its event was forgotten
    /// when it was closed.
    pub(super) fn open(&mut self, binding: Binding, vcpu: VcpuId) {
        self.binding = binding;
        self.queue = QueueName {
            vcpu,
            priority: Priority::default(),
        };
    }

    /// Whether it notifies this vcpu for good, so that its guest cannot choose another.
    pub(super) const fn is_fixed(&self) -> bool {
        match self.binding {
            Binding::Ipi => true,
            Binding::Virq(virq) => !virq.is_global(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_the_numbers_0_to_15() {
        assert_eq!(Priority::new(0), Some(Priority::HIGHEST));
        assert_eq!(Priority::new(15), Some(Priority::LOWEST));
        assert_eq!((Priority::new(16), Priority::new(256)), (None, None));
    }
}
