//! The hardware contract, method by method.

use xenvisor_core::clock::Instant;
use xenvisor_core::domain::footprint::Cost;
use xenvisor_core::machine::{
    Access, BadAddress, Exit, GuestRam, Ipi, IpiKind, Outcome, Registers, VirtCpu, Width,
};
use xenvisor_core::number::{GuestAddr, LinearAddr, PcpuId, Vector};
use xenvisor_core::vcpu::start::StartState;

use super::{Cpu, RFLAGS_IF, Unfinished};
use crate::devices::local_apic::Trigger;
use crate::vcpu::engine::{Engine, Services};

impl<E: Engine> VirtCpu for Cpu<E> {
    fn start(&mut self, state: &StartState) {
        self.start_at(state);
    }

    fn arrive(&mut self, pcpu: PcpuId) {
        self.engine.services_mut().arrive(pcpu);
    }

    fn depart(&mut self) {
        self.engine.services_mut().depart();
    }

    fn run(&mut self, guest: &dyn GuestRam, until: Instant) -> Exit {
        self.run_until(guest, until)
    }

    fn cost(&self) -> Cost {
        self.engine.services().cost() + Cost::heap(size_of_val(&*self.policy))
    }

    fn complete_hypercall(&mut self, outcome: Outcome) {
        let Unfinished::Hypercall { next_rip } = self.unfinished else {
            return;
        };
        self.unfinished = Unfinished::Nothing;
        match outcome {
            Outcome::Return(value) => {
                self.registers.rax = value;
                self.step_to(next_rip);
            }
            Outcome::Continue(arguments) => self.set_arguments(arguments),
            Outcome::Never => return,
        }
        if self.code_width() == Width::Bits32 {
            self.clip();
        }
    }

    fn complete_port(&mut self, value: u32) {
        self.finish_port(value);
    }

    fn complete_unbacked(&mut self, guest: &dyn GuestRam) -> Result<(), Exit> {
        let Unfinished::Unbacked { by_instruction } = self.unfinished else {
            return Ok(());
        };
        self.unfinished = Unfinished::Nothing;
        if by_instruction {
            self.emulate(guest)
        } else {
            Err(self.unknown())
        }
    }

    fn registers(&mut self) -> &mut Registers {
        &mut self.registers
    }

    fn width(&self) -> Width {
        self.code_width()
    }

    fn translate(
        &self,
        guest: &dyn GuestRam,
        at: LinearAddr,
        access: Access,
    ) -> Result<GuestAddr, BadAddress> {
        self.kernel_address(guest, at, access)
    }

    fn raise(&mut self, vector: Vector) {
        self.apic.tell(vector);
    }

    fn set_upcall_line(&mut self, vector: Option<Vector>) {
        self.upcall = vector;
    }

    fn raise_nmi(&mut self) {
        self.nmi = true;
    }

    fn receive_ipi(&mut self, ipi: &Ipi) -> bool {
        if !self.apic.is_addressed(ipi) {
            return false;
        }
        match ipi.kind {
            IpiKind::Fixed(vector) | IpiKind::LowestPriority(vector) => {
                self.apic.accept(vector, Trigger::Edge);
                !self.waits_for_startup
            }
            IpiKind::Nmi => {
                self.nmi = !self.waits_for_startup;
                self.nmi
            }
            IpiKind::Init => {
                self.initialise();
                false
            }
            IpiKind::Startup { page } => self.start_up(page),
        }
    }

    fn interruptible_and_pending(&self) -> bool {
        self.waiting().would_wake(self.openness())
    }

    fn interrupts_enabled(&self) -> bool {
        self.registers.rflags & RFLAGS_IF != 0
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.apic.next_deadline()
    }

    fn tick(&mut self, now: Instant) {
        self.apic.tick(now);
    }

    fn flush(&mut self) {
        self.engine.flush_second_stage();
    }
}

impl<E: Engine> Cpu<E> {
    /// The arguments of a hypercall, by the convention of the code that runs.
    pub(super) const fn arguments(registers: &Registers, width: Width) -> [u64; 6] {
        let r = registers;
        match width {
            Width::Bits64 => [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9],
            Width::Bits32 => [
                low(r.rbx),
                low(r.rcx),
                low(r.rdx),
                low(r.rsi),
                low(r.rdi),
                low(r.rbp),
            ],
        }
    }

    /// Puts arguments back where the guest had them: it executes the instruction again.
    fn set_arguments(&mut self, arguments: [u64; 6]) {
        let width = self.code_width();
        let r = &mut self.registers;
        match width {
            Width::Bits64 => [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = arguments,
            Width::Bits32 => [r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp] = arguments,
        }
    }

    /// The upper register halves are not those of code that is not 64-bit: nothing of ours may show there later.
    const fn clip(&mut self) {
        let r = &mut self.registers;
        r.rax = low(r.rax);
        r.rbx = low(r.rbx);
        r.rcx = low(r.rcx);
        r.rdx = low(r.rdx);
        r.rsi = low(r.rsi);
        r.rdi = low(r.rdi);
        r.rbp = low(r.rbp);
    }
}

/// The lower half.
pub(super) const fn low(value: u64) -> u64 {
    value & 0xffff_ffff
}
