//! `callback.h`: `callback_op`, by which a PV guest names its entry points.

constants! {
    u32 {
        /// Sets an entry point. Argument: [`Register`].
        CALLBACKOP_register = 0;
        /// Clears it. Argument: [`Unregister`].
        CALLBACKOP_unregister = 1;
    }
    u16 {
        /// An event is pending.
        CALLBACKTYPE_event = 0;
        /// Returning to the guest failed.
        CALLBACKTYPE_failsafe = 1;
        /// `SYSCALL` from 64-bit user mode.
        CALLBACKTYPE_syscall = 2;
        /// The first number of [`CALLBACKTYPE_sysenter`].
        CALLBACKTYPE_sysenter_deprecated = 3;
        /// A non-maskable interrupt.
        CALLBACKTYPE_nmi = 4;
        /// `SYSENTER`.
        CALLBACKTYPE_sysenter = 5;
        /// `SYSCALL` from 32-bit user mode.
        CALLBACKTYPE_syscall32 = 7;
    }
}

flags! {
    /// How an entry point is entered.
    struct CallbackFlags: u16 {
        /// With events masked.
        MASK_EVENTS = 1 << 0, "CALLBACKF_mask_events";
    }
}

layouts! {
    /// An entry point to set.
    struct Register = "callback_register" {
        /// `CALLBACKTYPE_*`.
        kind: u16 = "type",
        /// [`CallbackFlags`].
        flags: u16,
        /// Padding.
        padding: u32 = "",
        /// Its linear address.
        address: u64,
    }

    /// An entry point to clear.
    struct Unregister = "callback_unregister" {
        /// `CALLBACKTYPE_*`.
        kind: u16 = "type",
        /// Padding, named by the header.
        unused: u16 = "_unused",
    }
}

/// Layouts of a 32-bit caller.
pub mod compat {
    use crate::arch_x86::xen_x86_32::Callback;

    layouts! {
        /// As [`super::Register`].
        struct Register = "callback_register" {
            /// `CALLBACKTYPE_*`.
            kind: u16 = "type",
            /// [`super::CallbackFlags`].
            flags: u16,
            /// Its segment and offset.
            address: Callback,
        }
    }
}
