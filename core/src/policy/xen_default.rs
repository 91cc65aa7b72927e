//! Xen's default: whoever is named may take part; one domain may be privileged over all.

use super::{Policy, Request, Verdict};
use crate::number::DomainId;

/// Xen's default policy (its "dummy" security module).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct XenDefault {
    privileged: Option<DomainId>,
}

impl XenDefault {
    /// The policy with one privileged domain, which may act on all.
    #[must_use]
    pub const fn with_privileged(domain: DomainId) -> Self {
        Self {
            privileged: Some(domain),
        }
    }

    /// Whether this domain may act on all.
    #[must_use]
    pub fn is_privileged(&self, domain: DomainId) -> bool {
        self.privileged == Some(domain)
    }
}

impl Policy for XenDefault {
    fn otherwise(&self, request: &Request) -> Verdict {
        if self.is_privileged(request.caller()) {
            Verdict::Allow
        } else {
            request.unprivileged()
        }
    }
}
