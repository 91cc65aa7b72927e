//! Exits, one by one: what the virtual hardware serves here, and what goes to the hypervisor.

use xenvisor_core::machine::{Access, Call, Exit, GuestRam, Width};
use xenvisor_core::number::GuestAddr;

use super::contract::low;
use super::{Cpu, Served, Unfinished};
use crate::emulate::length::Intercepted;
use crate::guest::cpuid::xstate::set_xcr;
use crate::guest::exception::Exception;
use crate::vcpu::engine::{Engine, Register, Services};
use crate::vcpu::event::Event;
use crate::vcpu::reason::{NestedFault, Reason};

const CR4_OSXSAVE: u64 = 1 << 18;
/// DR7: general detect. A debug exception clears it.
const DR7_GD: u64 = 1 << 13;
const DEBUG: u8 = 1;
const ALIGNMENT_CHECK: u8 = 17;
const MACHINE_CHECK: u8 = 18;

impl<E: Engine> Cpu<E> {
    /// Serves one exit.
    pub(super) fn serve(&mut self, reason: Reason, guest: &dyn GuestRam) -> Served {
        match reason {
            Reason::Interrupt | Reason::Nmi | Reason::Init => {
                self.engine.services().take_interrupts();
                Served::Exit(Exit::Preempted)
            }
            // The next plan injects.
            Reason::InterruptWindow => Served::Again,
            Reason::Cpuid => self.cpuid(guest),
            Reason::Halt => self.halt(guest),
            Reason::Hypercall => self.hypercall(guest),
            Reason::ReadMsr => self.read_msr(guest),
            Reason::WriteMsr => self.write_msr(guest),
            Reason::Port(access) => self.port(access, guest),
            Reason::NestedFault(fault) => self.nested_fault(fault, guest),
            Reason::WriteCr0 { from } => self.write_cr0(from, guest),
            Reason::WriteCr4 { from } => self.write_cr4(from, guest),
            Reason::SetXcr => self.set_xcr(guest),
            Reason::CacheFlush => self.cache_flush(guest),
            Reason::Iret => {
                // From here on another one may come: the engine holds it back until the IRET is done.
                self.engine.set_nmi_blocked(false);
                Served::Again
            }
            Reason::ReadCounter => self.refuse(Exception::GP),
            Reason::NotOffered => self.refuse(Exception::InvalidOpcode),
            Reason::Exception { vector, code } => self.exception(vector, code),
            // Nobody will thaw it, so it stands there until its time is over, again and again.
            Reason::X87Freeze => Served::Again,
            Reason::Shutdown => Served::Exit(Exit::Shutdown),
            Reason::Invalid => Served::Exit(self.refused()),
            Reason::Misconfigured { at } => Served::Exit(self.misconfigured(at)),
            Reason::TaskSwitch | Reason::Other => Served::Exit(self.unknown()),
        }
    }

    /// The guest gets an exception in place of its instruction.
    pub(super) fn refuse(&mut self, exception: Exception) -> Served {
        self.raise_exception(exception);
        Served::Again
    }

    fn cpuid(&mut self, guest: &dyn GuestRam) -> Served {
        if self.msrs.cpuid_faults() && !self.is_privileged() {
            return self.refuse(Exception::GP);
        }
        if let Some(next) = self.next_rip(guest, Intercepted::Cpuid) {
            let leaf = low_word(self.registers.rax);
            let answer = self
                .policy
                .answer(leaf, low_word(self.registers.rcx), &self.live());
            self.registers.rax = u64::from(answer.eax);
            self.registers.rbx = u64::from(answer.ebx);
            self.registers.rcx = u64::from(answer.ecx);
            self.registers.rdx = u64::from(answer.edx);
            self.step_to(next);
        }
        Served::Again
    }

    fn halt(&mut self, guest: &dyn GuestRam) -> Served {
        match self.next_rip(guest, Intercepted::Halt) {
            Some(next) => {
                self.step_to(next);
                Served::Exit(Exit::Halt)
            }
            None => Served::Again,
        }
    }

    fn hypercall(&mut self, guest: &dyn GuestRam) -> Served {
        let Some(next_rip) = self.next_rip(guest, Intercepted::Hypercall) else {
            return Served::Again;
        };
        let width = self.code_width();
        let number = match width {
            Width::Bits64 => self.registers.rax,
            Width::Bits32 => low(self.registers.rax),
        };
        self.unfinished = Unfinished::Hypercall { next_rip };
        Served::Exit(Exit::Hypercall(Call {
            number,
            arguments: Self::arguments(&self.registers, width),
            width,
            privileged: self.is_privileged(),
        }))
    }

    fn nested_fault(&mut self, fault: NestedFault, guest: &dyn GuestRam) -> Served {
        let at = GuestAddr::new(fault.at);
        let in_delivery = self.engine.cut_short().is_some();
        let by_instruction = !fault.in_page_walk && !fault.is_fetch && !in_delivery;
        let is_apic = self
            .apic
            .mmio_page()
            .is_some_and(|page| page.frame() == at.frame());
        if is_apic && by_instruction {
            return match self.emulate(guest) {
                Ok(()) => Served::Again,
                Err(exit) => Served::Exit(exit),
            };
        }
        self.unfinished = Unfinished::Unbacked { by_instruction };
        Served::Exit(Exit::Unbacked {
            at,
            access: if fault.is_write {
                Access::ReadWrite
            } else {
                Access::Read
            },
        })
    }

    fn set_xcr(&mut self, guest: &dyn GuestRam) -> Served {
        let offered = self.policy.xcr0_offered();
        if offered == 0 || self.engine.get(Register::Cr4) & CR4_OSXSAVE == 0 {
            return self.refuse(Exception::InvalidOpcode);
        }
        let Some(next) = self.next_rip(guest, Intercepted::SetExtendedControl) else {
            return Served::Again;
        };
        let value = low(self.registers.rdx) << 32 | low(self.registers.rax);
        match set_xcr(low_word(self.registers.rcx), value, offered) {
            Ok(value) if self.is_privileged() => {
                self.engine.services_mut().set_xcr0(value);
                self.step_to(next);
                Served::Again
            }
            _ => self.refuse(Exception::GP),
        }
    }

    /// INVD and WBINVD: no device of a guest bypasses the caches, and INVD must not lose what others wrote.
    fn cache_flush(&mut self, guest: &dyn GuestRam) -> Served {
        if !self.is_privileged() {
            return self.refuse(Exception::GP);
        }
        let next = self
            .next_rip(guest, Intercepted::WriteBack)
            .or_else(|| self.next_rip(guest, Intercepted::Invalidate));
        if let Some(next) = next {
            self.step_to(next);
        }
        Served::Again
    }

    /// An intercepted exception. The guest's own are given back to it; that there was an exit in between is all the
    /// protection that is needed.
    fn exception(&mut self, vector: u8, code: u32) -> Served {
        match vector {
            DEBUG => {
                // DR6 already says why.
                let dr7 = self.engine.get(Register::Dr7);
                if dr7 & DR7_GD != 0 {
                    self.engine.set(Register::Dr7, dr7 & !DR7_GD);
                }
                self.queue(Event::Exception { vector, code: None });
                Served::Again
            }
            ALIGNMENT_CHECK => {
                self.queue(Event::Exception {
                    vector,
                    code: Some(code),
                });
                Served::Again
            }
            MACHINE_CHECK => {
                self.engine.services().machine_check();
                Served::Exit(self.unknown())
            }
            _ => Served::Exit(self.unknown()),
        }
    }
}

/// The lower half of a register, as a number.
pub(super) fn low_word(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
