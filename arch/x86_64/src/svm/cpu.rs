//! One virtual processor on SVM: what it is between two runs, and the loop from entry to exit.
//!
//! All decisions, no hardware: an [`Engine`] runs the control block. Invariants: `registers` are the guest's between
//! exits, the control block's copies of four of them are written at each entry and read at each exit; an exit that asks
//! for completion is remembered in `unfinished` and completed at most once; what an exit cut short is delivered again.
//! It must never panic, whatever the guest or the exit says: the worst is [`Exit::Unknown`].

mod contract;
mod device;
mod exits;
mod instruction;
mod memory;
mod msrs;
mod ports;
mod start;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;

use xenvisor_core::clock::Instant;
use xenvisor_core::machine::{Exit, GuestRam, Level, Registers, Width};
use xenvisor_core::number::{DomainId, VcpuId, Vector};

use super::check::{Explanation, Limits};
use super::engine::Engine;
use super::event::{Event, Openness, Plan, Source, Waiting, Window};
use super::intercepts::{self, first};
use super::reason::{PortAccess, Reason};
use super::segment::LONG;
use super::vmcb::{Clean, Vmcb};
use crate::devices::local_apic::LocalApic;
use crate::emulate::port_string::PortElement;
use crate::guest::cpuid::{Clock, CpuidPolicy, Leaf, Live, Offers};
use crate::guest::exception::Exception;
use crate::guest::msr::Msrs;

const CR0_PE: u64 = 1;
const EFER_LMA: u64 = 1 << 10;
const RFLAGS_IF: u64 = 1 << 9;
const RFLAGS_TF: u64 = 1 << 8;
const RFLAGS_RF: u64 = 1 << 16;
const RFLAGS_VM: u64 = 1 << 17;
/// The flags that exist, and the one that is always set. Hardware stores no others; QEMU 7.2 does, behind a CMPXCHG16B.
const RFLAGS_DEFINED: u64 = 0x003f_7fd7;
const RFLAGS_FIXED: u64 = 1 << 1;
/// DR6: single step.
const DR6_BS: u64 = 1 << 14;
/// Virtual interrupt fields of the control block (APM vol. 2 §15.21).
const V_TPR: u64 = 0xff;
const V_IRQ: u64 = 1 << 8;
const V_PRIORITY_SHIFT: u32 = 16;
const V_IGNORE_TPR: u64 = 1 << 20;
const V_MASKING: u64 = 1 << 24;

/// One virtual processor.
pub struct SvmCpu {
    engine: Box<dyn Engine>,
    domain: DomainId,
    vcpu: VcpuId,
    registers: Registers,
    apic: LocalApic,
    policy: Box<CpuidPolicy>,
    msrs: Msrs,
    exception: Option<Event>,
    /// An interrupt whose delivery an exit cut short.
    interrupted: Option<Event>,
    nmi: bool,
    /// A non-maskable interrupt is being handled, until IRET.
    nmi_blocked: bool,
    upcall: Option<Vector>,
    unfinished: Unfinished,
    /// After INIT: only a start-up interrupt has any effect.
    waits_for_startup: bool,
}

/// An exit that is not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unfinished {
    Nothing,
    /// A hypercall, and where the guest goes on.
    Hypercall {
        next_rip: u64,
    },
    Port(PortAccess),
    /// An element of a string, whose port access is to be done.
    StringPort(PortElement),
    /// One whose port access is done, and gave this.
    StringEnd {
        element: PortElement,
        value: u32,
    },
    /// An access that the nested tables refused.
    Unbacked {
        /// It was the guest's instruction that made it, not a fetch, a walk or the delivery of an event.
        by_instruction: bool,
    },
}

/// What became of an exit inside.
enum Served {
    /// It is served: run on.
    Again,
    /// It is for the hypervisor.
    Exit(Exit),
}

impl SvmCpu {
    /// A vcpu that has not started. `cpuid` is the host's CPUID.
    pub fn of(
        mut engine: Box<dyn Engine>,
        domain: DomainId,
        vcpu: VcpuId,
        cpuid: &dyn Fn(u32, u32) -> Leaf,
        offers: &Offers,
    ) -> Self {
        let scale = engine.time_scale();
        let khz = khz(&scale);
        let policy = Box::new(CpuidPolicy::new(
            cpuid,
            offers,
            Clock {
                khz,
                host_khz: khz,
                offset: 0,
                multiplier: scale.multiplier,
                shift: scale.shift,
                reliable: true,
                rdtscp: offers.tsc_aux,
            },
        ));
        intercepts::install(engine.block_mut());
        let apic = LocalApic::new(vcpu, policy.address_bits());
        let mut cpu = Self {
            engine,
            domain,
            vcpu,
            registers: Registers::default(),
            apic,
            policy,
            msrs: Msrs::new(),
            exception: None,
            interrupted: None,
            nmi: false,
            nmi_blocked: false,
            upcall: None,
            unfinished: Unfinished::Nothing,
            waits_for_startup: true,
        };
        cpu.reset();
        cpu
    }

    /// Runs until there is an exit for the hypervisor.
    fn run_until(&mut self, guest: &dyn GuestRam, until: Instant) -> Exit {
        if let Some(exit) = self.finish_string(guest) {
            return exit;
        }
        self.unfinished = Unfinished::Nothing;
        let mut is_first = true;
        loop {
            let now = self.engine.now();
            self.apic.tick(now);
            let plan = Plan::make(&self.waiting(), self.openness());
            // The upcall line was true when the run began. Behind an exit its cause may be gone: let it be looked at.
            let is_upcall = matches!(plan.inject, Some((_, Source::Upcall)));
            if now >= until || (is_upcall && !is_first) {
                return Exit::Preempted;
            }
            self.carry_out(&plan);
            let deadline = self.apic.next_deadline().map_or(until, |due| due.min(until));
            self.engine.wake_at(deadline);
            let reason = self.enter();
            is_first = false;
            match self.serve(reason, guest) {
                Served::Again => {}
                Served::Exit(exit) => return exit,
            }
        }
    }

    /// One entry and exit.
    fn enter(&mut self) -> Reason {
        let registers = self.registers;
        let block = self.engine.block_mut();
        block.save.rax = registers.rax;
        block.save.rsp = registers.rsp;
        block.save.rip = registers.rip;
        block.save.rflags = registers.rflags;

        self.engine.enter(&mut self.registers);

        let block = self.engine.block();
        self.registers.rax = block.save.rax;
        self.registers.rsp = block.save.rsp;
        self.registers.rip = block.save.rip;
        self.registers.rflags = block.save.rflags & RFLAGS_DEFINED | RFLAGS_FIXED;
        let control = &block.control;
        let reason = Reason::decode(control.exit_code, control.exit_info_1, control.exit_info_2);
        let priority = control.virtual_interrupt & V_TPR & 0xf;
        if reason != Reason::Invalid {
            let cut_short = Event::decode(control.exit_interrupt_info);
            // The processor keeps the class alone: what is below it in the APIC's register stays until CR8 is written.
            if priority != self.apic.cr8() {
                // Four bits are always a task priority.
                let _ = self.apic.set_cr8(priority);
            }
            if let Some(event) = cut_short.and_then(Event::to_deliver_again) {
                self.deliver_again(event);
            }
        }
        reason
    }

    /// Puts an event whose delivery the exit cut short back to where it came from.
    fn deliver_again(&mut self, event: Event) {
        match event {
            Event::Interrupt(_) => self.interrupted = Some(event),
            Event::Nmi => {
                self.nmi = true;
                self.nmi_blocked = false;
            }
            Event::Exception { .. } | Event::Software(_) => self.exception = Some(event),
        }
    }

    /// What waits for the guest.
    fn waiting(&self) -> Waiting {
        Waiting {
            exception: self.exception,
            interrupted: self.interrupted,
            nmi: self.nmi,
            upcall: self.upcall,
            apic: self.apic.highest_pending(),
            apic_requested: self.apic.highest_requested(),
        }
    }

    /// What the guest can take.
    fn openness(&self) -> Openness {
        Openness {
            interrupts_enabled: self.registers.rflags & RFLAGS_IF != 0,
            in_shadow: self.engine.block().control.interrupt_shadow & 1 != 0,
            nmi_blocked: self.nmi_blocked,
        }
    }

    /// Puts a plan into the control block and tells the sources.
    fn carry_out(&mut self, plan: &Plan) {
        match plan.inject.map(|(_, source)| source) {
            Some(Source::Exception) => self.exception = None,
            Some(Source::Interrupted) => self.interrupted = None,
            Some(Source::Nmi) => {
                self.nmi = false;
                self.nmi_blocked = true;
            }
            Some(Source::Upcall) => self.upcall = None,
            Some(Source::Apic(vector)) => {
                self.apic.acknowledge(vector);
            }
            None => {}
        }
        let wanted = self.virtual_interrupt(plan.window);
        let nmi_blocked = self.nmi_blocked;
        let block = self.engine.block_mut();
        block.control.event_injection = plan.inject.map_or(0, |(event, _)| event.encode());
        intercepts::set_first(block, first::INTERRUPT_WINDOW, plan.window.is_some());
        intercepts::set_first(block, first::IRET, nmi_blocked);
        if block.control.virtual_interrupt != wanted {
            block.change(Clean::VIRTUAL_INTERRUPT).control.virtual_interrupt = wanted;
        }
    }

    /// The virtual interrupt fields for a window: a virtual interrupt that is intercepted when it would be taken.
    fn virtual_interrupt(&self, window: Option<Window>) -> u64 {
        let window = match window {
            None => 0,
            Some(Window::Open) => V_IRQ | V_IGNORE_TPR,
            Some(Window::AbovePriority(class)) => V_IRQ | u64::from(class) << V_PRIORITY_SHIFT,
        };
        V_MASKING | self.apic.cr8() | window
    }

    /// Gives the guest an exception at the next entry, in place of finishing its instruction.
    fn raise_exception(&mut self, exception: Exception) {
        if let Some(address) = exception.cr2() {
            self.engine.block_mut().change(Clean::CR2).save.cr2 = address;
        }
        self.queue(exception.into());
    }

    /// Puts an exception first in line. Real mode knows no error codes (APM vol. 2 §8.2).
    fn queue(&mut self, event: Event) {
        let is_real = self.engine.block().save.cr0 & CR0_PE == 0;
        self.exception = Some(match event {
            Event::Exception { vector, .. } if is_real => Event::Exception { vector, code: None },
            other => other,
        });
    }

    /// The width of the code that runs.
    fn code_width(&self) -> Width {
        let save = &self.engine.block().save;
        if save.efer & EFER_LMA != 0 && save.cs.attributes & LONG != 0 {
            Width::Bits64
        } else {
            Width::Bits32
        }
    }

    /// Whether code at privilege level 0 runs.
    fn is_privileged(&self) -> bool {
        self.engine.block().save.cpl == 0 && self.registers.rflags & RFLAGS_VM == 0
    }

    /// The state that shows in CPUID.
    fn live(&self) -> Live {
        let save = &self.engine.block().save;
        Live {
            domain: self.domain,
            vcpu: self.vcpu,
            cr4: save.cr4,
            xcr0: self.engine.xcr0(),
            long_mode: save.efer & EFER_LMA != 0,
            apic: self.apic.is_hardware_enabled(),
        }
    }

    /// The guest ends here: says so in the log, with the exit's words.
    fn unknown(&self) -> Exit {
        let control = &self.engine.block().control;
        Exit::Unknown {
            code: control.exit_code,
            information: control.exit_info_1,
            instruction: self.registers.rip,
        }
    }

    /// The processor refused the control block: says what is wrong with it.
    fn refused(&self) -> Exit {
        let block: &Vmcb = self.engine.block();
        let limits = Limits {
            cr4: self.policy.cr4_allowed(),
            ..*self.engine.limits()
        };
        self.engine.log(
            Level::Error,
            format_args!(
                "vcpu {}: the processor refuses the control block: {}",
                self.vcpu.raw(),
                Explanation {
                    vmcb: block,
                    limits: &limits
                }
            ),
        );
        self.unknown()
    }
}

/// The counter's frequency in kHz, as its scale says.
fn khz(scale: &xenvisor_core::clock::TimeScale) -> u32 {
    u32::try_from(scale.ticks(1_000_000)).unwrap_or(u32::MAX)
}
