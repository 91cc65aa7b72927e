//! Where a vcpu begins: at a program somebody prepared, after a reset, or in real mode after a start-up interrupt.

use xenvisor_core::machine::Registers;
use xenvisor_core::vcpu::start::{Segment, StartState};

use super::{RFLAGS_FIXED, SvmCpu, Unfinished};
use crate::guest::msr::Msrs;
use crate::svm::extended_state::{INITIAL_DR6, INITIAL_DR7};
use crate::svm::segment::from_contract;
use crate::svm::vmcb::{Clean, SegmentState};

const EFER_SVME: u64 = 1 << 12;
/// PAT after power-on: WB WT UC- UC, twice.
const INITIAL_PAT: u64 = 0x0007_0406_0007_0406;
/// CR0 of a processor in real mode, caches on: ET alone.
const REAL_MODE_CR0: u64 = 0x10;

impl SvmCpu {
    /// Everything as after power-on, but for the local APIC's identity. Nothing is pending.
    pub(super) fn reset(&mut self) {
        self.engine.reset_extended_state();
        self.engine.flush();
        self.apic.init();
        self.msrs = Msrs::new();
        self.drop_events();
        let block = self.engine.block_mut();
        block.forget();
        let save = &mut block.save;
        save.dr6 = INITIAL_DR6;
        save.dr7 = INITIAL_DR7;
        save.pat = INITIAL_PAT;
        save.cr2 = 0;
        save.star = 0;
        save.lstar = 0;
        save.cstar = 0;
        save.sfmask = 0;
        save.kernel_gs_base = 0;
        save.sysenter_cs = 0;
        save.sysenter_esp = 0;
        save.sysenter_eip = 0;
        save.debug_control = 0;
        self.begin(&real_mode(0));
    }

    /// Begins at a program, with everything it does not name as after power-on.
    pub(super) fn start_at(&mut self, state: &StartState) {
        self.reset();
        self.begin(state);
        self.waits_for_startup = false;
    }

    /// A start-up interrupt: real mode at a page. Only a vcpu that waits for one takes it.
    pub(super) fn start_up(&mut self, page: u8) -> bool {
        if !self.waits_for_startup {
            return false;
        }
        self.begin(&real_mode(page));
        self.waits_for_startup = false;
        true
    }

    /// INIT: registers as after power-on; extended state stays (SDM vol. 3 §9.1.1).
    pub(super) fn initialise(&mut self) {
        self.apic.init();
        self.drop_events();
        let block = self.engine.block_mut();
        block.forget();
        block.save.dr6 = INITIAL_DR6;
        block.save.dr7 = INITIAL_DR7;
        block.save.cr2 = 0;
        self.begin(&real_mode(0));
        self.waits_for_startup = true;
    }

    fn drop_events(&mut self) {
        self.exception = None;
        self.interrupted = None;
        self.nmi = false;
        self.nmi_blocked = false;
        self.upcall = None;
        self.unfinished = Unfinished::Nothing;
    }

    fn begin(&mut self, state: &StartState) {
        self.registers = state.registers;
        self.registers.rflags |= RFLAGS_FIXED;
        let block = self.engine.block_mut().change(
            Clean::CONTROL_REGISTERS | Clean::SEGMENTS | Clean::DESCRIPTOR_TABLES | Clean::DEBUG_REGISTERS,
        );
        block.control.interrupt_shadow = 0;
        block.control.event_injection = 0;
        let save = &mut block.save;
        save.cr0 = state.cr0;
        save.cr3 = state.cr3;
        save.cr4 = state.cr4;
        save.efer = state.efer | EFER_SVME;
        save.cs = from_contract(&state.cs);
        save.ds = from_contract(&state.ds);
        save.es = from_contract(&state.es);
        save.fs = from_contract(&state.fs);
        save.gs = from_contract(&state.gs);
        save.ss = from_contract(&state.ss);
        save.tr = from_contract(&state.tr);
        save.ldtr = from_contract(&state.ldt);
        // The privilege level is that of the stack segment.
        let [low, _] = save.ss.attributes.to_le_bytes();
        save.cpl = low >> 5 & 3;
        let empty = SegmentState {
            limit: 0xffff,
            ..SegmentState::default()
        };
        save.gdtr = empty;
        save.idtr = empty;
        self.engine.flush();
    }
}

/// Real mode at the beginning of a page, as a start-up interrupt leaves a processor (SDM vol. 3 §8.4.4.1).
fn real_mode(page: u8) -> StartState {
    let data = Segment {
        selector: 0,
        attributes: 0x93,
        limit: 0xffff,
        base: 0,
    };
    StartState {
        registers: Registers {
            rflags: RFLAGS_FIXED,
            ..Registers::default()
        },
        cr0: REAL_MODE_CR0,
        cr3: 0,
        cr4: 0,
        efer: 0,
        cs: Segment {
            selector: u16::from(page) << 8,
            attributes: 0x9b,
            limit: 0xffff,
            base: u64::from(page) << 12,
        },
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: Segment {
            attributes: 0x8b,
            ..data
        },
        ldt: Segment {
            attributes: 0x82,
            ..data
        },
    }
}
