//! `arch-x86/pmu.h`: the processor's part of a sample of the performance counters.

constants! {
    u32 {
        /// Bytes kept for [`Regs`].
        XENPMU_REGS_PAD_SZ = 64;
        /// Bytes kept for [`AmdContext`] and [`IntelContext`].
        XENPMU_CTXT_PAD_SZ = 128;
    }
}

flags! {
    /// What a sample is.
    struct PmuFlags: u64 {
        /// The counters' registers are in the context, and not loaded.
        CACHED = 1 << 0, "PMU_CACHED";
        /// Taken in user mode.
        USER = 1 << 1, "PMU_SAMPLE_USER";
        /// Taken in real mode.
        REAL_MODE = 1 << 2, "PMU_SAMPLE_REAL";
        /// Taken in a PV guest.
        PARAVIRTUAL = 1 << 3, "PMU_SAMPLE_PV";
    }
}

layouts! {
    /// AMD's counters: where they are.
    struct AmdContext = "xen_pmu_amd_ctxt" {
        /// Offset in bytes of the counters, from the start of [`Arch`]'s context.
        counters: u32,
        /// Offset in bytes of their controls.
        controls: u32 = "ctrls",
        /// The counters follow.
        registers: [u64; 0] = "regs",
    }

    /// One of Intel's architectural counters.
    struct CounterPair = "xen_pmu_cntr_pair" {
        /// Its count.
        counter: u64,
        /// Its control.
        control: u64,
    }

    /// Intel's counters: where they are, and the registers they share.
    struct IntelContext = "xen_pmu_intel_ctxt" {
        /// Offset in bytes of the fixed counters, from the start of [`Arch`]'s context.
        fixed_counters: u32,
        /// Offset in bytes of the architectural counters.
        arch_counters: u32,
        /// `IA32_PERF_GLOBAL_CTRL`.
        global_ctrl: u64,
        /// `IA32_PERF_GLOBAL_OVF_CTRL`.
        global_ovf_ctrl: u64,
        /// `IA32_PERF_GLOBAL_STATUS`.
        global_status: u64,
        /// `IA32_FIXED_CTR_CTRL`.
        fixed_ctrl: u64,
        /// `IA32_DS_AREA`.
        ds_area: u64,
        /// `IA32_PEBS_ENABLE`.
        pebs_enable: u64,
        /// `IA32_DEBUGCTL`.
        debugctl: u64,
        /// The counters follow.
        registers: [u64; 0] = "regs",
    }

    /// Where the sampled vcpu was.
    struct Regs = "xen_pmu_regs" {
        /// Instruction pointer.
        ip: u64,
        /// Stack pointer.
        sp: u64,
        /// Flags.
        flags: u64,
        /// Code segment.
        cs: u16,
        /// Stack segment.
        ss: u16,
        /// Privilege level.
        cpl: u8,
        /// Padding, named by the header.
        padding: [u8; 3] = "pad",
    }

    /// The processor's state when a counter ran over.
    struct Arch = "xen_pmu_arch" {
        /// [`Regs`], and room for more of them.
        regs: [u64; 8] = "r",
        /// [`PmuFlags`].
        pmu_flags: u64,
        /// The local APIC's entry for the counters' interrupt, in bits 31:0.
        lapic_lvtpc: u64 = "l",
        /// [`AmdContext`] or [`IntelContext`].
        context: [u64; 16] = "c",
    }
}
