//! `pmu.h`: `xenpmu_op`, by which a PV guest uses the processor's performance counters.

use crate::arch_x86::pmu::Arch;

constants! {
    u32 {
        /// The mode, and the version of this interface. Argument: [`Params`].
        XENPMU_mode_get = 0;
        /// Sets the mode. Argument: [`Params`].
        XENPMU_mode_set = 1;
        /// The features in use. Argument: [`Params`].
        XENPMU_feature_get = 2;
        /// Sets the features. Argument: [`Params`].
        XENPMU_feature_set = 3;
        /// Shares a page with the hypervisor. Argument: [`Params`], the page's frame in its value.
        XENPMU_init = 4;
        /// Takes it back. Argument: [`Params`].
        XENPMU_finish = 5;
        /// Loads the vector from the shared page. No argument.
        XENPMU_lvtpc_set = 6;
        /// Loads the cached registers into the processor. No argument.
        XENPMU_flush = 7;
        /// Major version of this interface.
        XENPMU_VER_MAJ = 0;
        /// Minor version of this interface.
        XENPMU_VER_MIN = 1;
        /// Nothing is counted.
        XENPMU_MODE_OFF = 0;
    }
}

flags! {
    /// Whom a guest may watch.
    struct PmuMode: u64 {
        /// Itself.
        SELF = 1 << 0, "XENPMU_MODE_SELF";
        /// Itself and, for a privileged guest, the hypervisor.
        HYPERVISOR = 1 << 1, "XENPMU_MODE_HV";
        /// Everyone; the samples go to a privileged guest.
        ALL = 1 << 2, "XENPMU_MODE_ALL";
    }

    /// What of the counters a guest may use.
    struct PmuFeatures: u64 {
        /// Intel's branch trace store.
        INTEL_BRANCH_TRACE_STORE = 1 << 0, "XENPMU_FEATURE_INTEL_BTS";
        /// Cycles and instructions only.
        INSTRUCTIONS_PER_CYCLE_ONLY = 1 << 1, "XENPMU_FEATURE_IPC_ONLY";
        /// The architectural events only.
        ARCHITECTURAL_ONLY = 1 << 2, "XENPMU_FEATURE_ARCH_ONLY";
    }
}

layouts! {
    /// What each operation takes and gives.
    struct Params = "xen_pmu_params" {
        /// Major version of this interface.
        version_major: u32 = "version.maj",
        /// Minor version of this interface.
        version_minor: u32 = "version.min",
        /// [`PmuMode`], [`PmuFeatures`] or a frame.
        value: u64 = "val",
        /// Which vcpu's counters.
        vcpu: u32,
        /// Padding, named by the header.
        padding: u32 = "pad",
    }

    /// The shared page: one sample.
    struct Data = "xen_pmu_data" {
        /// The interrupted vcpu.
        vcpu_id: u32,
        /// The pcpu it was on; for an unprivileged guest the vcpu again.
        pcpu_id: u32,
        /// The interrupted domain; for an unprivileged guest always itself.
        domain_id: u16,
        /// Padding, named by the header.
        padding: [u8; 6] = "pad",
        /// The processor's state.
        arch: Arch = "pmu",
    }
}
