//! What runs a control block: the seam between the decisions about a vcpu, which are safe code, and the hardware.
//!
//! The bare machine has one implementation, in `hardware`; tests bring a script of exits.

use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::machine::{Level, Registers};

use super::check::Limits;
use super::vmcb::Vmcb;
use core::fmt;

/// The hardware behind one vcpu. Used by the loop that runs the vcpu, on the pcpu that it runs on.
pub trait Engine: Send {
    /// The control block, between runs.
    fn block(&self) -> &Vmcb;

    /// The control block, for changes: see [`Vmcb::change`].
    fn block_mut(&mut self) -> &mut Vmcb;

    /// Runs the guest until it exits. RAX, RSP, RIP and RFLAGS travel in the control block, the rest in `registers`.
    fn enter(&mut self, registers: &mut Registers);

    /// The time now.
    fn now(&self) -> Instant;

    /// The machine's time-stamp counter.
    fn ticks(&self) -> u64;

    /// How the time-stamp counter becomes time.
    fn time_scale(&self) -> TimeScale;

    /// Makes an interrupt of the machine end the next run at `until`, if none did before.
    fn wake_at(&self, until: Instant);

    /// Lets the host serve the interrupts that wait for it.
    fn take_interrupts(&self);

    /// Hands an intercepted machine check to the host, which does not come back from it.
    fn machine_check(&self);

    /// Forgets the guest's translations before the next run.
    fn flush(&mut self);

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

    /// What this processor's entry checks depend on.
    fn limits(&self) -> &Limits;

    /// What this processor tells at an exit.
    fn assists(&self) -> Assists;

    /// A line for the host's log.
    fn log(&self, level: Level, line: fmt::Arguments<'_>);
}

/// What a processor tells at an exit, beyond its cause (CPUID 0x8000_000a EDX).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assists {
    /// Where the next instruction begins (NRIPS, bit 3).
    pub next_rip: bool,
    /// The bytes of the instruction and the register of a CR access (DecodeAssists, bit 7).
    pub decode: bool,
}
