//! One virtual processor: what it is between two runs, and the loop from entry to exit.
//!
//! All decisions, no hardware: an [`Engine`] keeps the rest of the guest's state and enters it. Invariants: `registers`
//! are the guest's between exits; an exit that asks for completion is remembered in `unfinished` and completed at most
//! once; what an exit cut short is delivered again.
//! It must never panic, whatever the guest or the exit says: the worst is [`Exit::Unknown`].

mod contract;
mod control_registers;
mod device;
mod exits;
mod instruction;
mod memory;
mod msrs;
mod ports;
mod start;

pub(crate) use instruction::advanced;

use alloc::boxed::Box;
use core::fmt;

use xenvisor_core::clock::Instant;
use xenvisor_core::machine::{Exit, GuestRam, Level, Registers, Width};
use xenvisor_core::number::{DomainId, VcpuId, Vector};

use super::engine::{Engine, Register, SegmentRegister, Services};
use super::event::{Event, Openness, Plan, Source, Waiting};
use super::reason::{PortAccess, Reason};
use crate::devices::local_apic::LocalApic;
use crate::emulate::CodeSize;
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

/// One virtual processor.
pub struct Cpu<E> {
    engine: E,
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
    upcall: Option<Vector>,
    unfinished: Unfinished,
    /// The page directory pointers of PAE paging are to be loaded, where the processor keeps them: the vcpu begins with
    /// such paging.
    pointers_due: bool,
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

impl<E: Engine> Cpu<E> {
    /// A vcpu that has not started. `cpuid` is the host's CPUID.
    pub fn of(
        mut engine: E,
        domain: DomainId,
        vcpu: VcpuId,
        cpuid: &dyn Fn(u32, u32) -> Leaf,
        offers: &Offers,
    ) -> Self {
        let scale = engine.services().time_scale();
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
        engine.confine(policy.cr4_allowed());
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
            upcall: None,
            unfinished: Unfinished::Nothing,
            pointers_due: false,
            waits_for_startup: true,
        };
        cpu.reset();
        cpu.engine.services_mut().depart();
        cpu
    }

    /// Runs until there is an exit for the hypervisor.
    fn run_until(&mut self, guest: &dyn GuestRam, until: Instant) -> Exit {
        if let Some(exit) = self.finish_string(guest) {
            return exit;
        }
        self.unfinished = Unfinished::Nothing;
        self.load_due_pointers(guest);
        let mut is_first = true;
        loop {
            let now = self.engine.services().now();
            self.apic.tick(now);
            let plan = Plan::make(&self.waiting(), self.openness());
            // The upcall line was true when the run began. Behind an exit its cause may be gone: let it be looked at.
            let is_upcall = matches!(plan.inject, Some((_, Source::Upcall)));
            if now >= until || (is_upcall && !is_first) || self.engine.services().takes_kick() {
                return Exit::Preempted;
            }
            self.carry_out(&plan);
            let deadline = self.apic.next_deadline().map_or(until, |due| due.min(until));
            self.engine.services().wake_at(deadline);
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
        let reason = self.engine.enter(&mut self.registers);
        self.registers.rflags = self.registers.rflags & RFLAGS_DEFINED | RFLAGS_FIXED;
        if reason != Reason::Invalid {
            // The processor keeps the class alone: what is below it in the APIC's register stays until CR8 is written.
            let priority = u64::from(self.engine.task_priority());
            if priority != self.apic.cr8() {
                // Four bits are always a task priority.
                let _ = self.apic.set_cr8(priority);
            }
            if let Some(event) = self.engine.cut_short().and_then(Event::to_deliver_again) {
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
                self.engine.set_nmi_blocked(false);
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
            in_shadow: self.engine.in_shadow(),
            nmi_blocked: self.engine.nmi_blocked(),
        }
    }

    /// Carries a plan out, and tells the sources.
    fn carry_out(&mut self, plan: &Plan) {
        match plan.inject.map(|(_, source)| source) {
            Some(Source::Exception) => self.exception = None,
            Some(Source::Interrupted) => self.interrupted = None,
            Some(Source::Nmi) => self.nmi = false,
            Some(Source::Upcall) => self.upcall = None,
            Some(Source::Apic(vector)) => {
                self.apic.acknowledge(vector);
            }
            None => {}
        }
        let [task_priority, ..] = self.apic.cr8().to_le_bytes();
        self.engine.arrange(plan, task_priority);
    }

    /// Gives the guest an exception at the next entry, in place of finishing its instruction.
    fn raise_exception(&mut self, exception: Exception) {
        if let Some(address) = exception.cr2() {
            self.engine.set(Register::Cr2, address);
        }
        self.queue(exception.into());
    }

    /// Puts an exception first in line. Real mode knows no error codes (APM vol. 2 §8.2).
    fn queue(&mut self, event: Event) {
        let is_real = self.engine.get(Register::Cr0) & CR0_PE == 0;
        self.exception = Some(match event {
            Event::Exception { vector, .. } if is_real => Event::Exception { vector, code: None },
            other => other,
        });
    }

    /// Whether long mode is active.
    fn is_long(&self) -> bool {
        self.engine.get(Register::Efer) & EFER_LMA != 0
    }

    /// How the bytes at the instruction pointer are to be read.
    fn code_size(&self) -> CodeSize {
        CodeSize::of(&self.engine.segment(SegmentRegister::Cs), self.is_long())
    }

    /// The width of the code that runs.
    fn code_width(&self) -> Width {
        match self.code_size() {
            CodeSize::Bits64 => Width::Bits64,
            CodeSize::Bits32 | CodeSize::Bits16 => Width::Bits32,
        }
    }

    /// Whether code at privilege level 0 runs.
    fn is_privileged(&self) -> bool {
        self.engine.privilege_level() == 0 && self.registers.rflags & RFLAGS_VM == 0
    }

    /// The state that shows in CPUID.
    fn live(&self) -> Live {
        Live {
            domain: self.domain,
            vcpu: self.vcpu,
            cr4: self.engine.get(Register::Cr4),
            xcr0: self.engine.services().xcr0(),
            long_mode: self.is_long(),
            apic: self.apic.is_hardware_enabled(),
        }
    }

    /// The guest ends here: says so in the log, with the exit's words.
    fn unknown(&self) -> Exit {
        let words = self.engine.words();
        Exit::Unknown {
            code: words.code,
            information: words.information,
            instruction: self.registers.rip,
        }
    }

    /// The processor refused to enter: says what is wrong.
    fn refused(&self) -> Exit {
        let vcpu = self.vcpu.raw();
        self.engine.services().log(
            Level::Error,
            format_args!(
                "vcpu {vcpu}: the processor refuses to run the guest: {}",
                Explanation(&self.engine)
            ),
        );
        self.unknown()
    }

    /// The second stage is broken, which no guest can do: says where.
    fn misconfigured(&self, at: u64) -> Exit {
        let vcpu = self.vcpu.raw();
        self.engine.services().log(
            Level::Error,
            format_args!("vcpu {vcpu}: the second stage's entry for {at:#x} means nothing to the processor"),
        );
        self.unknown()
    }
}

/// What is wrong with an engine's control structure, for a log line.
struct Explanation<'a, E>(&'a E);

impl<E: Engine> fmt::Display for Explanation<'_, E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.explain(out)
    }
}

/// The counter's frequency in kHz, as its scale says.
fn khz(scale: &xenvisor_core::clock::TimeScale) -> u32 {
    u32::try_from(scale.ticks(1_000_000)).unwrap_or(u32::MAX)
}
