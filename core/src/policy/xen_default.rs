//! Xen's default: whoever is named may take part; one domain may be privileged over all.

use super::{Control, EventAlloc, Policy, Verdict};
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
}

/// Answers a request without knowing of any privilege.
struct Unprivileged;

impl Policy for Unprivileged {}

impl Policy for XenDefault {
    fn event_alloc(&self, request: &EventAlloc) -> Verdict {
        if self.privileged == Some(request.caller) {
            return Verdict::Allow;
        }
        Unprivileged.event_alloc(request)
    }

    fn control(&self, request: &Control) -> Verdict {
        if self.privileged == Some(request.caller) {
            return Verdict::Allow;
        }
        Unprivileged.control(request)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Act;
    use super::*;

    fn control(caller: u16, target: u16, act: Act) -> Control {
        Control {
            caller: DomainId::new(caller),
            target: DomainId::new(target),
            act,
        }
    }

    #[test]
    fn without_privilege_a_domain_acts_on_itself_alone() {
        let policy = XenDefault::default();
        assert_eq!(policy.control(&control(1, 1, Act::Memory)), Verdict::Allow);
        assert!(matches!(
            policy.control(&control(1, 2, Act::Memory)),
            Verdict::Deny(_)
        ));
        assert!(matches!(
            policy.control(&control(1, 1, Act::HostConsole)),
            Verdict::Deny(_)
        ));
    }

    #[test]
    fn the_privileged_domain_acts_on_all() {
        let policy = XenDefault::with_privileged(DomainId::new(0));
        assert_eq!(policy.control(&control(0, 2, Act::Shutdown)), Verdict::Allow);
        assert!(matches!(
            policy.control(&control(2, 0, Act::Shutdown)),
            Verdict::Deny(_)
        ));
    }
}
