//! `hvm/params.h`: the parameters of an HVM or PVH domain, read and set by `hvm_op`.

constants! {
    u32 {
        /// How the domain is told of events, unless a vcpu has a vector of its own: type in bits 63:56
        /// (`HVM_PARAM_CALLBACK_TYPE_*`), the rest by type.
        HVM_PARAM_CALLBACK_IRQ = 0;
        /// Guest frame of the xenstore ring.
        HVM_PARAM_STORE_PFN = 1;
        /// Port of the xenstore ring.
        HVM_PARAM_STORE_EVTCHN = 2;
        /// The guest may use PAE.
        HVM_PARAM_PAE_ENABLED = 4;
        /// Guest frame of the default device model's requests.
        HVM_PARAM_IOREQ_PFN = 5;
        /// Guest frame of its buffered requests.
        HVM_PARAM_BUFIOREQ_PFN = 6;
        /// [`ViridianFlags`]: which enlightenments of Windows are shown.
        HVM_PARAM_VIRIDIAN = 9;
        /// How missed timer ticks are made up: `HVMPTM_*`.
        HVM_PARAM_TIMER_MODE = 10;
        /// There is an HPET.
        HVM_PARAM_HPET_ENABLED = 11;
        /// Guest address of a page with an identity page table, for real mode without unrestricted guests.
        HVM_PARAM_IDENT_PT = 12;
        /// The domain of the device model.
        HVM_PARAM_DM_DOMAIN = 13;
        /// ACPI sleep state.
        HVM_PARAM_ACPI_S_STATE = 14;
        /// Guest address of a task state segment, for the same purpose.
        HVM_PARAM_VM86_TSS = 15;
        /// Align timers that have the same period.
        HVM_PARAM_VPT_ALIGN = 16;
        /// Guest frame of the console ring.
        HVM_PARAM_CONSOLE_PFN = 17;
        /// Port of the console ring.
        HVM_PARAM_CONSOLE_EVTCHN = 18;
        /// Which I/O ports ACPI has: 0 the first, 1 the second layout.
        HVM_PARAM_ACPI_IOPORTS_LOCATION = 19;
        /// Removed.
        HVM_PARAM_MEMORY_EVENT_CR0 = 20;
        /// Removed.
        HVM_PARAM_MEMORY_EVENT_CR3 = 21;
        /// Removed.
        HVM_PARAM_MEMORY_EVENT_CR4 = 22;
        /// Removed.
        HVM_PARAM_MEMORY_EVENT_INT3 = 23;
        /// The guest may run guests.
        HVM_PARAM_NESTEDHVM = 24;
        /// Removed.
        HVM_PARAM_MEMORY_EVENT_SINGLE_STEP = 25;
        /// Port of the buffered requests.
        HVM_PARAM_BUFIOREQ_EVTCHN = 26;
        /// Guest frame of the paging ring.
        HVM_PARAM_PAGING_RING_PFN = 27;
        /// Guest frame of the monitor ring.
        HVM_PARAM_MONITOR_RING_PFN = 28;
        /// Guest frame of the sharing ring.
        HVM_PARAM_SHARING_RING_PFN = 29;
        /// Removed.
        HVM_PARAM_MEMORY_EVENT_MSR = 30;
        /// What a triple fault is taken for: `SHUTDOWN_*`.
        HVM_PARAM_TRIPLE_FAULT_REASON = 31;
        /// First guest frame for ioreq servers.
        HVM_PARAM_IOREQ_SERVER_PFN = 32;
        /// Number of them.
        HVM_PARAM_NR_IOREQ_SERVER_PAGES = 33;
        /// Guest address of the generation identifier.
        HVM_PARAM_VM_GENERATION_ID_ADDR = 34;
        /// Who may use alternative second-stage tables: `XEN_ALTP2M_*`.
        HVM_PARAM_ALTP2M = 35;
        /// Width of the x87 instruction pointer that is saved: 8, 4 or 0 for automatic.
        HVM_PARAM_X87_FIP_WIDTH = 36;
        /// As [`HVM_PARAM_VM86_TSS`], with the size in bits 63:32.
        HVM_PARAM_VM86_TSS_SIZED = 37;
        /// [`McaCapabilities`].
        HVM_PARAM_MCA_CAP = 38;
        /// Number of parameters.
        HVM_NR_PARAMS = 39;

        /// Callback by a global system interrupt, number in bits 31:0; 0 for none.
        HVM_PARAM_CALLBACK_TYPE_GSI = 0;
        /// Callback by a PCI interrupt line: segment in bits 47:32, bus 31:16, device and function 15:8, line 1:0.
        HVM_PARAM_CALLBACK_TYPE_PCI_INTX = 1;
        /// Callback by a vector in bits 7:0, without the local APIC.
        HVM_PARAM_CALLBACK_TYPE_VECTOR = 2;

        /// Ticks are delivered one by one, time is delayed with them.
        HVMPTM_delay_for_missed_ticks = 0;
        /// Ticks are delivered one by one, time is not delayed.
        HVMPTM_no_delay_for_missed_ticks = 1;
        /// Missed ticks are dropped, time is not delayed.
        HVMPTM_no_missed_ticks_pending = 2;
        /// Missed ticks become one, time is not delayed.
        HVMPTM_one_missed_tick_pending = 3;
    }
    u64 {
        /// The bits of [`HVM_PARAM_CALLBACK_IRQ`] that hold the type.
        HVM_PARAM_CALLBACK_IRQ_TYPE_MASK = 0xff << 56;
        /// Nobody.
        XEN_ALTP2M_disabled = 0;
        /// The guest and others.
        XEN_ALTP2M_mixed = 1;
        /// Others.
        XEN_ALTP2M_external = 2;
        /// Others; the guest may only switch tables and ask for notification.
        XEN_ALTP2M_limited = 3;
    }
}

flags! {
    /// Enlightenments of Windows.
    struct ViridianFlags: u64 {
        /// The basic set, and clock frequencies.
        BASE_FREQ = 1 << 0, "HVMPV_base_freq";
        /// Without the clock frequencies.
        NO_FREQ = 1 << 1, "HVMPV_no_freq";
        /// The reference counter.
        TIME_REF_COUNT = 1 << 2, "HVMPV_time_ref_count";
        /// The reference page of the time stamp counter.
        REFERENCE_TSC = 1 << 3, "HVMPV_reference_tsc";
        /// Remote flushes by hypercall.
        HCALL_REMOTE_TLB_FLUSH = 1 << 4, "HVMPV_hcall_remote_tlb_flush";
        /// Help for ends of interrupts.
        APIC_ASSIST = 1 << 5, "HVMPV_apic_assist";
        /// Registers that report a crash.
        CRASH_CTL = 1 << 6, "HVMPV_crash_ctl";
        /// Synthetic interrupts.
        SYNIC = 1 << 7, "HVMPV_synic";
        /// Synthetic timers.
        STIMER = 1 << 8, "HVMPV_stimer";
        /// Interprocessor interrupts by hypercall.
        HCALL_IPI = 1 << 9, "HVMPV_hcall_ipi";
        /// Extended sets of processors.
        EX_PROCESSOR_MASKS = 1 << 10, "HVMPV_ex_processor_masks";
        /// More than 64 processors.
        NO_VP_LIMIT = 1 << 11, "HVMPV_no_vp_limit";
        /// Processors may come.
        CPU_HOTPLUG = 1 << 12, "HVMPV_cpu_hotplug";
        /// All of them.
        ALL = (1 << 13) - 1, "HVMPV_feature_mask";
    }

    /// Machine checks a guest sees.
    struct McaCapabilities: u64 {
        /// Those of one processor only.
        LMCE = 1 << 0, "XEN_HVM_MCA_CAP_LMCE";
        /// All that exist.
        ALL = 1 << 0, "XEN_HVM_MCA_CAP_MASK";
    }
}
