//! What domains may do to each other. A policy is told a request and says a [`Verdict`]; it never sees the machine.
//!
//! Mechanism asks at one point of every operation, after decoding and before anything changes. What a domain does to
//! itself is not asked about, with the exceptions named here. Policies compose: `(A, B)` allows what both allow.

mod partition;
mod xen_default;

pub use partition::{Partition, Silo};
pub use xen_default::XenDefault;

use crate::machine::Access;
use crate::number::{DomainId, Port};

/// What a policy says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The request may go on.
    Allow,
    /// It may not, and this is why. The reason goes to the log.
    Deny(&'static str),
}

impl Verdict {
    /// Allow what both allow; the first refusal names the reason.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match self {
            Self::Allow => other,
            Self::Deny(_) => self,
        }
    }
}

/// A domain wants a port on which `remote` may bind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventAlloc {
    /// Who asks.
    pub caller: DomainId,
    /// Whose port it becomes.
    pub owner: DomainId,
    /// Who may bind to it.
    pub remote: DomainId,
}

/// A domain wants to bind to another's unbound port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventBind {
    /// Who asks.
    pub caller: DomainId,
    /// Whose port it is.
    pub remote: DomainId,
    /// Which.
    pub port: Port,
}

/// A domain wants to signal another. Asked on each send, so it should be quick to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventSend {
    /// Who sends.
    pub caller: DomainId,
    /// Who receives.
    pub remote: DomainId,
}

/// A domain wants to map what another granted to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrantMap {
    /// Who maps.
    pub grantee: DomainId,
    /// Whose frame it is.
    pub granter: DomainId,
    /// What the mapping allows.
    pub access: Access,
}

/// A domain wants to copy between its memory and what others granted (or between the grants of two others).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrantCopy {
    /// Who asks.
    pub caller: DomainId,
    /// Whose frame is read.
    pub source: DomainId,
    /// Whose frame is written.
    pub destination: DomainId,
}

/// A domain wants to know or change something of another (or, where said so, of itself).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control {
    /// Who asks.
    pub caller: DomainId,
    /// Whom it concerns. May be the caller.
    pub target: DomainId,
    /// What is to be done.
    pub act: Act,
}

/// What a [`Control`] request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Change which frames the target has, or where.
    Memory,
    /// Read how much memory the target has, or its layout.
    MemoryStatus,
    /// Look at one of the target's event channels, or reset them all.
    Events,
    /// Look at the target's grant table, or set it up.
    GrantTable,
    /// Read a parameter of the target that a guest may not read of itself.
    ReadParameter,
    /// Write a parameter of the target that a guest may not write of itself.
    WriteParameter,
    /// Shut the target down from outside.
    Shutdown,
    /// Write to the host's console. The target is the caller.
    HostConsole,
    /// Read what only an operator may know: the host's command line, its build. The target is the caller.
    HostDetails,
}

/// What domains may do to each other.
///
/// Every method has Xen's default for domains without privilege, so that a policy states only how it differs.
pub trait Policy: Send + Sync {
    /// May the port be made? By default: on oneself, for anybody.
    fn event_alloc(&self, request: &EventAlloc) -> Verdict {
        only_self(request.caller, request.owner)
    }

    /// May the two be bound? By default: yes; the other side has named the caller.
    fn event_bind(&self, request: &EventBind) -> Verdict {
        let _ = request;
        Verdict::Allow
    }

    /// May the event be sent? By default: yes; both sides are bound.
    fn event_send(&self, request: &EventSend) -> Verdict {
        let _ = request;
        Verdict::Allow
    }

    /// May the grant be mapped? By default: yes; the granter has named the grantee.
    fn grant_map(&self, request: &GrantMap) -> Verdict {
        let _ = request;
        Verdict::Allow
    }

    /// May the copy be made? By default: yes; the granters have named the caller.
    fn grant_copy(&self, request: &GrantCopy) -> Verdict {
        let _ = request;
        Verdict::Allow
    }

    /// May it be done? By default: to oneself, except what concerns the host.
    fn control(&self, request: &Control) -> Verdict {
        match request.act {
            Act::HostConsole | Act::HostDetails | Act::ReadParameter | Act::WriteParameter => {
                Verdict::Deny("only a privileged domain may")
            }
            _ => only_self(request.caller, request.target),
        }
    }
}

fn only_self(caller: DomainId, target: DomainId) -> Verdict {
    if caller == target {
        Verdict::Allow
    } else {
        Verdict::Deny("only a privileged domain may act on another")
    }
}

impl<A: Policy, B: Policy> Policy for (A, B) {
    fn event_alloc(&self, request: &EventAlloc) -> Verdict {
        self.0.event_alloc(request).and(self.1.event_alloc(request))
    }

    fn event_bind(&self, request: &EventBind) -> Verdict {
        self.0.event_bind(request).and(self.1.event_bind(request))
    }

    fn event_send(&self, request: &EventSend) -> Verdict {
        self.0.event_send(request).and(self.1.event_send(request))
    }

    fn grant_map(&self, request: &GrantMap) -> Verdict {
        self.0.grant_map(request).and(self.1.grant_map(request))
    }

    fn grant_copy(&self, request: &GrantCopy) -> Verdict {
        self.0.grant_copy(request).and(self.1.grant_copy(request))
    }

    fn control(&self, request: &Control) -> Verdict {
        self.0.control(request).and(self.1.control(request))
    }
}
