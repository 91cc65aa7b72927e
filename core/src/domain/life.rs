//! The life of a domain, and why it ended.
//!
//! ```text
//!   Built ──> Running ──> ShutDown(reason) ──> Dying ──> Gone
//!     │          │ ^            │                ^
//!     │          │ └── resume ──┘                │
//!     └──────────┴───────────────────────────────┘
//! ```

/// Where a domain is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// It is built; no vcpu has run.
    Built,
    /// It runs.
    Running,
    /// It has ended: no vcpu runs any more, its memory is still there.
    ShutDown(Reason),
    /// It is being taken apart.
    Dying,
    /// Nothing of it is left.
    Gone,
}

/// What a guest that had asked to be suspended hears when it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SuspendResult {
    /// It was saved, and has been restored: everything around it is new.
    Restored,
    /// It was not: everything is as it was.
    Cancelled,
}

/// Why a domain shut down. Public header `sched.h`, `SHUTDOWN_*`; a crash says more in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It is done.
    PowerOff,
    /// It wants to start anew.
    Reboot,
    /// It wants to be saved.
    Suspend,
    /// It has crashed, or the hypervisor ended it.
    Crash,
    /// Its watchdog was not fed.
    Watchdog,
    /// It wants a new kernel in the same domain.
    SoftReset,
    /// A number without a meaning here; its builder may know it.
    Other(u8),
}

impl Reason {
    /// The reason with Xen's number.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::PowerOff,
            1 => Self::Reboot,
            2 => Self::Suspend,
            3 => Self::Crash,
            4 => Self::Watchdog,
            5 => Self::SoftReset,
            other => Self::Other(other),
        }
    }

    /// Xen's number.
    #[must_use]
    pub const fn raw(self) -> u8 {
        match self {
            Self::PowerOff => 0,
            Self::Reboot => 1,
            Self::Suspend => 2,
            Self::Crash => 3,
            Self::Watchdog => 4,
            Self::SoftReset => 5,
            Self::Other(raw) => raw,
        }
    }
}
