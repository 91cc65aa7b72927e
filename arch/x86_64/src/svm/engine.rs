//! A vcpu's state in AMD's form: the control block, field by field.
//!
//! Invariant: every change to a group of fields that the processor may keep goes through [`Vmcb::change`]; the control
//! block's copies of RAX, RSP, RIP and RFLAGS are written at each entry and read at each exit.

use core::fmt;

use xenvisor_core::machine::Registers;
use xenvisor_core::number::Vector;
use xenvisor_core::vcpu::start::Segment;

use super::block::Block;
use super::check::{Explanation, Limits};
use super::intercepts::{self, first};
use super::segment::{from_contract, to_contract};
use super::vmcb::{Clean, Save, SegmentState, Vmcb};
use super::{event, reason};
use crate::emulate::{CodeSize, LONGEST};
use crate::vcpu::engine::{Engine, Register, SegmentRegister, Table, Words};
use crate::vcpu::event::{Event, Plan, Window};
use crate::vcpu::reason::Reason;

const EFER_SVME: u64 = 1 << 12;
/// Virtual interrupt fields of the control block (APM vol. 2 §15.21).
const V_TPR: u64 = 0xff;
const V_IRQ: u64 = 1 << 8;
const V_PRIORITY_SHIFT: u32 = 16;
const V_IGNORE_TPR: u64 = 1 << 20;
const V_MASKING: u64 = 1 << 24;
const V_VECTOR_SHIFT: u32 = 32;

/// See the file's header.
pub struct SvmEngine<B> {
    block: B,
    /// A non-maskable interrupt is being handled, until IRET.
    nmi_blocked: bool,
    /// The interrupt that this entry offers the guest as a virtual one.
    offered: Option<Vector>,
    cr4_allowed: u64,
}

impl<B: Block> SvmEngine<B> {
    /// For a control block whose addresses are set.
    pub fn new(mut block: B) -> Self {
        intercepts::install(block.block_mut());
        Self {
            block,
            nmi_blocked: false,
            offered: None,
            cr4_allowed: 0,
        }
    }

    fn save(&self) -> &Save {
        &self.block.block().save
    }

    fn change(&mut self, groups: Clean) -> &mut Save {
        &mut self.block.block_mut().change(groups).save
    }
}

impl<B: Block> Engine for SvmEngine<B> {
    type Services = B;

    fn services(&self) -> &B {
        &self.block
    }

    fn services_mut(&mut self) -> &mut B {
        &mut self.block
    }

    fn confine(&mut self, cr4_allowed: u64) {
        // Every write of CR4 is intercepted and judged where CPUID is known; it is kept for explanations.
        self.cr4_allowed = cr4_allowed;
    }

    fn get(&self, register: Register) -> u64 {
        let save = self.save();
        match register {
            Register::Cr0 => save.cr0,
            Register::Cr2 => save.cr2,
            Register::Cr3 => save.cr3,
            Register::Cr4 => save.cr4,
            Register::Efer => save.efer & !EFER_SVME,
            Register::Dr6 => save.dr6,
            Register::Dr7 => save.dr7,
            Register::Pat => save.pat,
            Register::DebugControl => save.debug_control,
            Register::SysenterCs => save.sysenter_cs,
            Register::SysenterEsp => save.sysenter_esp,
            Register::SysenterEip => save.sysenter_eip,
            Register::Star => save.star,
            Register::LongStar => save.lstar,
            Register::CompatStar => save.cstar,
            Register::SyscallMask => save.sfmask,
            Register::KernelGsBase => save.kernel_gs_base,
        }
    }

    fn set(&mut self, register: Register, value: u64) {
        // What VMLOAD and VMSAVE carry is in no group.
        let travels = Clean::empty();
        match register {
            Register::Cr0 => self.change(Clean::CONTROL_REGISTERS).cr0 = value,
            Register::Cr2 => self.change(Clean::CR2).cr2 = value,
            Register::Cr3 => self.change(Clean::CONTROL_REGISTERS).cr3 = value,
            Register::Cr4 => self.change(Clean::CONTROL_REGISTERS).cr4 = value,
            Register::Efer => self.change(Clean::CONTROL_REGISTERS).efer = value | EFER_SVME,
            Register::Dr6 => self.change(Clean::DEBUG_REGISTERS).dr6 = value,
            Register::Dr7 => self.change(Clean::DEBUG_REGISTERS).dr7 = value,
            Register::Pat => self.change(Clean::NESTED_PAGING).pat = value,
            Register::DebugControl => self.change(Clean::LAST_BRANCH).debug_control = value,
            Register::SysenterCs => self.change(travels).sysenter_cs = value,
            Register::SysenterEsp => self.change(travels).sysenter_esp = value,
            Register::SysenterEip => self.change(travels).sysenter_eip = value,
            Register::Star => self.change(travels).star = value,
            Register::LongStar => self.change(travels).lstar = value,
            Register::CompatStar => self.change(travels).cstar = value,
            Register::SyscallMask => self.change(travels).sfmask = value,
            Register::KernelGsBase => self.change(travels).kernel_gs_base = value,
        }
    }

    fn segment(&self, register: SegmentRegister) -> Segment {
        let save = self.save();
        to_contract(match register {
            SegmentRegister::Es => &save.es,
            SegmentRegister::Cs => &save.cs,
            SegmentRegister::Ss => &save.ss,
            SegmentRegister::Ds => &save.ds,
            SegmentRegister::Fs => &save.fs,
            SegmentRegister::Gs => &save.gs,
            SegmentRegister::Ldt => &save.ldtr,
            SegmentRegister::Task => &save.tr,
        })
    }

    fn set_segment(&mut self, register: SegmentRegister, segment: &Segment) {
        let state = from_contract(segment);
        let save = self.change(Clean::SEGMENTS);
        match register {
            SegmentRegister::Es => save.es = state,
            SegmentRegister::Cs => save.cs = state,
            SegmentRegister::Ss => save.ss = state,
            SegmentRegister::Ds => save.ds = state,
            SegmentRegister::Fs => save.fs = state,
            SegmentRegister::Gs => save.gs = state,
            SegmentRegister::Ldt => save.ldtr = state,
            SegmentRegister::Task => save.tr = state,
        }
    }

    fn set_table(&mut self, table: Table, base: u64, limit: u16) {
        let state = SegmentState {
            limit: u32::from(limit),
            base,
            ..SegmentState::default()
        };
        let save = self.change(Clean::DESCRIPTOR_TABLES);
        match table {
            Table::Global => save.gdtr = state,
            Table::Interrupt => save.idtr = state,
        }
    }

    fn privilege_level(&self) -> u8 {
        self.save().cpl
    }

    fn set_privilege_level(&mut self, level: u8) {
        self.change(Clean::SEGMENTS).cpl = level & 3;
    }

    fn page_directory_pointers(&self) -> Option<[u64; 4]> {
        // Under nested paging the processor reads them from memory (APM vol. 2 §15.25.10).
        None
    }

    fn set_page_directory_pointers(&mut self, _pointers: [u64; 4]) {}

    fn tsc_offset(&self) -> u64 {
        self.block.block().control.tsc_offset
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.block
            .block_mut()
            .change(Clean::INTERCEPTS)
            .control
            .tsc_offset = offset;
    }

    fn in_shadow(&self) -> bool {
        self.block.block().control.interrupt_shadow & 1 != 0
    }

    fn end_shadow(&mut self) {
        self.block.block_mut().control.interrupt_shadow = 0;
    }

    fn nmi_blocked(&self) -> bool {
        self.nmi_blocked
    }

    fn set_nmi_blocked(&mut self, blocked: bool) {
        self.nmi_blocked = blocked;
    }

    fn task_priority(&self) -> u8 {
        let [priority, ..] = (self.block.block().control.virtual_interrupt & V_TPR).to_le_bytes();
        priority & 0xf
    }

    fn arrange(&mut self, plan: &Plan, task_priority: u8) {
        let way = Way::of(plan);
        // Until its handler's IRET, which is therefore intercepted, no other one may come.
        self.nmi_blocked |= way.injected == Some(Event::Nmi);
        self.offered = way.offered;
        let nmi_blocked = self.nmi_blocked;
        let wanted = virtual_interrupt(plan.window, way.offered, task_priority);
        let block = self.block.block_mut();
        block.control.event_injection = way.injected.map_or(0, event::encode);
        intercepts::set_first(block, first::INTERRUPT_WINDOW, plan.window.is_some());
        intercepts::set_first(block, first::IRET, nmi_blocked);
        if block.control.virtual_interrupt != wanted {
            block.change(Clean::VIRTUAL_INTERRUPT).control.virtual_interrupt = wanted;
        }
    }

    fn drop_events(&mut self) {
        self.nmi_blocked = false;
        self.offered = None;
        let block = self.block.block_mut();
        block.forget();
        block.control.interrupt_shadow = 0;
        block.control.event_injection = 0;
        block.control.exit_interrupt_info = 0;
    }

    fn enter(&mut self, registers: &mut Registers) -> Reason {
        let save = &mut self.block.block_mut().save;
        save.rax = registers.rax;
        save.rsp = registers.rsp;
        save.rip = registers.rip;
        save.rflags = registers.rflags;

        self.block.enter(registers);

        let Vmcb { control, save } = self.block.block_mut();
        registers.rax = save.rax;
        registers.rsp = save.rsp;
        registers.rip = save.rip;
        registers.rflags = save.rflags;
        let reason = reason::decode(control.exit_code, control.exit_info_1, control.exit_info_2);
        if reason == Reason::Iret {
            // What waits may not come before the IRET that ends the handler is done: on the handler's own stack it would
            // take the place of what the IRET returns to. The next exit behind it lets it in.
            control.interrupt_shadow = 1;
        }
        reason
    }

    fn cut_short(&self) -> Option<Event> {
        let control = &self.block.block().control;
        let not_taken = || self.offered.filter(|_| control.virtual_interrupt & V_IRQ != 0);
        // Where both say so it is the same one: not every processor counts it as taken before it is delivered.
        event::decode_interrupted(control.exit_interrupt_info).or_else(|| not_taken().map(Event::Interrupt))
    }

    fn next_rip(&self, _rip: u64, _code: CodeSize) -> Option<u64> {
        let told = self.block.assists().next_rip;
        told.then(|| self.block.block().control.next_rip)
    }

    fn fetched(&self) -> Option<(&[u8; LONGEST], usize)> {
        // Only for this kind of exit.
        let control = &self.block.block().control;
        let count = usize::from(control.fetched).min(LONGEST);
        let told = self.block.assists().decode && control.exit_code == reason::NESTED_FAULT && count > 0;
        told.then_some((&control.instruction, count))
    }

    fn flush(&mut self) {
        self.block.flush();
    }

    fn flush_second_stage(&mut self) {
        // One tag covers both.
        self.block.flush();
    }

    fn words(&self) -> Words {
        let control = &self.block.block().control;
        Words {
            code: control.exit_code,
            information: control.exit_info_1,
            address: control.exit_info_2,
        }
    }

    fn explain(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = Limits {
            cr4: self.cr4_allowed,
            ..*self.block.limits()
        };
        let vmcb = self.block.block();
        fmt::Display::fmt(
            &Explanation {
                vmcb,
                limits: &limits,
            },
            out,
        )
    }
}

/// By which of the control block's two ways an event goes in.
///
/// An interrupt that the guest can take at once, with nothing behind it to wait for, is offered as a virtual one; it is
/// the first thing that the guest does. Where a window is wanted too, which needs the same fields, and for all that is
/// no interrupt from outside, there is EVENTINJ. The two differ in nothing but that QEMU's emulated processor (7.2) may
/// deliver an interrupt in EVENTINJ a second time, on top of its handler's first instruction: what it delivered stays
/// noted as pending until the next exit, exception or interrupt, and is looked at again whenever its main loop
/// interrupts the processor, as it does all the time with more than one. See [`Block::enter`].
struct Way {
    injected: Option<Event>,
    offered: Option<Vector>,
}

impl Way {
    fn of(plan: &Plan) -> Self {
        match plan.inject {
            Some((Event::Interrupt(vector), _)) if plan.window.is_none() => Self {
                injected: None,
                offered: Some(vector),
            },
            inject => Self {
                injected: inject.map(|(event, _)| event),
                offered: None,
            },
        }
    }
}

/// The virtual interrupt fields: for an interrupt that is offered, or for a window, which is a virtual interrupt that
/// is intercepted when it would be taken.
fn virtual_interrupt(window: Option<Window>, offered: Option<Vector>, task_priority: u8) -> u64 {
    let request = match (offered, window) {
        (Some(vector), _) => V_IRQ | V_IGNORE_TPR | u64::from(vector.raw()) << V_VECTOR_SHIFT,
        (None, None) => 0,
        (None, Some(Window::Open)) => V_IRQ | V_IGNORE_TPR,
        (None, Some(Window::AbovePriority(class))) => V_IRQ | u64::from(class) << V_PRIORITY_SHIFT,
    };
    V_MASKING | u64::from(task_priority & 0xf) | request
}
