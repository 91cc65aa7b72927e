//! Domains that must not meet: Xen's SILO mode.

use super::{EventAlloc, EventBind, EventSend, GrantCopy, GrantMap, GrantTransfer};
use super::{Policy, Request, Verdict, XenDefault};
use crate::number::DomainId;

/// No two domains may communicate, except with the hub (if there is one), which is privileged.
///
/// Everything else is as with [`XenDefault`]. Xen asks for a copy whether source and destination may meet; here the
/// caller is asked about as well, so that nobody carries from one to the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Silo {
    hub: XenDefault,
}

impl Silo {
    /// Silos around a hub with which each may talk: the control domain.
    #[must_use]
    pub const fn around(hub: DomainId) -> Self {
        Self {
            hub: XenDefault::with_privileged(hub),
        }
    }

    fn pair(&self, one: DomainId, other: DomainId) -> Verdict {
        let meet = one == other || self.hub.is_privileged(one) || self.hub.is_privileged(other);
        Verdict::allow_if(meet, "the two domains are kept apart")
    }

    /// For what two domains have to do with each other, on behalf of the first.
    fn between(&self, request: Request, one: DomainId, other: DomainId) -> Verdict {
        self.pair(one, other).and(request.ask(&self.hub))
    }
}

impl Policy for Silo {
    fn otherwise(&self, request: &Request) -> Verdict {
        // Also what has no rule of its own is no way from one to the other.
        request
            .ask(&self.hub)
            .and(self.pair(request.caller(), request.target()))
    }

    fn event_alloc(&self, request: &EventAlloc) -> Verdict {
        self.between((*request).into(), request.owner, request.remote)
    }

    fn event_bind(&self, request: &EventBind) -> Verdict {
        self.between((*request).into(), request.caller, request.remote)
    }

    fn event_send(&self, request: &EventSend) -> Verdict {
        self.between((*request).into(), request.caller, request.remote)
    }

    fn grant_map(&self, request: &GrantMap) -> Verdict {
        self.between((*request).into(), request.grantee, request.granter)
    }

    fn grant_copy(&self, request: &GrantCopy) -> Verdict {
        self.between((*request).into(), request.caller, request.source)
            .and(self.pair(request.caller, request.destination))
    }

    fn grant_transfer(&self, request: &GrantTransfer) -> Verdict {
        self.between((*request).into(), request.caller, request.recipient)
    }
}
