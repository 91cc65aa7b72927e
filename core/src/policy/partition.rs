//! Only what was declared: who may signal whom, and who may use whose memory.

use alloc::vec::Vec;

use super::{EventAlloc, EventBind, EventSend, GrantCopy, GrantMap, GrantTransfer};
use super::{Policy, Request, Verdict};
use crate::machine::Access;
use crate::number::DomainId;

/// Domains that do to each other what was declared before they ran, and nothing else.
///
/// Nobody is privileged. What a domain does to itself is as with [`XenDefault`](super::XenDefault).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StaticPartition {
    /// Pairs that may signal each other.
    channels: Vec<(DomainId, DomainId)>,
    shares: Vec<Share>,
}

/// What one domain may do with the pages of another that it is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Share {
    granter: DomainId,
    grantee: DomainId,
    access: Access,
}

impl StaticPartition {
    /// Nobody meets anybody.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            channels: Vec::new(),
            shares: Vec::new(),
        }
    }

    /// These two may have event channels between them.
    #[must_use]
    pub fn channel(mut self, one: DomainId, other: DomainId) -> Self {
        self.channels.push((one, other));
        self
    }

    /// The grantee may map, and copy from or to, what the granter offers it: to read it, or to write it as well.
    #[must_use]
    pub fn share(mut self, granter: DomainId, grantee: DomainId, access: Access) -> Self {
        self.shares.push(Share {
            granter,
            grantee,
            access,
        });
        self
    }

    /// The backend serves a device to the frontend: event channels between the two, and the frontend's pages, writable,
    /// for the backend.
    #[must_use]
    pub fn device(self, backend: DomainId, frontend: DomainId) -> Self {
        self.channel(backend, frontend)
            .share(frontend, backend, Access::ReadWrite)
    }

    fn signals(&self, one: DomainId, other: DomainId) -> Verdict {
        let declared = |&(a, b): &(DomainId, DomainId)| (a, b) == (one, other) || (b, a) == (one, other);
        Verdict::allow_if(
            one == other || self.channels.iter().any(declared),
            "the description declares no channel between the two domains",
        )
    }

    fn uses(&self, grantee: DomainId, granter: DomainId, access: Access) -> Verdict {
        let declared = |share: &Share| {
            (share.granter, share.grantee) == (granter, grantee)
                && (share.access == Access::ReadWrite || access == Access::Read)
        };
        let reason = match access {
            Access::Read => "the description declares no pages that the one shares with the other",
            Access::ReadWrite => {
                "the description declares no writable pages that the one shares with the other"
            }
        };
        Verdict::allow_if(grantee == granter || self.shares.iter().any(declared), reason)
    }
}

impl Policy for StaticPartition {
    fn otherwise(&self, request: &Request) -> Verdict {
        let to_itself = request.caller() == request.target();
        request.unprivileged().and(Verdict::allow_if(
            to_itself,
            "the description declares nothing of the kind",
        ))
    }

    fn event_alloc(&self, request: &EventAlloc) -> Verdict {
        self.signals(request.owner, request.remote)
            .and(Request::from(*request).unprivileged())
    }

    fn event_bind(&self, request: &EventBind) -> Verdict {
        self.signals(request.caller, request.remote)
    }

    fn event_send(&self, request: &EventSend) -> Verdict {
        self.signals(request.caller, request.remote)
    }

    fn grant_map(&self, request: &GrantMap) -> Verdict {
        self.uses(request.grantee, request.granter, request.access)
    }

    fn grant_copy(&self, request: &GrantCopy) -> Verdict {
        // Whoever may read the one and write the other could carry it across by itself.
        self.uses(request.caller, request.source, Access::Read)
            .and(self.uses(request.caller, request.destination, Access::ReadWrite))
    }

    fn grant_transfer(&self, request: &GrantTransfer) -> Verdict {
        Verdict::allow_if(
            request.caller == request.recipient,
            "frames stay in their partition",
        )
    }
}
