//! `arch-x86/xen-x86_32.h`: a 32-bit x86 caller. Its layouts are those of a 32-bit caller only.

layouts! {
    /// The registers of a vcpu.
    struct CpuUserRegs = "cpu_user_regs" {
        /// General register.
        ebx: u32,
        /// General register.
        ecx: u32,
        /// General register.
        edx: u32,
        /// General register.
        esi: u32,
        /// General register.
        edi: u32,
        /// General register.
        ebp: u32,
        /// General register.
        eax: u32,
        /// Of the hypervisor.
        error_code: u16,
        /// Of the hypervisor.
        entry_vector: u16,
        /// Where it goes on.
        eip: u32,
        /// Code segment.
        cs: u16,
        /// PV: events were masked.
        saved_upcall_mask: u8,
        /// Padding, named by the header.
        padding0: u8 = "_pad0",
        /// Flags.
        eflags: u32,
        /// Stack.
        esp: u32,
        /// Stack segment.
        ss: u16,
        /// Padding, named by the header.
        padding1: u16 = "_pad1",
        /// Extra segment.
        es: u16,
        /// Padding, named by the header.
        padding2: u16 = "_pad2",
        /// Data segment.
        ds: u16,
        /// Padding, named by the header.
        padding3: u16 = "_pad3",
        /// Extra segment.
        fs: u16,
        /// Padding, named by the header.
        padding4: u16 = "_pad4",
        /// Extra segment.
        gs: u16,
        /// Padding, named by the header.
        padding5: u16 = "_pad5",
    }

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
