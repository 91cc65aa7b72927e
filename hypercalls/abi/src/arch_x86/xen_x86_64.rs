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

flags! {
    /// More of [`crate::arch_x86::xen::ContextFlags`].
    struct ContextFlags: u64 {
        /// [`IretContext`]: return as from `SYSCALL`.
        IN_SYSCALL = 1 << 8, "VGCF_in_syscall";
    }
}

layouts! {
    /// PV: what a guest puts on its stack for `iret`.
    struct IretContext = "iret_context" {
        /// General register.
        rax: u64,
        /// General register.
        r11: u64,
        /// General register.
        rcx: u64,
        /// [`ContextFlags`].
        flags: u64,
        /// Where to go on.
        rip: u64,
        /// Code segment.
        cs: u64,
        /// Flags of the processor.
        rflags: u64,
        /// Stack.
        rsp: u64,
        /// Stack segment.
        ss: u64,
    }

    /// The registers of a vcpu.
    struct CpuUserRegs = "cpu_user_regs" {
        /// General register.
        r15: u64,
        /// General register.
        r14: u64,
        /// General register.
        r13: u64,
        /// General register.
        r12: u64,
        /// General register.
        rbp: u64,
        /// General register.
        rbx: u64,
        /// General register.
        r11: u64,
        /// General register.
        r10: u64,
        /// General register.
        r9: u64,
        /// General register.
        r8: u64,
        /// General register.
        rax: u64,
        /// General register.
        rcx: u64,
        /// General register.
        rdx: u64,
        /// General register.
        rsi: u64,
        /// General register.
        rdi: u64,
        /// Of the hypervisor.
        error_code: u32,
        /// Of the hypervisor.
        entry_vector: u32,
        /// Where it goes on.
        rip: u64,
        /// Code segment.
        cs: u16,
        /// Padding, named by the header.
        padding0: u16 = "_pad0",
        /// PV: events were masked.
        saved_upcall_mask: u8,
        /// Padding, named by the header.
        padding1: [u8; 3] = "_pad1",
        /// Flags.
        rflags: u64,
        /// Stack.
        rsp: u64,
        /// Stack segment.
        ss: u16,
        /// Padding, named by the header.
        padding2: [u16; 3] = "_pad2",
        /// Extra segment.
        es: u16,
        /// Padding, named by the header.
        padding3: [u16; 3] = "_pad3",
        /// Data segment.
        ds: u16,
        /// Padding, named by the header.
        padding4: [u16; 3] = "_pad4",
        /// Extra segment.
        fs: u16,
        /// Padding, named by the header.
        padding5: [u16; 3] = "_pad5",
        /// Extra segment.
        gs: u16,
        /// Padding, named by the header.
        padding6: [u16; 3] = "_pad6",
    }

    /// The processor's part of `vcpu_info`.
    struct ArchVcpuInfo = "arch_vcpu_info" {
        /// PV: address of the last page fault.
        cr2: u64,
        /// Padding, named by the header.
        padding: u64 = "pad",
    }
}
