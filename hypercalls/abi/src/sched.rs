//! `sched.h`: `sched_op`, by which a guest gives up its processor or itself.

use crate::GuestHandle64;

constants! {
    u32 {
        /// Lets others run. No argument.
        SCHEDOP_yield = 0;
        /// Sleeps until an event is pending, and unmasks events. No argument.
        SCHEDOP_block = 1;
        /// Ends the domain. Argument: [`Shutdown`].
        SCHEDOP_shutdown = 2;
        /// Sleeps until one of some ports is pending. Argument: [`Poll`].
        SCHEDOP_poll = 3;
        /// Ends another domain. Argument: [`RemoteShutdown`].
        SCHEDOP_remote_shutdown = 4;
        /// Notes the reason of a shutdown that follows. Argument: [`Shutdown`].
        SCHEDOP_shutdown_code = 5;
        /// Sets, winds or stops a watchdog of the domain. Argument: [`Watchdog`].
        SCHEDOP_watchdog = 6;
        /// Pins the vcpu to a pcpu for a while. Argument: [`PinOverride`].
        SCHEDOP_pin_override = 7;

        /// The domain ended well.
        SHUTDOWN_poweroff = 0;
        /// The domain wants to be built again.
        SHUTDOWN_reboot = 1;
        /// The domain is quiet and may be saved.
        SHUTDOWN_suspend = 2;
        /// The domain failed.
        SHUTDOWN_crash = 3;
        /// A watchdog of the domain ran out.
        SHUTDOWN_watchdog = 4;
        /// The domain wants to begin anew in its own memory.
        SHUTDOWN_soft_reset = 5;
        /// The highest reason there is.
        SHUTDOWN_MAX = 5;
    }
}

layouts! {
    /// Why a domain ends.
    struct Shutdown = "sched_shutdown" {
        /// `SHUTDOWN_*`.
        reason: u32,
    }

    /// Ports to sleep on.
    struct Poll = "sched_poll" {
        /// Array of ports.
        ports: GuestHandle64,
        /// Number of ports.
        nr_ports: u32,
        /// Padding.
        padding: u32 = "",
        /// Absolute system time in nanoseconds at which to wake anyway; 0 for never.
        timeout: u64,
    }

    /// Which domain ends, and why.
    struct RemoteShutdown = "sched_remote_shutdown" {
        /// The domain.
        domain_id: u16,
        /// Padding.
        padding: u16 = "",
        /// `SHUTDOWN_*`.
        reason: u32,
    }

    /// A watchdog.
    struct Watchdog = "sched_watchdog" {
        /// Which; 0 asks for a new one.
        id: u32,
        /// Seconds until it bites; 0 stops it.
        timeout: u32,
    }

    /// Where a vcpu shall run.
    struct PinOverride = "sched_pin_override" {
        /// The pcpu; negative undoes the pinning.
        pcpu: i32,
    }
}

/// Layouts of a 32-bit caller.
pub mod compat {
    use crate::{CompatU64, GuestHandle32};

    layouts! {
        /// As [`super::Poll`].
        struct Poll = "sched_poll" {
            /// Array of ports.
            ports: GuestHandle32,
            /// Number of ports.
            nr_ports: u32,
            /// Absolute system time in nanoseconds at which to wake anyway; 0 for never.
            timeout: CompatU64,
        }
    }
}
