//! A virtual processor that runs programs instead of instructions.
//!
//! Where it starts, the name of a program must stand (see [`kernel`](crate::kernel)). The program runs one action at a
//! time: most end at once, some are exits. Interrupts are as on hardware: taken between two actions when they are
//! enabled, handled with interrupts off, and followed by what was interrupted. Its local APIC is always on and needs no
//! end of interrupt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use xenvisor_abi::event_channel::EVTCHNOP_send;
use xenvisor_abi::xen::HYPERVISOR_event_channel_op;
use xenvisor_core::clock::Instant;
use xenvisor_core::machine::{
    Access, BadAddress, Call, Exit, GuestRam, Ipi, IpiKind, IpiTarget, Level, NotRam, Outcome, Registers,
    VirtCpu, Width,
};
use xenvisor_core::number::{DomainId, GuestAddr, LinearAddr, VcpuId, Vector};
use xenvisor_core::vcpu::start::StartState;

use crate::guest::action::{Action, Desk, Done};
use crate::guest::{Ending, Handler, Running, SimGuest};
use crate::kernel;
use crate::machine::Shared;

/// What an access to memory costs, about.
const ACCESS_NS: u64 = 100;
/// How long a guest computes at least before it can be interrupted.
const COMPUTE_AT_ONCE_NS: u64 = 50_000;
/// What an exit costs, about.
const EXIT_NS: u64 = 1000;
/// Nothing is at addresses beyond these.
const LINEAR_LIMIT: u64 = 1 << 48;
/// Interrupts enabled, in RFLAGS.
const INTERRUPT_FLAG: u64 = 1 << 9;
/// The vector of a non-maskable interrupt.
const NMI: u8 = 2;

/// One virtual processor.
pub struct SimCpu {
    machine: Arc<Shared>,
    domain: DomainId,
    vcpu: VcpuId,
    registers: Registers,
    width: Width,
    /// The program, and above it the interrupt handlers that interrupted it and each other.
    frames: Vec<Frame>,
    /// It has started, and looks for its program next.
    fresh: bool,
    handlers: BTreeMap<u8, Handler>,
    /// Interrupts of the local APIC that wait.
    requested: BTreeSet<u8>,
    upcall: Option<Vector>,
    nmi: bool,
}

/// A program or an interrupt handler in the middle of its work.
struct Frame {
    running: Running,
    desk: Desk,
    /// The action that is not done yet.
    action: Option<Action>,
    /// It is a hypercall that has been served: its result is in RAX.
    served: bool,
    /// The registers of what was interrupted.
    interrupted: Registers,
}

/// What became of an action.
enum Step {
    Done(Done),
    /// It is not done, and goes on.
    Goes,
    Exit(Exit),
}

impl SimCpu {
    pub(crate) fn new(machine: Arc<Shared>, domain: DomainId, vcpu: VcpuId) -> Self {
        Self {
            machine,
            domain,
            vcpu,
            registers: Registers {
                rflags: 2,
                ..Registers::default()
            },
            width: Width::Bits64,
            frames: Vec::new(),
            fresh: false,
            handlers: BTreeMap::new(),
            requested: BTreeSet::new(),
            upcall: None,
            nmi: false,
        }
    }

    /// Puts something to run on top.
    fn push(&mut self, code: &Handler) {
        let desk = Desk::default();
        let level = self.frames.len();
        let guest = SimGuest::new(desk.clone(), self.domain, self.vcpu, level, self.registers.rbx);
        self.frames.push(Frame {
            running: code(guest),
            desk,
            action: None,
            served: false,
            interrupted: self.registers,
        });
    }

    /// Finds the program that stands at the instruction pointer.
    fn load(&mut self, ram: &dyn GuestRam) -> Result<(), Exit> {
        let rip = self.registers.rip;
        let mut code = [0; kernel::MAGIC.len() + 1 + kernel::NAME_MAX];
        let _left_zero = ram.read(GuestAddr::new(rip), &mut code);
        let name = kernel::program(&code);
        if let Some(program) = name.and_then(|name| self.machine.programs.get(name)).cloned() {
            self.push(&program);
            return Ok(());
        }
        let what = match name {
            Some(name) => format!("there is no program `{name}`"),
            None => "the simulator runs programs, not instructions, and what stands there is no program"
                .to_owned(),
        };
        let (domain, vcpu) = (self.domain, self.vcpu.raw());
        self.machine.log(
            Level::Error,
            Some(domain),
            format_args!("vcpu {vcpu} cannot start at {rip:#x}: {what}"),
        );
        let information = code.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        Err(self.unknown(information))
    }

    const fn unknown(&self, information: u64) -> Exit {
        Exit::Unknown {
            code: 0,
            information,
            instruction: self.registers.rip,
        }
    }

    fn set_interrupts(&mut self, on: bool) -> bool {
        let was = self.interrupts_enabled();
        if on {
            self.registers.rflags |= INTERRUPT_FLAG;
        } else {
            self.registers.rflags &= !INTERRUPT_FLAG;
        }
        was
    }

    /// The interrupt that comes now. The upcall line counts at an entry alone, as what is injected does on hardware.
    fn interrupt(&mut self, entry: bool) -> Option<u8> {
        if std::mem::take(&mut self.nmi) {
            return Some(NMI);
        }
        if !self.interrupts_enabled() {
            return None;
        }
        if entry && let Some(vector) = self.upcall.take() {
            return Some(vector.raw());
        }
        self.requested.pop_last()
    }

    /// Takes the interrupts that come now.
    fn take_interrupts(&mut self, entry: bool) -> Result<(), Exit> {
        while let Some(vector) = self.interrupt(entry) {
            let Some(handler) = self.handlers.get(&vector).cloned() else {
                let (domain, vcpu) = (self.domain, self.vcpu.raw());
                self.machine.log(
                    Level::Error,
                    Some(domain),
                    format_args!("vcpu {vcpu} has no handler for vector {vector:#x}"),
                );
                return Err(Exit::Shutdown);
            };
            self.machine.record().counts(self.domain).interrupts += 1;
            self.push(&handler);
            self.set_interrupts(false);
        }
        Ok(())
    }

    /// Lets the topmost code run until it asks for an action; `None` when it has ended.
    fn next_action(&mut self) -> Result<Option<Action>, Exit> {
        let result = self.registers.rax;
        let Some(frame) = self.frames.last_mut() else {
            return Err(Exit::Shutdown);
        };
        if let Some(action) = frame.action.take() {
            return Ok(Some(action));
        }
        if std::mem::take(&mut frame.served) {
            frame.desk.end(Done::Number(result));
        }
        match frame
            .running
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Pending => match frame.desk.take() {
                Some(action) => Ok(Some(action)),
                // It waits for something that is no action: nothing here will ever wake it.
                None => Err(self.unknown(1)),
            },
            Poll::Ready(ending) => self.ended(&ending).map(|()| None),
        }
    }

    /// What ran on top has ended: what it interrupted goes on.
    fn ended(&mut self, ending: &Ending) -> Result<(), Exit> {
        let frame = self.frames.pop();
        if let Err(trouble) = ending {
            let (domain, vcpu) = (self.domain, self.vcpu.raw());
            self.machine.log(
                Level::Error,
                Some(domain),
                format_args!("vcpu {vcpu} is in trouble: {trouble}"),
            );
            return Err(Exit::Shutdown);
        }
        match frame {
            Some(frame) if !self.frames.is_empty() => {
                self.registers = frame.interrupted;
                Ok(())
            }
            // A program that ends without shutting down has run off its code.
            _ => Err(Exit::Shutdown),
        }
    }

    /// Performs an action. One that is an exit stays the frame's action if it is still to be completed.
    fn perform(&mut self, ram: &dyn GuestRam, action: Action, until: Instant) -> Step {
        let (step, keep) = match action {
            Action::Read { at, bytes } => {
                let mut into = vec![0; bytes];
                match ram.read(GuestAddr::new(at), &mut into) {
                    Ok(()) => (Step::Done(Done::Bytes(into)), None),
                    Err(NotRam(at)) => (unbacked(at, Access::Read), Some(action)),
                }
            }
            Action::Write { at, ref from } => match ram.write(GuestAddr::new(at), from) {
                Ok(()) => (Step::Done(Done::Plainly), None),
                Err(NotRam(at)) => (unbacked(at, Access::ReadWrite), Some(action)),
            },
            Action::CompareExchange { at, old, new } => {
                match ram.compare_exchange(GuestAddr::new(at), old, new) {
                    Ok(done) => (Step::Done(Done::Number(done.into())), None),
                    Err(NotRam(at)) => (unbacked(at, Access::ReadWrite), Some(action)),
                }
            }
            Action::Hypercall { number, arguments } => {
                let call = self.hypercall(number, arguments);
                (Step::Exit(Exit::Hypercall(call)), Some(action))
            }
            Action::PortRead { port, bytes } => (Step::Exit(Exit::PortRead { port, bytes }), Some(action)),
            Action::PortWrite { port, bytes, value } => {
                (Step::Exit(Exit::PortWrite { port, bytes, value }), Some(action))
            }
            Action::Counter => (Step::Done(Done::Number(self.machine.counter())), None),
            Action::Compute { ns } => self.compute(ns, until),
            Action::Interrupts(on) => {
                let was = self.set_interrupts(on);
                (Step::Done(Done::Number(was.into())), None)
            }
            Action::WaitForInterrupt => {
                self.set_interrupts(true);
                (self.at_once(Exit::Halt), None)
            }
            Action::Halt => (self.at_once(Exit::Halt), None),
            Action::SetHandler { vector, handler } => {
                self.handlers.insert(vector, handler);
                (Step::Done(Done::Plainly), None)
            }
            Action::SetWidth(width) => {
                self.width = width;
                (Step::Done(Done::Plainly), None)
            }
            Action::SendIpi(ipi) => (self.at_once(Exit::Ipi(ipi)), None),
            Action::TripleFault => (Step::Exit(Exit::Shutdown), None),
        };
        if let Some(frame) = self.frames.last_mut() {
            frame.action = keep;
        }
        step
    }

    /// Computes for a while: no longer at once than it may run, or than others may have to wait for it.
    fn compute(&self, ns: u64, until: Instant) -> (Step, Option<Action>) {
        let left = until.ns_since(self.machine.now()).max(COMPUTE_AT_ONCE_NS);
        let at_once = if self.machine.has_others() {
            COMPUTE_AT_ONCE_NS
        } else {
            left
        };
        if ns <= at_once {
            self.machine.worked_ns(ns);
            return (Step::Done(Done::Plainly), None);
        }
        self.machine.worked_exactly_ns(at_once);
        let ns = ns.saturating_sub(at_once);
        (Step::Goes, Some(Action::Compute { ns }))
    }

    /// An exit after which the guest goes on behind the instruction.
    fn at_once(&self, exit: Exit) -> Step {
        self.end(Done::Plainly);
        Step::Exit(exit)
    }

    fn end(&self, done: Done) {
        if let Some(frame) = self.frames.last() {
            frame.desk.end(done);
        }
    }

    fn hypercall(&mut self, number: u64, arguments: [u64; 6]) -> Call {
        let registers = &mut self.registers;
        registers.rax = number;
        [
            registers.rdi,
            registers.rsi,
            registers.rdx,
            registers.r10,
            registers.r8,
            registers.r9,
        ] = arguments;
        Call {
            number,
            arguments,
            width: self.width,
            privileged: true,
        }
    }

    fn count(&self, call: &Call) {
        let mut record = self.machine.record();
        let counts = record.counts(self.domain);
        counts.hypercalls += 1;
        let event_op = call.number == u64::from(HYPERVISOR_event_channel_op);
        if event_op && call.arguments.first() == Some(&u64::from(EVTCHNOP_send)) {
            counts.events += 1;
        }
    }

    /// Ends the action that the topmost code is in.
    fn complete(&mut self, done: Done) {
        if let Some(frame) = self.frames.last_mut() {
            frame.action = None;
            frame.desk.end(done);
        }
    }

    fn apic_id(&self) -> u32 {
        self.vcpu.raw().saturating_mul(2)
    }
}

const fn unbacked(at: GuestAddr, access: Access) -> Step {
    Step::Exit(Exit::Unbacked { at, access })
}

impl VirtCpu for SimCpu {
    fn start(&mut self, state: &StartState) {
        self.registers = state.registers;
        self.width = Width::Bits64;
        self.frames.clear();
        self.handlers.clear();
        self.requested.clear();
        self.nmi = false;
        self.fresh = true;
    }

    fn run(&mut self, guest: &dyn GuestRam, until: Instant) -> Exit {
        if std::mem::take(&mut self.fresh)
            && let Err(exit) = self.load(guest)
        {
            return exit;
        }
        let mut entry = true;
        loop {
            // The upcall line waits for interrupts to be enabled: look at it anew, by leaving and entering.
            let window = self.interrupts_enabled() && self.upcall.is_some() && !entry;
            self.machine.give_way();
            if window || self.machine.takes_kick() || self.machine.now() >= until {
                return Exit::Preempted;
            }
            if let Err(exit) = self.take_interrupts(entry) {
                return exit;
            }
            entry = false;
            let action = match self.next_action() {
                Ok(Some(action)) => action,
                Ok(None) => continue,
                Err(exit) => return exit,
            };
            match self.perform(guest, action, until) {
                Step::Done(done) => {
                    self.machine.worked_ns(ACCESS_NS);
                    self.end(done);
                }
                Step::Goes => {}
                Step::Exit(exit) => {
                    self.machine.worked_ns(EXIT_NS);
                    return exit;
                }
            }
        }
    }

    fn complete_hypercall(&mut self, outcome: Outcome) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        let Some(Action::Hypercall { number, arguments }) = &mut frame.action else {
            return;
        };
        let call = Call {
            number: *number,
            arguments: *arguments,
            width: self.width,
            privileged: true,
        };
        match outcome {
            Outcome::Return(value) => {
                self.registers.rax = value;
                frame.action = None;
                frame.served = true;
                self.count(&call);
            }
            Outcome::Continue(again) => *arguments = again,
            Outcome::Never => {}
        }
    }

    fn complete_port(&mut self, value: u32) {
        let Some(frame) = self.frames.last() else { return };
        let done = match frame.action {
            Some(Action::PortRead { bytes, .. }) => {
                let ones = u32::MAX.checked_shr(32_u32.saturating_sub(u32::from(bytes).saturating_mul(8)));
                Done::Number(u64::from(value & ones.unwrap_or(0)))
            }
            _ => Done::Plainly,
        };
        self.complete(done);
    }

    fn complete_unbacked(&mut self, _: &dyn GuestRam) -> Result<(), Exit> {
        let Some(frame) = self.frames.last() else {
            return Err(Exit::Shutdown);
        };
        let done = match frame.action {
            Some(Action::Read { bytes, .. }) => Done::Bytes(vec![0xff; bytes]),
            // The word reads as all ones, and what is written vanishes.
            Some(Action::CompareExchange { old, .. }) => Done::Number(u64::from(old == u64::MAX)),
            _ => Done::Plainly,
        };
        self.complete(done);
        Ok(())
    }

    fn registers(&mut self) -> &mut Registers {
        &mut self.registers
    }

    fn width(&self) -> Width {
        self.width
    }

    fn translate(&self, _: &dyn GuestRam, at: LinearAddr, _: Access) -> Result<GuestAddr, BadAddress> {
        if at.raw() < LINEAR_LIMIT {
            Ok(GuestAddr::new(at.raw()))
        } else {
            Err(BadAddress(at))
        }
    }

    fn raise(&mut self, vector: Vector) {
        self.requested.insert(vector.raw());
    }

    fn set_upcall_line(&mut self, vector: Option<Vector>) {
        self.upcall = vector;
    }

    fn raise_nmi(&mut self) {
        self.nmi = true;
    }

    fn receive_ipi(&mut self, ipi: &Ipi) -> bool {
        let meant = match ipi.to {
            IpiTarget::Physical(id) | IpiTarget::Logical(id) => id == self.apic_id(),
            IpiTarget::Others => ipi.from != self.vcpu,
            IpiTarget::All => true,
        };
        if !meant {
            return false;
        }
        match ipi.kind {
            IpiKind::Fixed(vector) | IpiKind::LowestPriority(vector) => self.raise(vector),
            IpiKind::Nmi => self.nmi = true,
            IpiKind::Init => {
                self.frames.clear();
                self.fresh = false;
            }
            IpiKind::Startup { page } if self.frames.is_empty() && !self.fresh => {
                self.registers = Registers {
                    rip: u64::from(page) << 12,
                    rflags: 2,
                    ..Registers::default()
                };
                self.fresh = true;
                return true;
            }
            IpiKind::Startup { .. } => {}
        }
        false
    }

    fn interruptible_and_pending(&self) -> bool {
        self.nmi || self.interrupts_enabled() && (self.upcall.is_some() || !self.requested.is_empty())
    }

    fn interrupts_enabled(&self) -> bool {
        self.registers.rflags & INTERRUPT_FLAG != 0
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn tick(&mut self, _: Instant) {}

    fn flush(&mut self) {}
}
