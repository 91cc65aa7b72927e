//! `arch-x86/xen-x86_32.h`: a 32-bit x86 caller. Its layouts are those of a 32-bit caller only.

layouts! {
    /// The processor's part of `vcpu_info`.
    struct ArchVcpuInfo = "arch_vcpu_info" {
        /// PV: address of the last page fault.
        cr2: u32,
        /// Padding, named by the header.
        padding: [u32; 5] = "pad",
    }

    /// PV: an entry point.
    struct Callback = "xen_callback" {
        /// Its segment.
        cs: u32,
        /// Its offset.
        eip: u32,
    }
}
