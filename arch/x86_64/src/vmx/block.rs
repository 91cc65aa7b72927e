//! A control structure and what runs it: the seam between this backend's pure half and the hardware.
//!
//! The bare machine has one implementation, in `hardware`; tests bring a script of exits.

use xenvisor_core::machine::Registers;

use super::capability::Capabilities;
use super::fields::Fields;
use crate::vcpu::engine::Services;
use crate::vcpu::extended_state::Kept;

/// Why the guest was not entered at all (SDM vol. 3 §31.2): the instruction failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotEntered {
    /// There is no control structure to speak of.
    Invalid,
    /// With this error number.
    Valid(u32),
}

/// The hardware behind one vcpu. Used by the loop that runs the vcpu, on the pcpu that it runs on.
pub trait Block: Services + Fields {
    /// Runs the guest until it exits. RSP, RIP and RFLAGS travel in the control structure, the rest in `registers`.
    ///
    /// # Errors
    /// When the instruction failed: the guest did not run and the fields are as they were.
    fn enter(&mut self, registers: &mut Registers) -> Result<(), NotEntered>;

    /// A register that the control structure does not carry.
    fn kept(&self, register: Kept) -> u64;

    /// Changes a register that the control structure does not carry.
    fn set_kept(&mut self, register: Kept, value: u64);

    /// The task priority register of the virtual APIC page: its class is in bits 7:4.
    fn virtual_task_priority(&self) -> u8;

    /// Changes the task priority register of the virtual APIC page.
    fn set_virtual_task_priority(&mut self, value: u8);

    /// Forgets the translations of the guest's own tables before the next run.
    fn flush(&mut self);

    /// Forgets the translations of the second stage before the next run.
    fn flush_second_stage(&mut self);

    /// What this processor can do.
    fn capabilities(&self) -> &Capabilities;
}
