//! A control block and what runs it: the seam between this backend's pure half and the hardware.
//!
//! The bare machine has one implementation, in `hardware`; tests bring a script of exits.

use xenvisor_core::machine::Registers;

use super::check::Limits;
use super::vmcb::Vmcb;
use crate::vcpu::engine::Services;

/// The hardware behind one vcpu. Used by the loop that runs the vcpu, on the pcpu that it runs on.
pub trait Block: Services {
    /// The control block, between runs.
    fn block(&self) -> &Vmcb;

    /// The control block, for changes: see [`Vmcb::change`].
    fn block_mut(&mut self) -> &mut Vmcb;

    /// Runs the guest until it exits. RAX, RSP, RIP and RFLAGS travel in the control block, the rest in `registers`.
    ///
    /// Where the processor may deliver an interrupt in EVENTINJ twice, the exit comes right behind the delivery, as for
    /// an interrupt of the machine.
    fn enter(&mut self, registers: &mut Registers);

    /// Forgets the guest's translations before the next run.
    fn flush(&mut self);

    /// What this processor's entry checks depend on.
    fn limits(&self) -> &Limits;

    /// What this processor tells at an exit.
    fn assists(&self) -> Assists;
}

/// What a processor tells at an exit, beyond its cause (CPUID 0x8000_000a EDX).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assists {
    /// Where the next instruction begins (NRIPS, bit 3).
    pub next_rip: bool,
    /// The bytes of the instruction and the register of a CR access (DecodeAssists, bit 7).
    pub decode: bool,
}
