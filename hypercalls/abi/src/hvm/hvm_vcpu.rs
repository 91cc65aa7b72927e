//! `hvm/hvm_vcpu.h`: the state in which a vcpu of an HVM or PVH guest starts.

constants! {
    u32 {
        /// Without long mode: [`X86_32`].
        VCPU_HVM_MODE_32B = 0;
        /// In long mode: [`X86_64`].
        VCPU_HVM_MODE_64B = 1;
    }
}

layouts! {
    /// Registers of a vcpu that starts without long mode. Segment attributes are in VMX's form with the
    /// unusable bit; selectors start as 0.
    struct X86_32 = "vcpu_hvm_x86_32" {
        /// General register.
        eax: u32,
        /// General register.
        ecx: u32,
        /// General register.
        edx: u32,
        /// General register.
        ebx: u32,
        /// General register.
        esp: u32,
        /// General register.
        ebp: u32,
        /// General register.
        esi: u32,
        /// General register.
        edi: u32,
        /// Where it starts.
        eip: u32,
        /// Flags.
        eflags: u32,
        /// Control register.
        cr0: u32,
        /// Control register.
        cr3: u32,
        /// Control register.
        cr4: u32,
        /// Padding, named by the header.
        padding1: u32 = "pad1",
        /// Extended features; long mode must be off.
        efer: u64,
        /// Code segment, base.
        cs_base: u32,
        /// Data segment, base.
        ds_base: u32,
        /// Stack segment, base.
        ss_base: u32,
        /// Extra segment, base.
        es_base: u32,
        /// Task segment, base.
        tr_base: u32,
        /// Code segment, limit.
        cs_limit: u32,
        /// Data segment, limit.
        ds_limit: u32,
        /// Stack segment, limit.
        ss_limit: u32,
        /// Extra segment, limit.
        es_limit: u32,
        /// Task segment, limit.
        tr_limit: u32,
        /// Code segment, attributes.
        cs_ar: u16,
        /// Data segment, attributes.
        ds_ar: u16,
        /// Stack segment, attributes.
        ss_ar: u16,
        /// Extra segment, attributes.
        es_ar: u16,
        /// Task segment, attributes.
        tr_ar: u16,
        /// Padding, named by the header.
        padding2: [u16; 3] = "pad2",
    }

    /// Registers of a vcpu that starts in long mode, with flat segments.
    struct X86_64 = "vcpu_hvm_x86_64" {
        /// General register.
        rax: u64,
        /// General register.
        rcx: u64,
        /// General register.
        rdx: u64,
        /// General register.
        rbx: u64,
        /// General register.
        rsp: u64,
        /// General register.
        rbp: u64,
        /// General register.
        rsi: u64,
        /// General register.
        rdi: u64,
        /// Where it starts.
        rip: u64,
        /// Flags.
        rflags: u64,
        /// Control register.
        cr0: u64,
        /// Control register.
        cr3: u64,
        /// Control register.
        cr4: u64,
        /// Extended features.
        efer: u64,
    }

    /// The state in which a vcpu starts.
    struct Context = "vcpu_hvm_context" {
        /// `VCPU_HVM_MODE_*`.
        mode: u32,
        /// Padding, named by the header.
        padding: u32 = "pad",
        /// By `mode`: the bytes of an [`X86_32`] or an [`X86_64`].
        cpu_regs: [u64; 15],
    }
}
