//! Stepping over an instruction that has been done in the guest's stead.

use xenvisor_core::machine::GuestRam;

use super::{Cpu, DR6_BS, RFLAGS_RF, RFLAGS_TF};
use crate::emulate::CodeSize;
use crate::emulate::length::{Intercepted, length};
use crate::guest::exception::Exception;
use crate::vcpu::engine::{Engine, Register};

impl<E: Engine> Cpu<E> {
    /// Where the guest goes on behind the intercepted instruction. `None` when the instruction is no longer what it was
    /// (another processor has changed it, or it cannot be read): then the guest executes what is there now.
    pub(super) fn next_rip(&self, guest: &dyn GuestRam, what: Intercepted) -> Option<u64> {
        let size = self.code_size();
        if let Some(next) = self.engine.next_rip(self.registers.rip, size) {
            return Some(next);
        }
        let code = self.fetch(guest).ok()?;
        let length = length(code.bytes(), size, what).ok()?;
        Some(advanced(self.registers.rip, length, size))
    }

    /// The instruction is done: go on behind it, as the processor would.
    pub(super) fn step_to(&mut self, next_rip: u64) {
        self.registers.rip = next_rip;
        let steps = self.registers.rflags & RFLAGS_TF != 0;
        self.registers.rflags &= !RFLAGS_RF;
        self.finish_step(steps);
    }

    /// What the end of an instruction brings with it, once the registers are those behind it.
    pub(super) fn finish_step(&mut self, steps: bool) {
        // The shadow of STI and MOV SS lasts for one instruction.
        self.engine.end_shadow();
        if steps {
            let dr6 = self.engine.get(Register::Dr6);
            self.engine.set(Register::Dr6, dr6 | DR6_BS);
            self.raise_exception(Exception::Debug);
        }
    }
}

/// The instruction pointer so many bytes on, in code of that size.
pub(crate) const fn advanced(rip: u64, length: u8, size: CodeSize) -> u64 {
    let next = rip.wrapping_add(length as u64);
    match size {
        CodeSize::Bits64 => next,
        CodeSize::Bits32 | CodeSize::Bits16 => next & 0xffff_ffff,
    }
}
