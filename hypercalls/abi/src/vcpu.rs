//! `vcpu.h`: `vcpu_op`, by which a guest starts, stops and watches its vcpus.

use crate::GuestHandle64;

constants! {
    u32 {
        /// Gives a vcpu its first state. Argument: [`crate::hvm::hvm_vcpu::Context`], or a PV context.
        VCPUOP_initialise = 0;
        /// Lets a vcpu run. No argument.
        VCPUOP_up = 1;
        /// Stops a vcpu. No argument.
        VCPUOP_down = 2;
        /// Asks whether a vcpu may run. No argument; the result is 1 or 0.
        VCPUOP_is_up = 3;
        /// Reads where a vcpu's time went. Argument: [`RunstateInfo`].
        VCPUOP_get_runstate_info = 4;
        /// Has the same kept up to date in guest memory. Argument: [`RegisterRunstateMemoryArea`].
        VCPUOP_register_runstate_memory_area = 5;
        /// Raises the timer event periodically. Argument: [`SetPeriodicTimer`].
        VCPUOP_set_periodic_timer = 6;
        /// Stops that. No argument.
        VCPUOP_stop_periodic_timer = 7;
        /// Raises the timer event once. Argument: [`SetSingleshotTimer`].
        VCPUOP_set_singleshot_timer = 8;
        /// Stops that. No argument.
        VCPUOP_stop_singleshot_timer = 9;
        /// Moves a vcpu's `vcpu_info` to memory of the guest's choice. Argument: [`RegisterVcpuInfo`].
        VCPUOP_register_vcpu_info = 10;
        /// Sends a non-maskable interrupt to a vcpu. No argument.
        VCPUOP_send_nmi = 11;
        /// Asks on which pcpu a pinned vcpu runs. Argument: [`GetPhysid`].
        VCPUOP_get_physid = 12;
        /// Has the time of a vcpu kept up to date in a second place. Argument: [`RegisterTimeMemoryArea`].
        VCPUOP_register_vcpu_time_memory_area = 13;

        /// The vcpu is running on a pcpu.
        RUNSTATE_running = 0;
        /// The vcpu could run, but no pcpu runs it.
        RUNSTATE_runnable = 1;
        /// The vcpu waits for an event.
        RUNSTATE_blocked = 2;
        /// The vcpu cannot run: it is down, or paused.
        RUNSTATE_offline = 3;
    }
    u64 {
        /// Bit of `state_entry_time` that is set while the hypervisor changes the record, for a guest that
        /// asked for it ([`crate::xen::VMASST_TYPE_runstate_update_flag`]).
        XEN_RUNSTATE_UPDATE = 1 << 63;
    }
}

flags! {
    /// How to set a one-shot timer.
    struct SingleshotTimerFlags: u32 {
        /// Fail with `ETIME` if the time is past.
        FUTURE = 1 << 0, "VCPU_SSHOTTMR_future";
    }
}

layouts! {
    /// Where a vcpu's time went.
    struct RunstateInfo = "vcpu_runstate_info" {
        /// `RUNSTATE_*`: what it does now.
        state: i32,
        /// Padding.
        padding: u32 = "",
        /// System time in nanoseconds at which it began to.
        state_entry_time: u64,
        /// Nanoseconds spent in each state up to then.
        time: [u64; 4],
    }

    /// Where to keep a [`RunstateInfo`].
    struct RegisterRunstateMemoryArea = "vcpu_register_runstate_memory_area" {
        /// Its linear address.
        addr: GuestHandle64,
    }

    /// A periodic timer.
    struct SetPeriodicTimer = "vcpu_set_periodic_timer" {
        /// Nanoseconds between two events.
        period_ns: u64,
    }

    /// A one-shot timer.
    struct SetSingleshotTimer = "vcpu_set_singleshot_timer" {
        /// Absolute system time in nanoseconds.
        timeout_abs_ns: u64,
        /// [`SingleshotTimerFlags`].
        flags: u32,
        /// Padding.
        padding: u32 = "",
    }

    /// Where to keep a `vcpu_info`.
    struct RegisterVcpuInfo = "vcpu_register_vcpu_info" {
        /// The frame, as the guest numbers frames.
        mfn: u64,
        /// Offset in the frame, in bytes.
        offset: u32,
        /// Unused.
        rsvd: u32,
    }

    /// The pcpu of a pinned vcpu.
    struct GetPhysid = "vcpu_get_physid" {
        /// Its APIC id in bits 31:0, its ACPI id in bits 63:32.
        phys_id: u64,
    }

    /// Where to keep a second `vcpu_time_info`.
    struct RegisterTimeMemoryArea = "vcpu_register_time_memory_area" {
        /// Its linear address.
        addr: GuestHandle64,
    }
}

/// Layouts of a 32-bit caller.
pub mod compat {
    use crate::CompatU64;

    layouts! {
        /// As [`super::RunstateInfo`].
        struct RunstateInfo = "vcpu_runstate_info" {
            /// `RUNSTATE_*`: what the vcpu does now.
            state: i32,
            /// System time in nanoseconds at which it began to.
            state_entry_time: CompatU64,
            /// Nanoseconds spent in each state up to then.
            time: [CompatU64; 4],
        }

        /// As [`super::RegisterRunstateMemoryArea`]; the address is its low half.
        struct RegisterRunstateMemoryArea = "vcpu_register_runstate_memory_area" {
            /// Linear address of a [`RunstateInfo`].
            addr: CompatU64,
        }

        /// As [`super::SetSingleshotTimer`].
        struct SetSingleshotTimer = "vcpu_set_singleshot_timer" {
            /// Absolute system time in nanoseconds.
            timeout_abs_ns: CompatU64,
            /// [`super::SingleshotTimerFlags`].
            flags: u32,
        }
    }
}
