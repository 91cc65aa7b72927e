//! Policies for guests that must not meet: [`Silo`] for all, [`Partition`] for all but declared pairs.

use alloc::vec::Vec;

use super::{EventAlloc, EventBind, EventSend, GrantCopy, GrantMap, Policy, Verdict};
use crate::number::DomainId;

/// No two unprivileged domains may communicate; with the privileged one (if there is one) each may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Silo {
    hub: Option<DomainId>,
}

impl Silo {
    /// Silos around a hub with which each may talk.
    #[must_use]
    pub const fn around(hub: DomainId) -> Self {
        Self { hub: Some(hub) }
    }

    fn pair(&self, one: DomainId, other: DomainId) -> Verdict {
        if one == other || self.hub == Some(one) || self.hub == Some(other) {
            Verdict::Allow
        } else {
            Verdict::Deny("the two domains are kept apart")
        }
    }
}

impl Policy for Silo {
    fn event_alloc(&self, request: &EventAlloc) -> Verdict {
        self.pair(request.owner, request.remote)
    }

    fn event_bind(&self, request: &EventBind) -> Verdict {
        self.pair(request.caller, request.remote)
    }

    fn event_send(&self, request: &EventSend) -> Verdict {
        self.pair(request.caller, request.remote)
    }

    fn grant_map(&self, request: &GrantMap) -> Verdict {
        self.pair(request.grantee, request.granter)
    }

    fn grant_copy(&self, request: &GrantCopy) -> Verdict {
        self.pair(request.caller, request.source)
            .and(self.pair(request.caller, request.destination))
            .and(self.pair(request.source, request.destination))
    }
}

/// Only pairs that were declared may communicate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Partition {
    pairs: Vec<(DomainId, DomainId)>,
}

impl Partition {
    /// Nobody meets anybody.
    #[must_use]
    pub const fn new() -> Self {
        Self { pairs: Vec::new() }
    }

    /// These two may.
    #[must_use]
    pub fn allow(mut self, one: DomainId, other: DomainId) -> Self {
        self.pairs.push((one, other));
        self
    }

    fn pair(&self, one: DomainId, other: DomainId) -> Verdict {
        let declared = |&(a, b): &(DomainId, DomainId)| (a, b) == (one, other) || (b, a) == (one, other);
        if one == other || self.pairs.iter().any(declared) {
            Verdict::Allow
        } else {
            Verdict::Deny("the description declares no channel between the two domains")
        }
    }
}

impl Policy for Partition {
    fn event_alloc(&self, request: &EventAlloc) -> Verdict {
        self.pair(request.owner, request.remote)
            .and(super::only_self(request.caller, request.owner))
    }

    fn event_bind(&self, request: &EventBind) -> Verdict {
        self.pair(request.caller, request.remote)
    }

    fn event_send(&self, request: &EventSend) -> Verdict {
        self.pair(request.caller, request.remote)
    }

    fn grant_map(&self, request: &GrantMap) -> Verdict {
        self.pair(request.grantee, request.granter)
    }

    fn grant_copy(&self, request: &GrantCopy) -> Verdict {
        self.pair(request.caller, request.source)
            .and(self.pair(request.caller, request.destination))
            .and(self.pair(request.source, request.destination))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Access;

    const A: DomainId = DomainId::new(1);
    const B: DomainId = DomainId::new(2);
    const C: DomainId = DomainId::new(3);

    #[test]
    fn a_silo_lets_each_talk_to_the_hub_only() {
        let policy = Silo::around(A);
        assert_eq!(
            policy.event_send(&EventSend { caller: B, remote: A }),
            Verdict::Allow
        );
        assert!(matches!(
            policy.event_send(&EventSend { caller: B, remote: C }),
            Verdict::Deny(_)
        ));
    }

    #[test]
    fn a_partition_allows_declared_pairs_in_both_directions() {
        let policy = Partition::new().allow(A, B);
        let map = |grantee, granter| {
            policy.grant_map(&GrantMap {
                grantee,
                granter,
                access: Access::Read,
            })
        };
        assert_eq!((map(A, B), map(B, A)), (Verdict::Allow, Verdict::Allow));
        assert!(matches!(map(A, C), Verdict::Deny(_)));
    }

    #[test]
    fn a_pair_of_policies_allows_what_both_allow() {
        let both = (Partition::new().allow(A, B), Silo::default());
        assert!(matches!(
            both.event_send(&EventSend { caller: A, remote: B }),
            Verdict::Deny(_)
        ));
    }

    #[test]
    fn a_copy_between_two_others_is_asked_about_on_all_sides() {
        let policy = Partition::new().allow(A, B).allow(A, C);
        let copy = GrantCopy {
            caller: A,
            source: B,
            destination: C,
        };
        assert!(matches!(policy.grant_copy(&copy), Verdict::Deny(_)));
    }
}
