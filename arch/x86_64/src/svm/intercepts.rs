//! What a guest is not left alone with: the intercept words of every vcpu (APM vol. 2 §15.9, appendix B).
//!
//! The rule: whatever could stop, slow or observe the host, and whatever the guest's CPUID does not offer but the
//! processor would do. Exceptions are the guest's own, but for three: machine checks are the host's, and #DB and #AC
//! can be made to recur in microcode for ever without an instruction boundary (CVE-2015-5307, CVE-2015-8104).

use super::vmcb::{Clean, Vmcb};

/// First word: events and instructions.
pub mod first {
    /// An interrupt of the machine.
    pub const INTERRUPT: u32 = 1;
    /// A non-maskable interrupt of the machine.
    pub const NMI: u32 = 1 << 1;
    /// INIT.
    pub const INIT: u32 = 1 << 3;
    /// The virtual interrupt would be taken: the interrupt window.
    pub const INTERRUPT_WINDOW: u32 = 1 << 4;
    /// RDPMC.
    pub const RDPMC: u32 = 1 << 15;
    /// CPUID.
    pub const CPUID: u32 = 1 << 18;
    /// IRET: the end of a non-maskable interrupt's handler.
    pub const IRET: u32 = 1 << 20;
    /// INVD.
    pub const INVD: u32 = 1 << 22;
    /// HLT.
    pub const HALT: u32 = 1 << 24;
    /// INVLPGA.
    pub const INVLPGA: u32 = 1 << 26;
    /// Ports, by the permission map.
    pub const PORTS: u32 = 1 << 27;
    /// MSRs, by the permission map.
    pub const MSRS: u32 = 1 << 28;
    /// The processor would freeze for an x87 error.
    pub const FERR_FREEZE: u32 = 1 << 30;
    /// A triple fault.
    pub const SHUTDOWN: u32 = 1 << 31;
}

/// Second word: instructions.
pub mod second {
    /// VMRUN. The hardware insists on it.
    pub const VMRUN: u32 = 1;
    /// VMMCALL: hypercalls.
    pub const VMMCALL: u32 = 1 << 1;
    /// VMLOAD.
    pub const VMLOAD: u32 = 1 << 2;
    /// VMSAVE.
    pub const VMSAVE: u32 = 1 << 3;
    /// STGI.
    pub const STGI: u32 = 1 << 4;
    /// CLGI.
    pub const CLGI: u32 = 1 << 5;
    /// SKINIT.
    pub const SKINIT: u32 = 1 << 6;
    /// WBINVD.
    pub const WBINVD: u32 = 1 << 9;
    /// MONITOR.
    pub const MONITOR: u32 = 1 << 10;
    /// MWAIT.
    pub const MWAIT: u32 = 1 << 11;
    /// MWAIT when armed.
    pub const MWAIT_ARMED: u32 = 1 << 12;
    /// XSETBV.
    pub const XSETBV: u32 = 1 << 13;
    /// RDPRU.
    pub const RDPRU: u32 = 1 << 14;
}

/// Third word: instructions of later processors.
pub mod third {
    /// INVLPGB.
    pub const INVLPGB: u32 = 1;
    /// An INVLPGB that the processor would refuse.
    pub const INVLPGB_ILLEGAL: u32 = 1 << 1;
    /// INVPCID. Left to the guest.
    pub const INVPCID: u32 = 1 << 2;
    /// MCOMMIT.
    pub const MCOMMIT: u32 = 1 << 3;
    /// TLBSYNC.
    pub const TLBSYNC: u32 = 1 << 4;
}

const FIRST: u32 = first::INTERRUPT
    | first::NMI
    | first::INIT
    | first::RDPMC
    | first::CPUID
    | first::INVD
    | first::HALT
    | first::INVLPGA
    | first::PORTS
    | first::MSRS
    | first::FERR_FREEZE
    | first::SHUTDOWN;

const SECOND: u32 = second::VMRUN
    | second::VMMCALL
    | second::VMLOAD
    | second::VMSAVE
    | second::STGI
    | second::CLGI
    | second::SKINIT
    | second::WBINVD
    | second::MONITOR
    | second::MWAIT
    | second::MWAIT_ARMED
    | second::XSETBV
    | second::RDPRU;

const THIRD: u32 = third::INVLPGB | third::INVLPGB_ILLEGAL | third::MCOMMIT | third::TLBSYNC;

/// #DB, #AC, #MC.
const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

/// Writes of CR4: its bits are features, and CPUID decides on those. Bit 16 + 4.
const CONTROL_REGISTERS: u32 = 1 << (16 + 4);

/// Gives a vcpu's control block the intercepts that are always there.
pub fn install(vmcb: &mut Vmcb) {
    let control = &mut vmcb.change(Clean::INTERCEPTS).control;
    control.intercept_control_registers = CONTROL_REGISTERS;
    control.intercept_debug_registers = 0;
    control.intercept_exceptions = EXCEPTIONS;
    control.intercept_first = FIRST;
    control.intercept_second = SECOND;
    control.intercept_third = THIRD;
}

/// Turns an intercept of the first word on or off; tells the processor only of a change.
pub fn set_first(vmcb: &mut Vmcb, bits: u32, on: bool) {
    let now = vmcb.control.intercept_first;
    let new = if on { now | bits } else { now & !bits };
    if new != now {
        vmcb.change(Clean::INTERCEPTS).control.intercept_first = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn every_instruction_of_the_virtualisation_itself_is_intercepted() {
        let mut vmcb = Vmcb::new_zeroed();
        install(&mut vmcb);
        // VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT are exit codes 0x80 to 0x86.
        assert_eq!(vmcb.control.intercept_second & 0x7f, 0x7f);
        assert_ne!(vmcb.control.intercept_first & 1 << 26, 0, "INVLPGA");
    }

    #[test]
    fn an_intercept_that_stays_as_it_is_costs_no_clean_bit() {
        let mut vmcb = Vmcb::new_zeroed();
        install(&mut vmcb);
        vmcb.seen();
        set_first(&mut vmcb, first::HALT, true);
        set_first(&mut vmcb, first::INTERRUPT_WINDOW, false);
        assert_eq!(vmcb.control.clean, Clean::all().bits());
        set_first(&mut vmcb, first::INTERRUPT_WINDOW, true);
        assert_eq!(vmcb.control.clean, (Clean::all() - Clean::INTERCEPTS).bits());
        assert_ne!(vmcb.control.intercept_first & first::INTERRUPT_WINDOW, 0);
    }
}
