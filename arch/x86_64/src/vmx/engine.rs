//! A vcpu's state in Intel's form: the control structure, field by field, and what the processor keeps besides.
//!
//! Invariants: the guest's CR0 and CR4 are the field where the guest owns a bit and the shadow where it does not; the
//! entry control for long mode says what EFER.LMA says; a control field is written only when it changes, since the
//! processor never changes one by itself, but for the valid bit of the event and the entry control for long mode.

use core::fmt;

use x86::vmx::vmcs::{control, guest, ro};
use xenvisor_core::machine::Registers;
use xenvisor_core::vcpu::start::Segment;

use super::block::{Block, NotEntered};
use super::check::Explanation;
use super::fields::Fields;
use super::reason::EntryFailure;
use super::setup::cr0_mask;
use super::{event, instruction_error, reason, segment};
use crate::emulate::{CodeSize, LONGEST};
use crate::vcpu::cpu::advanced;
use crate::vcpu::engine::{Engine, Register, SegmentRegister, Table, Words};
use crate::vcpu::event::{Event, Plan, Window};
use crate::vcpu::extended_state::Kept;
use crate::vcpu::reason::Reason;

const CR0_PE: u64 = 1;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_VMXE: u64 = 1 << 13;
const EFER_LMA: u64 = 1 << 10;
/// Entry control: the guest is in long mode.
const ENTRY_LONG: u64 = 1 << 9;
/// Primary control: to be told when the guest can take an interrupt.
const INTERRUPT_WINDOW: u64 = 1 << 2;
/// Primary control: to be told when the guest can take a non-maskable interrupt.
const NMI_WINDOW: u64 = 1 << 22;
/// Interruptibility (SDM vol. 3 §25.4.2): by STI, by MOV SS, by a non-maskable interrupt.
const BY_STI: u64 = 1;
const BY_MOV_SS: u64 = 1 << 1;
const BY_NMI: u64 = 1 << 3;
/// The privilege level in a segment's access rights.
const DPL_SHIFT: u32 = 5;
const DPL_MASK: u64 = 3 << DPL_SHIFT;
/// Bits of DR6 that an exit for a debug exception reports, and those that stay from before.
const DR6_REPORTED: u64 = 0xf | 1 << 13 | 1 << 14;
const DR6_CONDITIONS: u64 = 0xf;
const DEBUG: u8 = 1;
const RFLAGS_TF: u64 = 1 << 8;
/// DEBUGCTL: steps go from branch to branch.
const BRANCH_STEPS: u64 = 1 << 1;
/// Pending debug exceptions: a step.
const PENDING_STEP: u64 = 1 << 14;
/// Exit qualification of an EPT violation, and bit 12 of the exit's interruption information: an IRET had unblocked
/// non-maskable interrupts before the exit cut it short (SDM vol. 3 §28.2.3).
const UNBLOCKED_BY_IRET: u64 = 1 << 12;

/// See the file's header.
pub struct VmxEngine<B> {
    block: B,
    /// The primary controls as they were written last.
    primary: u64,
    /// The task priority threshold as it was written last.
    threshold: u64,
    cut_short: Option<Event>,
    not_entered: Option<NotEntered>,
}

impl<B: Block> VmxEngine<B> {
    /// For a control structure that has been set up.
    pub fn new(block: B) -> Self {
        let mut engine = Self {
            primary: block.get(control::PRIMARY_PROCBASED_EXEC_CONTROLS),
            threshold: 0,
            cut_short: None,
            not_entered: None,
            block,
        };
        let mask = cr0_mask(engine.block.capabilities());
        engine.block.set(control::CR0_GUEST_HOST_MASK, mask);
        engine.block.set(control::TPR_THRESHOLD, 0);
        engine
    }

    /// A bit of the guest's CR0 or CR4 is in the field where the guest owns it, and else in the shadow.
    fn owned(&self, field: u32, mask: u32, shadow: u32) -> u64 {
        let mask = self.block.get(mask);
        self.block.get(field) & !mask | self.block.get(shadow) & mask
    }

    fn change_primary(&mut self, bits: u64, on: bool) {
        let new = if on {
            self.primary | bits
        } else {
            self.primary & !bits
        };
        if new != self.primary {
            self.primary = new;
            self.block.set(control::PRIMARY_PROCBASED_EXEC_CONTROLS, new);
        }
    }

    fn interruptibility(&self) -> u64 {
        self.block.get(guest::INTERRUPTIBILITY_STATE)
    }

    /// What the exit says of events: one that it cut short, and what an interrupted IRET had done.
    fn look_at_events(&mut self, reason: Reason) {
        let vectoring = self.block.get(ro::IDT_VECTORING_INFO);
        self.cut_short = event::decode(vectoring, || self.block.get(ro::IDT_VECTORING_ERR_CODE));
        let unblocked = match reason {
            Reason::NestedFault(_) => self.block.get(ro::EXIT_QUALIFICATION) & UNBLOCKED_BY_IRET != 0,
            Reason::Exception { .. } => self.block.get(ro::VMEXIT_INTERRUPTION_INFO) & UNBLOCKED_BY_IRET != 0,
            _ => false,
        };
        if unblocked && self.cut_short.is_none() {
            self.set_nmi_blocked(true);
        }
    }

    /// Behind STI and MOV SS a step of a guest that is stepping is always pending: an exit for another debug exception
    /// forgets it, and an entry insists on it (SDM vol. 3 §27.3.1.5).
    fn keep_step(&mut self, rflags: u64) {
        if !self.in_shadow() {
            return;
        }
        let steps = rflags & RFLAGS_TF != 0 && self.block.get(guest::IA32_DEBUGCTL_FULL) & BRANCH_STEPS == 0;
        let pending = self.block.get(guest::PENDING_DBG_EXCEPTIONS);
        let step = if steps { PENDING_STEP } else { 0 };
        if pending & PENDING_STEP != step {
            self.block
                .set(guest::PENDING_DBG_EXCEPTIONS, pending & !PENDING_STEP | step);
        }
    }

    /// An exit for a debug exception leaves DR6 alone and says what would have come there (SDM vol. 3 §28.1).
    fn look_at_debug(&mut self) {
        let reported = self.block.get(ro::EXIT_QUALIFICATION) & DR6_REPORTED;
        let old = self.block.kept(Kept::Dr6);
        self.block.set_kept(Kept::Dr6, old & !DR6_CONDITIONS | reported);
    }
}

impl<B: Block> Engine for VmxEngine<B> {
    type Services = B;

    fn services(&self) -> &B {
        &self.block
    }

    fn services_mut(&mut self) -> &mut B {
        &mut self.block
    }

    fn confine(&mut self, cr4_allowed: u64) {
        // What CPUID offers the guest may change by itself, as far as the processor allows that in a guest.
        let fixed_to_0 = !self.block.capabilities().cr4_fixed1;
        let fixed_to_1 = self.block.capabilities().cr4_fixed0;
        let mask = !cr4_allowed | fixed_to_0 | fixed_to_1 | CR4_VMXE;
        self.block.set(control::CR4_GUEST_HOST_MASK, mask);
    }

    fn get(&self, register: Register) -> u64 {
        let block = &self.block;
        match register {
            Register::Cr0 => self.owned(guest::CR0, control::CR0_GUEST_HOST_MASK, control::CR0_READ_SHADOW),
            Register::Cr2 => block.kept(Kept::Cr2),
            Register::Cr3 => block.get(guest::CR3),
            Register::Cr4 => self.owned(guest::CR4, control::CR4_GUEST_HOST_MASK, control::CR4_READ_SHADOW),
            Register::Efer => block.get(guest::IA32_EFER_FULL),
            Register::Dr6 => block.kept(Kept::Dr6),
            Register::Dr7 => block.get(guest::DR7),
            Register::Pat => block.get(guest::IA32_PAT_FULL),
            Register::DebugControl => block.get(guest::IA32_DEBUGCTL_FULL),
            Register::SysenterCs => block.get(guest::IA32_SYSENTER_CS),
            Register::SysenterEsp => block.get(guest::IA32_SYSENTER_ESP),
            Register::SysenterEip => block.get(guest::IA32_SYSENTER_EIP),
            Register::Star => block.kept(Kept::Star),
            Register::LongStar => block.kept(Kept::LongStar),
            Register::CompatStar => block.kept(Kept::CompatStar),
            Register::SyscallMask => block.kept(Kept::SyscallMask),
            Register::KernelGsBase => block.kept(Kept::KernelGsBase),
        }
    }

    fn set(&mut self, register: Register, value: u64) {
        let block = &mut self.block;
        match register {
            Register::Cr0 => {
                let able = block.capabilities();
                // Caches are the host's to switch off; protection and paging are the guest's.
                let always = able.cr0_fixed0 & !(CR0_PE | CR0_PG);
                let real = (value & !(CR0_CD | CR0_NW) | always) & able.cr0_fixed1;
                block.set(guest::CR0, real);
                block.set(control::CR0_READ_SHADOW, value);
            }
            Register::Cr2 => block.set_kept(Kept::Cr2, value),
            Register::Cr3 => block.set(guest::CR3, value),
            Register::Cr4 => {
                let able = block.capabilities();
                let real = (value | able.cr4_fixed0) & able.cr4_fixed1;
                block.set(guest::CR4, real);
                block.set(control::CR4_READ_SHADOW, value);
            }
            Register::Efer => {
                block.set(guest::IA32_EFER_FULL, value);
                let entry = block.get(control::VMENTRY_CONTROLS) & !ENTRY_LONG;
                let long = if value & EFER_LMA != 0 { ENTRY_LONG } else { 0 };
                block.set(control::VMENTRY_CONTROLS, entry | long);
            }
            Register::Dr6 => block.set_kept(Kept::Dr6, value),
            Register::Dr7 => block.set(guest::DR7, value),
            Register::Pat => block.set(guest::IA32_PAT_FULL, value),
            Register::DebugControl => block.set(guest::IA32_DEBUGCTL_FULL, value),
            Register::SysenterCs => block.set(guest::IA32_SYSENTER_CS, value),
            Register::SysenterEsp => block.set(guest::IA32_SYSENTER_ESP, value),
            Register::SysenterEip => block.set(guest::IA32_SYSENTER_EIP, value),
            Register::Star => block.set_kept(Kept::Star, value),
            Register::LongStar => block.set_kept(Kept::LongStar, value),
            Register::CompatStar => block.set_kept(Kept::CompatStar, value),
            Register::SyscallMask => block.set_kept(Kept::SyscallMask, value),
            Register::KernelGsBase => block.set_kept(Kept::KernelGsBase, value),
        }
    }

    fn segment(&self, register: SegmentRegister) -> Segment {
        segment::read(&self.block, register)
    }

    fn set_segment(&mut self, register: SegmentRegister, new: &Segment) {
        segment::write(&mut self.block, register, new);
    }

    fn set_table(&mut self, table: Table, base: u64, limit: u16) {
        let (base_field, limit_field) = match table {
            Table::Global => (guest::GDTR_BASE, guest::GDTR_LIMIT),
            Table::Interrupt => (guest::IDTR_BASE, guest::IDTR_LIMIT),
        };
        self.block.set(base_field, base);
        self.block.set(limit_field, u64::from(limit));
    }

    fn privilege_level(&self) -> u8 {
        let [rights, ..] = self.block.get(guest::SS_ACCESS_RIGHTS).to_le_bytes();
        rights >> DPL_SHIFT & 3
    }

    fn set_privilege_level(&mut self, level: u8) {
        let rights = self.block.get(guest::SS_ACCESS_RIGHTS) & !DPL_MASK;
        self.block.set(
            guest::SS_ACCESS_RIGHTS,
            rights | u64::from(level & 3) << DPL_SHIFT,
        );
    }

    fn page_directory_pointers(&self) -> Option<[u64; 4]> {
        let is_pae = self.get(Register::Cr0) & CR0_PG != 0
            && self.get(Register::Cr4) & CR4_PAE != 0
            && self.get(Register::Efer) & EFER_LMA == 0;
        is_pae.then(|| POINTERS.map(|field| self.block.get(field)))
    }

    fn set_page_directory_pointers(&mut self, pointers: [u64; 4]) {
        for (field, pointer) in POINTERS.into_iter().zip(pointers) {
            self.block.set(field, pointer);
        }
    }

    fn tsc_offset(&self) -> u64 {
        self.block.get(control::TSC_OFFSET_FULL)
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.block.set(control::TSC_OFFSET_FULL, offset);
    }

    fn in_shadow(&self) -> bool {
        self.interruptibility() & (BY_STI | BY_MOV_SS) != 0
    }

    fn end_shadow(&mut self) {
        let now = self.interruptibility();
        if now & (BY_STI | BY_MOV_SS) != 0 {
            self.block
                .set(guest::INTERRUPTIBILITY_STATE, now & !(BY_STI | BY_MOV_SS));
        }
        // A trap that waited behind MOV SS comes with the one that the end of the instruction brings, if any does.
        self.block.set(guest::PENDING_DBG_EXCEPTIONS, 0);
    }

    fn nmi_blocked(&self) -> bool {
        self.interruptibility() & BY_NMI != 0
    }

    fn set_nmi_blocked(&mut self, blocked: bool) {
        let rest = self.interruptibility() & !BY_NMI;
        let bit = if blocked { BY_NMI } else { 0 };
        self.block.set(guest::INTERRUPTIBILITY_STATE, rest | bit);
    }

    fn task_priority(&self) -> u8 {
        self.block.virtual_task_priority() >> 4
    }

    fn arrange(&mut self, plan: &Plan, task_priority: u8) {
        if let Some((event, _)) = plan.inject {
            let (information, code) = event::encode(event);
            if let Some(code) = code {
                self.block
                    .set(control::VMENTRY_EXCEPTION_ERR_CODE, u64::from(code));
            }
            self.block
                .set(control::VMENTRY_INTERRUPTION_INFO_FIELD, u64::from(information));
        }
        let priority = task_priority & 0xf;
        if self.task_priority() != priority {
            self.block.set_virtual_task_priority(priority << 4);
        }
        // A threshold above the priority would be refused; a class above it is held back by what is in service, and
        // the end of that service is an exit anyhow.
        let threshold = match plan.window {
            Some(Window::AbovePriority(class)) if class <= priority => u64::from(class),
            _ => 0,
        };
        if self.threshold != threshold {
            self.threshold = threshold;
            self.block.set(control::TPR_THRESHOLD, threshold);
        }
        self.change_primary(INTERRUPT_WINDOW, plan.window == Some(Window::Open));
        self.change_primary(NMI_WINDOW, plan.nmi_window);
    }

    fn drop_events(&mut self) {
        self.block.set(guest::INTERRUPTIBILITY_STATE, 0);
        self.block.set(guest::PENDING_DBG_EXCEPTIONS, 0);
        self.block.set(guest::ACTIVITY_STATE, 0);
        self.block.set(control::VMENTRY_INTERRUPTION_INFO_FIELD, 0);
        self.cut_short = None;
    }

    fn enter(&mut self, registers: &mut Registers) -> Reason {
        self.block.set(guest::RSP, registers.rsp);
        self.block.set(guest::RIP, registers.rip);
        self.block.set(guest::RFLAGS, registers.rflags);
        self.keep_step(registers.rflags);

        let entered = self.block.enter(registers);

        self.not_entered = entered.err();
        if self.not_entered.is_some() {
            return Reason::Invalid;
        }
        let reason = reason::decode(&self.block);
        if reason == Reason::Invalid {
            return reason;
        }
        registers.rsp = self.block.get(guest::RSP);
        registers.rip = self.block.get(guest::RIP);
        registers.rflags = self.block.get(guest::RFLAGS);
        self.look_at_events(reason);
        if matches!(reason, Reason::Exception { vector: DEBUG, .. }) {
            self.look_at_debug();
            if let Some(length) = reason::int1_length(&self.block) {
                registers.rip = registers.rip.wrapping_add(u64::from(length));
            }
        }
        reason
    }

    fn cut_short(&self) -> Option<Event> {
        self.cut_short
    }

    fn next_rip(&self, rip: u64, code: CodeSize) -> Option<u64> {
        let [length, ..] = self.block.get(ro::VMEXIT_INSTRUCTION_LEN).to_le_bytes();
        Some(advanced(rip, length & 0xf, code))
    }

    fn fetched(&self) -> Option<(&[u8; LONGEST], usize)> {
        None
    }

    fn flush(&mut self) {
        self.block.flush();
    }

    fn flush_second_stage(&mut self) {
        self.block.flush_second_stage();
    }

    fn words(&self) -> Words {
        Words {
            code: self.block.get(ro::EXIT_REASON),
            information: self.block.get(ro::EXIT_QUALIFICATION),
            address: self.block.get(ro::GUEST_PHYSICAL_ADDR_FULL),
        }
    }

    fn explain(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.not_entered {
            Some(NotEntered::Invalid) => return out.write_str("there is no control structure"),
            Some(NotEntered::Valid(number)) => {
                write!(out, "error {number} ({}): ", instruction_error::sentence(number))?;
            }
            None => match EntryFailure::decode(&self.block) {
                Some(failure) => write!(out, "{failure}: ")?,
                None => write!(out, "exit reason {:#x}: ", self.words().code)?,
            },
        }
        let explanation = Explanation {
            fields: &self.block as &dyn Fields,
            capabilities: self.block.capabilities(),
        };
        fmt::Display::fmt(&explanation, out)
    }
}

/// The page directory pointers that the processor has loaded.
const POINTERS: [u32; 4] = [
    guest::PDPTE0_FULL,
    guest::PDPTE1_FULL,
    guest::PDPTE2_FULL,
    guest::PDPTE3_FULL,
];
