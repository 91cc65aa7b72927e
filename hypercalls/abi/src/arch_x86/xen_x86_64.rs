//! `arch-x86/xen-x86_64.h`: a 64-bit x86 caller.

constants! {
    u32 {
        /// PV, `set_segment_base`: FS.
        SEGBASE_FS = 0;
        /// PV, `set_segment_base`: GS of user mode.
        SEGBASE_GS_USER = 1;
        /// PV, `set_segment_base`: GS of the kernel.
        SEGBASE_GS_KERNEL = 2;
        /// PV, `set_segment_base`: the selector in GS of user mode.
        SEGBASE_GS_USER_SEL = 3;
    }
}

layouts! {
    /// The processor's part of `vcpu_info`.
    struct ArchVcpuInfo = "arch_vcpu_info" {
        /// PV: address of the last page fault.
        cr2: u64,
        /// Padding, named by the header.
        padding: u64 = "pad",
    }
}
