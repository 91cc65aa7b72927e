//! `features.h`: bit numbers of the feature word that [`crate::version::XENVER_get_features`] answers with.

constants! {
    u32 {
        /// A PV guest's page tables may stay writable: the guest need not write-protect them.
        XENFEAT_writable_page_tables = 0;
        /// A PV guest's descriptor tables may stay writable.
        XENFEAT_writable_descriptor_tables = 1;
        /// Guest frame numbers are translated by the hypervisor: the guest knows no machine frames.
        XENFEAT_auto_translated_physmap = 2;
        /// The guest's kernel runs at the processor's most privileged level.
        XENFEAT_supervisor_mode_kernel = 3;
        /// A 32-bit guest's page directory may lie above 4 GiB.
        XENFEAT_pae_pgdir_above_4gb = 4;
        /// [`crate::xen::pv::MMU_PT_UPDATE_PRESERVE_AD`] is supported.
        XENFEAT_mmu_pt_update_preserve_ad = 5;
        /// [`crate::xen::pv::MMUEXT_CLEAR_PAGE`] and [`crate::xen::pv::MMUEXT_COPY_PAGE`] are supported.
        XENFEAT_highmem_assist = 6;
        /// The guest-available bits of a grant mapping's page-table entry can be chosen.
        XENFEAT_gnttab_map_avail_bits = 7;
        /// Events can come to an HVM guest by an interrupt vector.
        XENFEAT_hvm_callback_vector = 8;
        /// The time in `vcpu_info` may be used by an HVM guest.
        XENFEAT_hvm_safe_pvclock = 9;
        /// An HVM guest may turn its emulated interrupts into event channels.
        XENFEAT_hvm_pirqs = 10;
        /// The caller is the control domain.
        XENFEAT_dom0 = 11;
        /// Memory operations understand virtual NUMA nodes.
        XENFEAT_memory_op_vnode_supported = 13;
        /// Arm: hypercalls by the SMC calling convention.
        XENFEAT_ARM_SMCCC_supported = 14;
        /// A PVH Linux may take the RSDP from anywhere in memory.
        XENFEAT_linux_rsdp_unrestricted = 15;
        /// Guest frames are not machine frames of the same number.
        XENFEAT_not_direct_mapped = 16;
        /// Guest frames are machine frames of the same number.
        XENFEAT_direct_mapped = 17;
        /// Number of feature words that exist.
        XENFEAT_NR_SUBMAPS = 1;
    }
}
