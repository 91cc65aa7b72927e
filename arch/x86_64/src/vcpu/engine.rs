//! What runs a vcpu: the seam between the decisions about it, which are the same everywhere, and one vendor's way to
//! keep a guest's state and to enter it.
//!
//! Two traits. An [`Engine`] is pure too: it translates between meanings and the words of a control structure. The
//! [`Services`] are the running processor's; the bare machine has one implementation for each vendor, tests bring a
//! script.

use core::fmt;

use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::domain::footprint::Cost;
use xenvisor_core::machine::{Level, Registers};
use xenvisor_core::number::PcpuId;
use xenvisor_core::vcpu::start::Segment;

use super::event::{Event, Plan};
use super::reason::Reason;
use crate::emulate::{CodeSize, LONGEST};

/// A register of the guest that the engine keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Register {
    /// CR0 as the guest sees it.
    Cr0,
    /// CR2.
    Cr2,
    /// CR3.
    Cr3,
    /// CR4 as the guest sees it.
    Cr4,
    /// EFER as the guest sees it.
    Efer,
    /// DR6.
    Dr6,
    /// DR7.
    Dr7,
    /// The page attribute table.
    Pat,
    /// DEBUGCTL.
    DebugControl,
    /// SYSENTER_CS.
    SysenterCs,
    /// SYSENTER_ESP.
    SysenterEsp,
    /// SYSENTER_EIP.
    SysenterEip,
    /// STAR.
    Star,
    /// LSTAR.
    LongStar,
    /// CSTAR.
    CompatStar,
    /// SFMASK.
    SyscallMask,
    /// KERNEL_GS_BASE.
    KernelGsBase,
}

/// A segment register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentRegister {
    /// ES.
    Es,
    /// CS.
    Cs,
    /// SS.
    Ss,
    /// DS.
    Ds,
    /// FS.
    Fs,
    /// GS.
    Gs,
    /// The local descriptor table's.
    Ldt,
    /// The task register.
    Task,
}

/// A descriptor table that no segment describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// GDTR.
    Global,
    /// IDTR.
    Interrupt,
}

/// The words of an exit, for somebody who reads a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Words {
    /// The processor's code for its cause.
    pub code: u64,
    /// What it says about it.
    pub information: u64,
    /// The guest-physical address that was accessed, where that is the cause.
    pub address: u64,
}

/// Keeps one vcpu's state in the form of one vendor, and enters it. Used by the loop that runs the vcpu, on the pcpu
/// that it runs on.
pub trait Engine: Send {
    /// The running processor's services.
    type Services: Services;

    /// The running processor.
    fn services(&self) -> &Self::Services;

    /// The running processor, for changes to what it holds of the guest.
    fn services_mut(&mut self) -> &mut Self::Services;

    /// Prepares for a guest that is offered these bits of CR4, and no others.
    fn confine(&mut self, cr4_allowed: u64);

    /// A register.
    fn get(&self, register: Register) -> u64;

    /// Changes a register. The value is one that a processor takes.
    fn set(&mut self, register: Register, value: u64);

    /// A segment register.
    fn segment(&self, register: SegmentRegister) -> Segment;

    /// Changes a segment register.
    fn set_segment(&mut self, register: SegmentRegister, segment: &Segment);

    /// Changes the place of a descriptor table.
    fn set_table(&mut self, table: Table, base: u64, limit: u16);

    /// The privilege level.
    fn privilege_level(&self) -> u8;

    /// Changes the privilege level.
    fn set_privilege_level(&mut self, level: u8);

    /// The four page directory pointers that the processor has loaded, where it keeps them for PAE paging instead of
    /// reading them from memory each time.
    fn page_directory_pointers(&self) -> Option<[u64; 4]>;

    /// Changes the page directory pointers, where the processor keeps them.
    fn set_page_directory_pointers(&mut self, pointers: [u64; 4]);

    /// How far the guest's time-stamp counter is ahead of the machine's.
    fn tsc_offset(&self) -> u64;

    /// Changes how far the guest's time-stamp counter is ahead.
    fn set_tsc_offset(&mut self, offset: u64);

    /// Whether the guest is at the instruction behind STI, MOV SS or POP SS.
    fn in_shadow(&self) -> bool;

    /// That instruction is over.
    fn end_shadow(&mut self);

    /// Whether a non-maskable interrupt is being handled.
    fn nmi_blocked(&self) -> bool;

    /// Changes whether a non-maskable interrupt is being handled.
    fn set_nmi_blocked(&mut self, blocked: bool);

    /// The class of interrupts that the guest holds off, 0 to 15 (CR8).
    fn task_priority(&self) -> u8;

    /// Prepares the next entry: what is injected, which windows end the run, and the guest's task priority.
    fn arrange(&mut self, plan: &Plan, task_priority: u8);

    /// Takes back what [`Engine::arrange`] and the last exit left to be delivered: the vcpu begins anew.
    fn drop_events(&mut self);

    /// Runs the guest until it exits.
    fn enter(&mut self, registers: &mut Registers) -> Reason;

    /// The event whose delivery the last exit cut short.
    fn cut_short(&self) -> Option<Event>;

    /// Where the guest goes on behind the instruction that caused the last exit, if the processor says so.
    fn next_rip(&self, rip: u64, code: CodeSize) -> Option<u64>;

    /// The bytes of the instruction that caused the last exit and how many, if the processor says so.
    fn fetched(&self) -> Option<(&[u8; LONGEST], usize)>;

    /// Forgets the translations of the guest's own tables before the next run.
    fn flush(&mut self);

    /// Forgets the translations of the second stage, too, before the next run.
    fn flush_second_stage(&mut self);

    /// What the last exit said.
    fn words(&self) -> Words;

    /// Writes what is wrong with the control structure that the processor has refused.
    ///
    /// # Errors
    /// When the formatter has one.
    fn explain(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// What the running processor does for a vcpu, apart from running it.
pub trait Services: Send {
    /// The time now.
    fn now(&self) -> Instant;

    /// The machine's time-stamp counter.
    fn ticks(&self) -> u64;

    /// How the time-stamp counter becomes time.
    fn time_scale(&self) -> TimeScale;

    /// Makes an interrupt of the machine end the next run at `until`, if none did before.
    fn wake_at(&self, until: Instant);

    /// What it took of the machine when it was made.
    fn cost(&self) -> Cost {
        Cost::default()
    }

    /// Whether somebody has asked this processor to look around instead of running a guest, since this was last asked.
    fn takes_kick(&self) -> bool;

    /// A turn begins on this pcpu: what earlier turns elsewhere have left here is not to be believed.
    fn arrive(&mut self, pcpu: PcpuId);

    /// The turn is over: nothing of the guest stays in the processor where another one could take it up.
    fn depart(&mut self);

    /// Lets the host serve the interrupts that wait for it.
    fn take_interrupts(&self);

    /// Hands an intercepted machine check to the host, which does not come back from it.
    fn machine_check(&self);

    /// Extended registers, breakpoints and XCR0 as after power-on.
    fn reset_extended_state(&mut self);

    /// XCR0 of the guest.
    fn xcr0(&self) -> u64;

    /// Changes XCR0 of the guest. The value has been checked against what the guest is offered.
    fn set_xcr0(&mut self, value: u64);

    /// TSC_AUX of the guest.
    fn tsc_aux(&self) -> u32;

    /// Changes TSC_AUX of the guest.
    fn set_tsc_aux(&mut self, value: u32);

    /// Keeps earlier branches from steering later ones.
    fn prediction_barrier(&self);

    /// The processor's microcode revision, as MSR 0x8b has it.
    fn microcode(&self) -> u64;

    /// A line for the host's log.
    fn log(&self, level: Level, line: fmt::Arguments<'_>);
}
