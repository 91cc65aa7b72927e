//! `arch-x86/xen.h`, layouts of a 32-bit caller: `unsigned long` is 32 bits wide there.

use crate::CompatU64;
use crate::arch_x86::xen_x86_32::CpuUserRegs;

layouts! {
    /// As [`super::TrapInfo`].
    struct TrapInfo = "trap_info" {
        /// Which vector.
        vector: u8,
        /// Privilege level in bits 1:0; bit 2: mask events on entry.
        flags: u8,
        /// Code segment of the handler.
        cs: u16,
        /// The handler.
        address: u32,
    }

    /// As [`super::VcpuGuestContext`].
    struct VcpuGuestContext = "vcpu_guest_context" {
        /// What `FXSAVE` saves.
        fpu_ctxt: [u8; 512],
        /// [`super::ContextFlags`].
        flags: u32,
        /// Registers.
        user_regs: CpuUserRegs,
        /// The interrupt table.
        trap_ctxt: [TrapInfo; 256],
        /// Local segment table: address.
        ldt_base: u32,
        /// Local segment table: entries.
        ldt_ents: u32,
        /// Segment table: frames.
        gdt_frames: [u32; 16],
        /// Segment table: entries.
        gdt_ents: u32,
        /// The kernel's stack segment.
        kernel_ss: u32,
        /// The kernel's stack.
        kernel_sp: u32,
        /// Control registers 0 to 7.
        ctrlreg: [u32; 8],
        /// Debug registers 0 to 7.
        debugreg: [u32; 8],
        /// Entry for events: segment.
        event_callback_cs: u32,
        /// Entry for events: offset.
        event_callback_eip: u32,
        /// Entry after a failed return: segment.
        failsafe_callback_cs: u32,
        /// Entry after a failed return: offset.
        failsafe_callback_eip: u32,
        /// A bit for each assist that is on.
        vm_assist: u32,
    }

    /// As [`super::ArchSharedInfo`].
    struct ArchSharedInfo = "arch_shared_info" {
        /// Frames of the guest's own frame table.
        max_pfn: u32,
        /// Frame of the root of that table's frame lists.
        pfn_to_mfn_frame_list_list: u32,
        /// [`crate::nmi::NmiReason`].
        nmi_reason: u32,
        /// Root of the page tables that hold the linear frame table.
        p2m_cr3: u32,
        /// Address of the linear frame table.
        p2m_vaddr: u32,
        /// Odd while the table changes.
        p2m_generation: u32,
        /// Wall clock when system time was 0: seconds since 1970, bits 63:32.
        wc_sec_hi: u32,
    }

    /// As [`super::MsrEntry`]: the same bytes, aligned less.
    struct MsrEntry = "xen_msr_entry" {
        /// Its number.
        idx: u32,
        /// 0.
        flags: u32,
        /// Its value.
        val: CompatU64,
    }
}
