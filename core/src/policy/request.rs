//! What can be asked: one structure for each act, with who asks, whom it concerns, and the arguments.
//!
//! [`Request`] is any of them, [`Act`] its name without arguments. The list below is the only one: whoever adds an act
//! adds a line, and the compiler asks for the rest.

mod control;
mod event;
mod grant;
mod memory;

pub use control::{
    DomainManage, HostConsole, HostDetails, HostManage, ParameterRead, ParameterWrite, PinVcpu,
    RemoteShutdown,
};
pub use event::{EventAlloc, EventBind, EventReset, EventSend, EventStatus};
pub use grant::{GrantCopy, GrantMap, GrantQuery, GrantSetup, GrantTransfer};
pub use memory::{
    Change, MemoryBuild, MemoryMapSet, MemoryQuery, MemoryReserve, PhysmapAdd, PhysmapForeign, PhysmapRemove,
};

use super::{Policy, Verdict};
use crate::number::DomainId;

/// What Xen asks for when nobody has configured anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Nothing: the other side has named the caller, which is enough.
    Nothing,
    /// To act on oneself, or privilege.
    Oneself,
    /// Privilege.
    Privilege,
}

macro_rules! acts {
    ($($act:ident, $method:ident($caller:ident, $target:ident), $needs:ident, $words:literal;)*) => {
        /// The name of an act.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[expect(missing_docs, reason = "each is documented where its request is")]
        pub enum Act {
            $($act,)*
        }

        impl Act {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$act,)*];

            /// What it is, in words that go on from "denied".
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$act => $words,)*
                }
            }

            /// What Xen asks for.
            #[must_use]
            pub const fn needs(self) -> Needs {
                match self {
                    $(Self::$act => Needs::$needs,)*
                }
            }
        }

        /// Any request.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "each is documented where its structure is")]
        pub enum Request {
            $($act($act),)*
        }

        impl Request {
            /// Its act.
            #[must_use]
            pub const fn act(&self) -> Act {
                match self {
                    $(Self::$act(_) => Act::$act,)*
                }
            }

            /// Who asks.
            #[must_use]
            pub const fn caller(&self) -> DomainId {
                match self {
                    $(Self::$act(request) => request.$caller,)*
                }
            }

            /// Whom it concerns: the caller itself where it concerns the host.
            #[must_use]
            pub const fn target(&self) -> DomainId {
                match self {
                    $(Self::$act(request) => request.$target,)*
                }
            }

            /// Asks a policy, by the method for this act.
            pub fn ask(&self, policy: &(impl Policy + ?Sized)) -> Verdict {
                match self {
                    $(Self::$act(request) => policy.$method(request),)*
                }
            }
        }

        $(impl From<$act> for Request {
            fn from(request: $act) -> Self {
                Self::$act(request)
            }
        })*
    };
}

#[rustfmt::skip]
acts! {
    EventAlloc,     event_alloc(caller, owner),       Oneself,   "to open a port";
    EventBind,      event_bind(caller, remote),       Nothing,   "to bind to a port";
    EventSend,      event_send(caller, remote),       Nothing,   "to send an event";
    EventStatus,    event_status(caller, owner),      Oneself,   "to look at a port";
    EventReset,     event_reset(caller, owner),       Oneself,   "to reset ports";
    GrantMap,       grant_map(grantee, granter),      Nothing,   "to map a grant";
    GrantCopy,      grant_copy(caller, source),       Nothing,   "to copy by grants";
    GrantTransfer,  grant_transfer(caller, recipient), Nothing,  "to transfer a frame";
    GrantQuery,     grant_query(caller, owner),       Oneself,   "to look at a grant table";
    GrantSetup,     grant_setup(caller, owner),       Oneself,   "to set up a grant table";
    MemoryReserve,  memory_reserve(caller, target),   Oneself,   "to change a reservation";
    MemoryQuery,    memory_query(caller, target),     Oneself,   "to ask about memory";
    MemoryMapSet,   memory_map_set(caller, target),   Oneself,   "to set a memory map";
    MemoryBuild,    memory_build(caller, target),     Privilege, "to provide for a domain's memory";
    PhysmapAdd,     physmap_add(caller, target),      Oneself,   "to place frames";
    PhysmapForeign, physmap_foreign(caller, owner),   Privilege, "to place frames of another";
    PhysmapRemove,  physmap_remove(caller, target),   Oneself,   "to take frames away";
    ParameterRead,  parameter_read(caller, target),   Oneself,   "to read a parameter";
    ParameterWrite, parameter_write(caller, target),  Oneself,   "to write a parameter";
    RemoteShutdown, remote_shutdown(caller, target),  Privilege, "to shut a domain down";
    PinVcpu,        pin_vcpu(caller, caller),         Privilege, "to pin a vcpu to a processor";
    DomainManage,   domain_manage(caller, target),    Privilege, "to manage a domain";
    HostManage,     host_manage(caller, caller),      Privilege, "to manage the host";
    HostConsole,    host_console(caller, caller),     Privilege, "to use the console of the host";
    HostDetails,    host_details(caller, caller),     Privilege, "to know how the host was built";
}

impl Request {
    /// Xen's answer to a caller without privilege.
    #[must_use]
    pub fn unprivileged(&self) -> Verdict {
        match self.act().needs() {
            Needs::Nothing => Verdict::Allow,
            Needs::Oneself if self.caller() == self.target() => Verdict::Allow,
            Needs::Oneself => Verdict::Deny("only a privileged domain may act on another"),
            Needs::Privilege => Verdict::Deny("only a privileged domain may"),
        }
    }
}
