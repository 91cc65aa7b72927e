//! The virtual machine control block: one page per vcpu that says how the guest is confined, what it looks like, and
//! after an exit why it stopped. The layout is the hardware's (APM vol. 2 appendix B); the assertions below hold it.
//!
//! Invariant: the *clean* field never claims that a group of fields is as the processor last saw it when it is not.
//! Whoever changes a field of a group does so through [`Vmcb::change`]; fields outside of the groups are read by the
//! processor each time. Nothing here touches hardware.

use core::mem::{offset_of, size_of};

use bitflags::bitflags;
use zerocopy::FromZeros;

bitflags! {
    /// Groups of fields that the processor may keep from the last run (APM vol. 2 §15.15.3).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Clean: u32 {
        /// Intercepts, TSC offset, pause filter.
        const INTERCEPTS = 1;
        /// Addresses of the permission maps.
        const PERMISSION_MAPS = 1 << 1;
        /// The ASID.
        const ASID = 1 << 2;
        /// The virtual interrupt fields.
        const VIRTUAL_INTERRUPT = 1 << 3;
        /// Nested paging: enable, root, guest PAT.
        const NESTED_PAGING = 1 << 4;
        /// CR0, CR3, CR4, EFER.
        const CONTROL_REGISTERS = 1 << 5;
        /// DR6, DR7.
        const DEBUG_REGISTERS = 1 << 6;
        /// GDTR, IDTR.
        const DESCRIPTOR_TABLES = 1 << 7;
        /// CS, DS, ES, SS, CPL.
        const SEGMENTS = 1 << 8;
        /// CR2.
        const CR2 = 1 << 9;
        /// Last-branch records.
        const LAST_BRANCH = 1 << 10;
        /// The hardware's own virtual APIC.
        const AVIC = 1 << 11;
        /// Control-flow enforcement.
        const CET = 1 << 12;
    }
}

/// A segment register with its hidden part. Attributes are 12 bits: type and S in 3:0 and 4, DPL 6:5, P 7, AVL 8, L 9,
/// D/B 10, G 11.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromZeros)]
pub struct SegmentState {
    /// The selector.
    pub selector: u16,
    /// The attributes.
    pub attributes: u16,
    /// The limit in bytes, inclusive.
    pub limit: u32,
    /// The base, linear.
    pub base: u64,
}

/// The control area: how the guest is run, and why it stopped.
#[repr(C)]
#[derive(Clone, Debug, FromZeros)]
pub struct Control {
    /// Intercepted reads of CR0–CR15 (15:0) and writes (31:16).
    pub intercept_control_registers: u32,
    /// Intercepted reads of DR0–DR15 (15:0) and writes (31:16).
    pub intercept_debug_registers: u32,
    /// Intercepted exceptions, by vector.
    pub intercept_exceptions: u32,
    /// Intercepted events and instructions, first word.
    pub intercept_first: u32,
    /// Intercepted instructions, second word.
    pub intercept_second: u32,
    /// Intercepted instructions, third word.
    pub intercept_third: u32,
    _reserved_018: [u32; 9],
    /// Pause filter threshold.
    pub pause_threshold: u16,
    /// Pause filter count.
    pub pause_count: u16,
    /// Machine address of the port permission map.
    pub port_map: u64,
    /// Machine address of the MSR permission map.
    pub msr_map: u64,
    /// What the guest's time-stamp counter is ahead of the machine's.
    pub tsc_offset: u64,
    /// The tag of the guest's translations.
    pub asid: u32,
    /// What to flush at entry.
    pub tlb_control: u8,
    _reserved_05d: [u8; 3],
    /// The virtual interrupt fields.
    pub virtual_interrupt: u64,
    /// Bit 0: the guest is in an interrupt shadow.
    pub interrupt_shadow: u64,
    /// Why the guest stopped.
    pub exit_code: u64,
    /// More about it.
    pub exit_info_1: u64,
    /// And more.
    pub exit_info_2: u64,
    /// The event whose delivery was interrupted by the exit.
    pub exit_interrupt_info: u64,
    /// Bit 0: nested paging.
    pub nested_paging: u64,
    _reserved_098: [u64; 2],
    /// The event to deliver at entry.
    pub event_injection: u64,
    /// Machine address of the root of the nested tables.
    pub nested_root: u64,
    /// Bit 0: last-branch virtualisation.
    pub last_branch: u64,
    /// What the processor may keep: [`Clean`].
    pub clean: u32,
    _reserved_0c4: u32,
    /// Where the guest would go on behind the intercepted instruction, if the processor can tell.
    pub next_rip: u64,
    /// How many bytes of the instruction the processor has fetched, if it can tell.
    pub fetched: u8,
    /// Those bytes.
    pub instruction: [u8; 15],
    _reserved_0e0: [u64; 100],
}

/// The state save area: what the guest looks like.
#[repr(C)]
#[derive(Clone, Debug, FromZeros)]
pub struct Save {
    /// ES.
    pub es: SegmentState,
    /// CS.
    pub cs: SegmentState,
    /// SS.
    pub ss: SegmentState,
    /// DS.
    pub ds: SegmentState,
    /// FS. Travels by VMLOAD and VMSAVE, as do GS, LDTR, TR.
    pub fs: SegmentState,
    /// GS.
    pub gs: SegmentState,
    /// GDTR (base and limit).
    pub gdtr: SegmentState,
    /// LDTR.
    pub ldtr: SegmentState,
    /// IDTR (base and limit).
    pub idtr: SegmentState,
    /// TR.
    pub tr: SegmentState,
    _reserved_0a0: [u8; 43],
    /// The privilege level.
    pub cpl: u8,
    _reserved_0cc: u32,
    /// EFER, SVME included.
    pub efer: u64,
    _reserved_0d8: [u64; 14],
    /// CR4.
    pub cr4: u64,
    /// CR3.
    pub cr3: u64,
    /// CR0.
    pub cr0: u64,
    /// DR7.
    pub dr7: u64,
    /// DR6.
    pub dr6: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RIP.
    pub rip: u64,
    _reserved_180: [u64; 11],
    /// RSP.
    pub rsp: u64,
    _reserved_1e0: [u64; 3],
    /// RAX.
    pub rax: u64,
    /// STAR. The MSRs down to SYSENTER_EIP travel by VMLOAD and VMSAVE.
    pub star: u64,
    /// LSTAR.
    pub lstar: u64,
    /// CSTAR.
    pub cstar: u64,
    /// SFMASK.
    pub sfmask: u64,
    /// KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// SYSENTER_CS.
    pub sysenter_cs: u64,
    /// SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// CR2.
    pub cr2: u64,
    _reserved_248: [u64; 4],
    /// The guest's PAT.
    pub pat: u64,
    /// DEBUGCTL.
    pub debug_control: u64,
    /// Last branch: from, to, last exception: from, to.
    pub last_branches: [u64; 4],
    _reserved_298: [u64; 301],
}

/// One control block: exactly one page.
#[repr(C, align(4096))]
#[derive(Clone, Debug, FromZeros)]
pub struct Vmcb {
    /// How it is run, why it stopped.
    pub control: Control,
    /// What it looks like.
    pub save: Save,
}

const _: () = {
    assert!(size_of::<Vmcb>() == 4096);
    assert!(offset_of!(Vmcb, save) == 0x400);
    assert!(offset_of!(Control, intercept_first) == 0x00c);
    assert!(offset_of!(Control, intercept_third) == 0x014);
    assert!(offset_of!(Control, pause_threshold) == 0x03c);
    assert!(offset_of!(Control, port_map) == 0x040);
    assert!(offset_of!(Control, msr_map) == 0x048);
    assert!(offset_of!(Control, tsc_offset) == 0x050);
    assert!(offset_of!(Control, asid) == 0x058);
    assert!(offset_of!(Control, tlb_control) == 0x05c);
    assert!(offset_of!(Control, virtual_interrupt) == 0x060);
    assert!(offset_of!(Control, interrupt_shadow) == 0x068);
    assert!(offset_of!(Control, exit_code) == 0x070);
    assert!(offset_of!(Control, exit_info_1) == 0x078);
    assert!(offset_of!(Control, exit_info_2) == 0x080);
    assert!(offset_of!(Control, exit_interrupt_info) == 0x088);
    assert!(offset_of!(Control, nested_paging) == 0x090);
    assert!(offset_of!(Control, event_injection) == 0x0a8);
    assert!(offset_of!(Control, nested_root) == 0x0b0);
    assert!(offset_of!(Control, last_branch) == 0x0b8);
    assert!(offset_of!(Control, clean) == 0x0c0);
    assert!(offset_of!(Control, next_rip) == 0x0c8);
    assert!(offset_of!(Control, fetched) == 0x0d0);
    assert!(offset_of!(Control, instruction) == 0x0d1);
    assert!(offset_of!(Save, gdtr) == 0x060);
    assert!(offset_of!(Save, tr) == 0x090);
    assert!(offset_of!(Save, cpl) == 0x0cb);
    assert!(offset_of!(Save, efer) == 0x0d0);
    assert!(offset_of!(Save, cr4) == 0x148);
    assert!(offset_of!(Save, cr0) == 0x158);
    assert!(offset_of!(Save, dr7) == 0x160);
    assert!(offset_of!(Save, rflags) == 0x170);
    assert!(offset_of!(Save, rip) == 0x178);
    assert!(offset_of!(Save, rsp) == 0x1d8);
    assert!(offset_of!(Save, rax) == 0x1f8);
    assert!(offset_of!(Save, star) == 0x200);
    assert!(offset_of!(Save, sysenter_eip) == 0x238);
    assert!(offset_of!(Save, cr2) == 0x240);
    assert!(offset_of!(Save, pat) == 0x268);
    assert!(offset_of!(Save, last_branches) == 0x278);
};

impl Vmcb {
    /// The block, for changing fields of these groups: the processor will read them again.
    pub const fn change(&mut self, groups: Clean) -> &mut Self {
        self.control.clean &= !groups.bits();
        self
    }

    /// The processor has seen everything: what is not changed from now on, it may keep.
    pub const fn seen(&mut self) {
        self.control.clean = Clean::all().bits();
    }

    /// The processor must read everything: another one ran this block last, or another block ran here.
    pub const fn forget(&mut self) {
        self.control.clean = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_group_is_read_again_and_the_others_are_kept() {
        let mut vmcb = Vmcb::new_zeroed();
        vmcb.seen();
        vmcb.change(Clean::CONTROL_REGISTERS).save.cr0 = 1;
        assert_eq!(
            Clean::from_bits_truncate(vmcb.control.clean),
            Clean::all() - Clean::CONTROL_REGISTERS
        );
        vmcb.forget();
        assert_eq!(vmcb.control.clean, 0);
    }
}
