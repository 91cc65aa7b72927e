//! `arch-x86/cpuid.h`: the CPUID leaves by which a guest knows that it runs on Xen.
//!
//! They begin at the first multiple of 0x100 from [`XEN_CPUID_FIRST_LEAF`] that nothing else uses; below, leaves
//! are counted from there.
//!
//! * 0: EAX highest leaf; EBX, ECX, EDX the signature.
//! * 1: EAX version, major in bits 31:16, minor in 15:0.
//! * 2: EAX number of hypercall pages; EBX the MSR that places them; ECX [`Features1`].
//! * 3, sub-leaf 0: EAX bit 0 emulated counter, 1 reliable counter, 2 `RDTSCP`; EBX mode of the counter; ECX its
//!   frequency in kHz; EDX how often the guest migrated. Sub-leaf 1: EAX, EBX offset of the counter; ECX multiplier
//!   and EDX shift to nanoseconds. Sub-leaf 2: EAX the host's frequency in kHz.
//! * 4 (HVM): EAX [`HvmFeatures`]; EBX vcpu; ECX domain.
//! * 5 (PV): EBX bits 7:0 width of machine addresses.

constants! {
    u32 {
        /// The first leaf that may be Xen's first.
        XEN_CPUID_FIRST_LEAF = 0x4000_0000;
        /// "XenV".
        XEN_CPUID_SIGNATURE_EBX = 0x566e_6558;
        /// "MMXe".
        XEN_CPUID_SIGNATURE_ECX = 0x6558_4d4d;
        /// "nVMM".
        XEN_CPUID_SIGNATURE_EDX = 0x4d4d_566e;
        /// Leaf 5, EBX: width of machine addresses in bits.
        XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK = 0xff;
        /// The highest leaf, counted from the first.
        XEN_CPUID_MAX_NUM_LEAVES = 5;
    }
}

flags! {
    /// Leaf 2, ECX.
    struct Features1: u32 {
        /// [`crate::xen::pv::MMU_PT_UPDATE_PRESERVE_AD`] works.
        MMU_PT_UPDATE_PRESERVE_AD = 1 << 0, "XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD";
    }

    /// Leaf 4, EAX.
    struct HvmFeatures: u32 {
        /// APIC registers are virtualized by the processor.
        APIC_ACCESS_VIRT = 1 << 0, "XEN_HVM_CPUID_APIC_ACCESS_VIRT";
        /// So are accesses in x2APIC mode.
        X2APIC_VIRT = 1 << 1, "XEN_HVM_CPUID_X2APIC_VIRT";
        /// Memory mapped from other domains can be reached by devices.
        IOMMU_MAPPINGS = 1 << 2, "XEN_HVM_CPUID_IOMMU_MAPPINGS";
        /// EBX has the number of the vcpu.
        VCPU_ID_PRESENT = 1 << 3, "XEN_HVM_CPUID_VCPU_ID_PRESENT";
        /// ECX has the number of the domain.
        DOMID_PRESENT = 1 << 4, "XEN_HVM_CPUID_DOMID_PRESENT";
        /// Destinations of interrupts may have 15 bits.
        EXT_DEST_ID = 1 << 5, "XEN_HVM_CPUID_EXT_DEST_ID";
        /// The vector of a vcpu works with interrupts bound to event channels.
        UPCALL_VECTOR = 1 << 6, "XEN_HVM_CPUID_UPCALL_VECTOR";
    }
}
