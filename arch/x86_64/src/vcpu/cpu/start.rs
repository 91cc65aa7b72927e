//! Where a vcpu begins: at a program somebody prepared, after a reset, or in real mode after a start-up interrupt.

use xenvisor_core::machine::Registers;
use xenvisor_core::vcpu::start::{Segment, StartState};

use super::{Cpu, RFLAGS_FIXED, Unfinished};
use crate::guest::msr::Msrs;
use crate::vcpu::engine::{Engine, Register, SegmentRegister, Services, Table};
use crate::vcpu::extended_state::{INITIAL_DR6, INITIAL_DR7};

/// PAT after power-on: WB WT UC- UC, twice.
const INITIAL_PAT: u64 = 0x0007_0406_0007_0406;
/// CR0 of a processor in real mode, caches on: ET alone.
const REAL_MODE_CR0: u64 = 0x10;

impl<E: Engine> Cpu<E> {
    /// Everything as after power-on, but for the local APIC's identity. Nothing is pending.
    pub(super) fn reset(&mut self) {
        self.engine.services_mut().reset_extended_state();
        self.engine.flush();
        self.apic.init();
        self.msrs = Msrs::new();
        self.drop_events();
        for (register, value) in [
            (Register::Dr6, INITIAL_DR6),
            (Register::Dr7, INITIAL_DR7),
            (Register::Pat, INITIAL_PAT),
            (Register::Cr2, 0),
            (Register::Star, 0),
            (Register::LongStar, 0),
            (Register::CompatStar, 0),
            (Register::SyscallMask, 0),
            (Register::KernelGsBase, 0),
            (Register::SysenterCs, 0),
            (Register::SysenterEsp, 0),
            (Register::SysenterEip, 0),
            (Register::DebugControl, 0),
        ] {
            self.engine.set(register, value);
        }
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
        self.engine.set(Register::Dr6, INITIAL_DR6);
        self.engine.set(Register::Dr7, INITIAL_DR7);
        self.engine.set(Register::Cr2, 0);
        self.begin(&real_mode(0));
        self.waits_for_startup = true;
    }

    fn drop_events(&mut self) {
        self.exception = None;
        self.interrupted = None;
        self.nmi = false;
        self.upcall = None;
        self.unfinished = Unfinished::Nothing;
        self.engine.drop_events();
    }

    fn begin(&mut self, state: &StartState) {
        self.registers = state.registers;
        self.registers.rflags |= RFLAGS_FIXED;
        let engine = &mut self.engine;
        // Long mode is active from the start where the state says that it is enabled and pages.
        engine.set(Register::Efer, state.efer);
        engine.set(Register::Cr0, state.cr0);
        engine.set(Register::Cr3, state.cr3);
        engine.set(Register::Cr4, state.cr4);
        for (register, segment) in [
            (SegmentRegister::Cs, &state.cs),
            (SegmentRegister::Ds, &state.ds),
            (SegmentRegister::Es, &state.es),
            (SegmentRegister::Fs, &state.fs),
            (SegmentRegister::Gs, &state.gs),
            (SegmentRegister::Ss, &state.ss),
            (SegmentRegister::Task, &state.tr),
            (SegmentRegister::Ldt, &state.ldt),
        ] {
            engine.set_segment(register, segment);
        }
        // The privilege level is that of the stack segment.
        let [attributes, ..] = state.ss.attributes.to_le_bytes();
        engine.set_privilege_level(attributes >> 5 & 3);
        engine.set_table(Table::Global, 0, 0xffff);
        engine.set_table(Table::Interrupt, 0, 0xffff);
        self.engine.flush();
        self.pointers_due = self.pages_by_pae();
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
