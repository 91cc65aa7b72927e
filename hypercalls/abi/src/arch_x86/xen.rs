//! `arch-x86/xen.h`: what all x86 callers have in common.

use crate::arch_x86::xen_x86_64::CpuUserRegs;

constants! {
    u32 {
        /// Number of vcpus with a `vcpu_info` in `shared_info`.
        XEN_LEGACY_MAX_VCPUS = 32;
        /// PV: first page of the segment table that the hypervisor uses.
        FIRST_RESERVED_GDT_PAGE = 14;
        /// PV: its first byte.
        FIRST_RESERVED_GDT_BYTE = FIRST_RESERVED_GDT_PAGE * 4096;
        /// PV: its first entry.
        FIRST_RESERVED_GDT_ENTRY = FIRST_RESERVED_GDT_BYTE / 8;
        /// [`CpuidLeaf`]: the leaf has no sub-leaves.
        XEN_CPUID_NO_SUBLEAF = 0xffff_ffff;
    }
    u16 {
        /// An I/O port: an HVM guest's bytes written here appear in the hypervisor's log.
        XEN_HVM_DEBUGCONS_IOPORT = 0xe9;
    }
}

flags! {
    /// Of a [`VcpuGuestContext`].
    struct ContextFlags: u64 {
        /// `fpu_ctxt` holds something.
        I387_VALID = 1 << 0, "VGCF_i387_valid";
        /// PV: the kernel runs, not user mode.
        IN_KERNEL = 1 << 2, "VGCF_in_kernel";
        /// PV: the failsafe entry masks events.
        FAILSAFE_DISABLES_EVENTS = 1 << 3, "VGCF_failsafe_disables_events";
        /// PV: the system call entry masks events.
        SYSCALL_DISABLES_EVENTS = 1 << 4, "VGCF_syscall_disables_events";
        /// The vcpu is up.
        ONLINE = 1 << 5, "VGCF_online";
    }

    /// Devices that the hypervisor emulates for a domain.
    struct EmulationFlags: u32 {
        /// The local APIC.
        LAPIC = 1 << 0, "XEN_X86_EMU_LAPIC";
        /// The high precision timers.
        HPET = 1 << 1, "XEN_X86_EMU_HPET";
        /// The ACPI timer and power management registers.
        PM = 1 << 2, "XEN_X86_EMU_PM";
        /// The clock.
        RTC = 1 << 3, "XEN_X86_EMU_RTC";
        /// The IO-APIC.
        IOAPIC = 1 << 4, "XEN_X86_EMU_IOAPIC";
        /// The interrupt controllers.
        PIC = 1 << 5, "XEN_X86_EMU_PIC";
        /// VGA memory.
        VGA = 1 << 6, "XEN_X86_EMU_VGA";
        /// An I/O MMU.
        IOMMU = 1 << 7, "XEN_X86_EMU_IOMMU";
        /// The timers.
        PIT = 1 << 8, "XEN_X86_EMU_PIT";
        /// Interrupts may be turned into event channels.
        USE_PIRQ = 1 << 9, "XEN_X86_EMU_USE_PIRQ";
        /// PCI configuration.
        VPCI = 1 << 10, "XEN_X86_EMU_VPCI";
        /// All of them.
        ALL = (1 << 11) - 1, "XEN_X86_EMU_ALL";
    }

    /// Other settings of a domain.
    struct MiscFlags: u32 {
        /// Unknown MSRs read as 0 instead of faulting.
        MSR_RELAXED = 1 << 0, "XEN_X86_MSR_RELAXED";
        /// All that exist.
        ALL = 1 << 0, "XEN_X86_MISC_FLAGS_MAX";
    }
}

layouts! {
    /// PV: one entry of the interrupt table.
    struct TrapInfo = "trap_info" {
        /// Which vector.
        vector: u8,
        /// Privilege level in bits 1:0; bit 2: mask events on entry.
        flags: u8,
        /// Code segment of the handler.
        cs: u16,
        /// Padding.
        padding: u32 = "",
        /// The handler.
        address: u64,
    }

    /// All state of a PV vcpu; of an HVM vcpu, what the toolstack may see.
    struct VcpuGuestContext = "vcpu_guest_context" {
        /// What `FXSAVE` saves.
        fpu_ctxt: [u8; 512],
        /// [`ContextFlags`].
        flags: u64,
        /// Registers.
        user_regs: CpuUserRegs,
        /// The interrupt table.
        trap_ctxt: [TrapInfo; 256],
        /// Local segment table: address.
        ldt_base: u64,
        /// Local segment table: entries.
        ldt_ents: u64,
        /// Segment table: frames.
        gdt_frames: [u64; 16],
        /// Segment table: entries.
        gdt_ents: u64,
        /// The kernel's stack segment.
        kernel_ss: u64,
        /// The kernel's stack.
        kernel_sp: u64,
        /// Control registers 0 to 7.
        ctrlreg: [u64; 8],
        /// Debug registers 0 to 7.
        debugreg: [u64; 8],
        /// Entry for events.
        event_callback_eip: u64,
        /// Entry after a failed return.
        failsafe_callback_eip: u64,
        /// Entry for system calls.
        syscall_callback_eip: u64,
        /// A bit for each assist that is on.
        vm_assist: u64,
        /// Base of FS.
        fs_base: u64,
        /// Base of GS, of the kernel.
        gs_base_kernel: u64,
        /// Base of GS, of user mode.
        gs_base_user: u64,
    }

    /// The processor's part of `shared_info`; all of it for PV, but `nmi_reason`.
    struct ArchSharedInfo = "arch_shared_info" {
        /// Frames of the guest's own frame table.
        max_pfn: u64,
        /// Frame of the root of that table's frame lists.
        pfn_to_mfn_frame_list_list: u64,
        /// [`crate::nmi::NmiReason`].
        nmi_reason: u64,
        /// Root of the page tables that hold the linear frame table.
        p2m_cr3: u64,
        /// Address of the linear frame table.
        p2m_vaddr: u64,
        /// Odd while the table changes.
        p2m_generation: u64,
    }

    /// The processor's part of how a domain is created.
    struct DomainConfig = "xen_arch_domainconfig" {
        /// [`EmulationFlags`].
        emulation_flags: u32,
        /// [`MiscFlags`].
        misc_flags: u32,
    }

    /// One CPUID leaf.
    struct CpuidLeaf = "xen_cpuid_leaf" {
        /// Its number.
        leaf: u32,
        /// Its sub-leaf, or [`XEN_CPUID_NO_SUBLEAF`].
        subleaf: u32,
        /// EAX.
        a: u32,
        /// EBX.
        b: u32,
        /// ECX.
        c: u32,
        /// EDX.
        d: u32,
    }

    /// One model-specific register.
    struct MsrEntry = "xen_msr_entry" {
        /// Its number.
        idx: u32,
        /// 0.
        flags: u32,
        /// Its value.
        val: u64,
    }
}

/// Layouts of a 32-bit caller.
pub mod compat;
