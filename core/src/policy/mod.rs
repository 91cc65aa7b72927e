//! What domains may do to each other. A policy is told a request and says a [`Verdict`]; it never sees the machine.
//!
//! Mechanism asks at one point of every operation, after decoding and before anything changes. What a domain does to
//! itself is asked about only where the request says so. Policies compose: `(A, B)` allows what both allow.
//!
//! A policy keeps no state that a request changes: the same question has the same answer.

mod compose;
mod denials;
mod partition;
pub mod request;
mod silo;
mod xen_default;

pub use denials::{Denials, Denied, Tally};
pub use partition::StaticPartition;
pub use request::{
    Act, Change, DomainManage, EventAlloc, EventBind, EventReset, EventSend, EventStatus, GrantCopy,
    GrantMap, GrantQuery, GrantSetup, GrantTransfer, HostConsole, HostDetails, HostManage, MemoryBuild,
    MemoryMapSet, MemoryQuery, MemoryReserve, Needs, ParameterRead, ParameterWrite, PhysmapAdd,
    PhysmapForeign, PhysmapRemove, PinVcpu, RemoteShutdown, Request,
};
pub use silo::Silo;
pub use xen_default::XenDefault;

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

    /// Allow if this holds, else deny for this reason.
    #[must_use]
    pub const fn allow_if(holds: bool, reason: &'static str) -> Self {
        if holds { Self::Allow } else { Self::Deny(reason) }
    }
}

/// What domains may do to each other.
///
/// There is a method for each act. Every one has Xen's answer to domains without privilege, so that a policy states
/// only how it differs. A policy that differs in all, or whose other answers are not Xen's, writes
/// [`otherwise`](Self::otherwise), through which all methods go that it does not write.
#[rustfmt::skip]
pub trait Policy: Send + Sync {
    /// The answer to all that has no answer of its own. By default Xen's, to a caller without privilege.
    fn otherwise(&self, request: &Request) -> Verdict {
        request.unprivileged()
    }

    /// May the port be made? By default: on oneself, for anybody.
    fn event_alloc(&self, request: &EventAlloc) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the two be bound? By default: yes; the other side has named the caller.
    fn event_bind(&self, request: &EventBind) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the event be sent? By default: yes; both sides are bound.
    fn event_send(&self, request: &EventSend) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the caller know about the port? By default: about one of its own.
    fn event_status(&self, request: &EventStatus) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the ports be closed? By default: one's own.
    fn event_reset(&self, request: &EventReset) -> Verdict { self.otherwise(&(*request).into()) }

    /// May the grant be mapped? By default: yes; the granter has named the grantee.
    fn grant_map(&self, request: &GrantMap) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the copy be made? By default: yes; the granters have named the caller.
    fn grant_copy(&self, request: &GrantCopy) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the frame be given? By default: yes; the recipient has named the caller.
    fn grant_transfer(&self, request: &GrantTransfer) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the caller know about the table? By default: about its own.
    fn grant_query(&self, request: &GrantQuery) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the table grow? By default: one's own.
    fn grant_setup(&self, request: &GrantSetup) -> Verdict { self.otherwise(&(*request).into()) }

    /// May the reservation change? By default: one's own.
    fn memory_reserve(&self, request: &MemoryReserve) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the caller know about the memory? By default: about its own.
    fn memory_query(&self, request: &MemoryQuery) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the map be set? By default: one's own.
    fn memory_map_set(&self, request: &MemoryMapSet) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the caller provide for the memory? By default: no.
    fn memory_build(&self, request: &MemoryBuild) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the frames be placed? By default: in one's own memory.
    fn physmap_add(&self, request: &PhysmapAdd) -> Verdict { self.otherwise(&(*request).into()) }
    /// May another's frames be placed? By default: no.
    fn physmap_foreign(&self, request: &PhysmapForeign) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the frame be taken away? By default: from one's own memory.
    fn physmap_remove(&self, request: &PhysmapRemove) -> Verdict { self.otherwise(&(*request).into()) }

    /// May the parameter be read? By default: no.
    fn parameter_read(&self, request: &ParameterRead) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the parameter be written? By default: no.
    fn parameter_write(&self, request: &ParameterWrite) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the domain be shut down? By default: no.
    fn remote_shutdown(&self, request: &RemoteShutdown) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the vcpu be pinned? By default: no.
    fn pin_vcpu(&self, request: &PinVcpu) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the domain be managed: taken apart, given devices, looked into? By default: no.
    fn domain_manage(&self, request: &DomainManage) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the host be managed? By default: no.
    fn host_manage(&self, request: &HostManage) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the console be used? By default: no.
    fn host_console(&self, request: &HostConsole) -> Verdict { self.otherwise(&(*request).into()) }
    /// May the caller know? By default: no.
    fn host_details(&self, request: &HostDetails) -> Verdict { self.otherwise(&(*request).into()) }
}

#[cfg(test)]
mod tests;
