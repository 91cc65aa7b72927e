//! One exit, one service.

use alloc::sync::Arc;

use xenvisor_core::clock::Instant;
use xenvisor_core::domain::Domain;
use xenvisor_core::domain::life::Reason;
use xenvisor_core::domain::params::Index;
use xenvisor_core::hypervisor::Hypervisor;
use xenvisor_core::machine::{Access, Call, Exit, Ipi, IpiKind, Level, Outcome, Width};
use xenvisor_core::number::GuestAddr;
use xenvisor_core::vcpu::{Processor, Vcpu, Wait};

use crate::answer::{After, Answer};
use crate::context::Context;
use crate::table;

/// What the loop does next with the vcpu.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Runs it on.
    Go,
    /// Lets others run first, if it is their turn.
    Yield,
    /// Lets others run first, as the guest has asked for.
    Behind,
    /// Looks whether it has anything to wait for.
    Wait,
    /// Leaves it: it, or its domain, has ended.
    Leave,
}

/// The port a guest writes lines for the host's log to.
const DEBUG_PORT: u16 = 0xe9;
/// Longer lines are cut.
const DEBUG_LINE: usize = 128;

/// Serves one exit.
pub fn serve(
    hypervisor: &Hypervisor,
    domain: &Arc<Domain>,
    vcpu: &Vcpu,
    processor: &mut Processor,
    exit: Exit,
    now: Instant,
) -> Next {
    match exit {
        Exit::Hypercall(call) => hypercall(hypervisor, domain, vcpu, processor, &call, now),
        Exit::PortRead { .. } => {
            // Nobody is there: the bus floats high.
            processor.cpu.complete_port(u32::MAX);
            Next::Go
        }
        Exit::PortWrite { port, bytes, value } => {
            if port == DEBUG_PORT && bytes == 1 {
                debug(hypervisor, domain, value);
            }
            processor.cpu.complete_port(0);
            Next::Go
        }
        Exit::Unbacked { at, access } => unbacked(hypervisor, domain, vcpu, processor, at, access, now),
        Exit::Halt if !processor.cpu.interrupts_enabled() => {
            // Nothing can wake it any more: Xen takes that as the vcpu's end.
            domain.stop_vcpu(vcpu, now);
            Next::Leave
        }
        Exit::Halt => {
            processor.wait = Wait::Interrupt;
            Next::Wait
        }
        Exit::Preempted => Next::Go,
        Exit::HypercallPage(width) => {
            domain.latch_width(width);
            Next::Go
        }
        Exit::Ipi(ipi) => signal(domain, vcpu, processor, ipi),
        Exit::Shutdown => {
            let reason = domain.settings.lock().params.get(Index::TRIPLE_FAULT_REASON);
            let reason = Reason::from_raw(u8::try_from(reason).unwrap_or(3));
            let rip = processor.cpu.registers().rip;
            hypervisor.log(
                Level::Warn,
                Some(domain.id),
                format_args!(
                    "vcpu {} ended in a triple fault at {rip:#x}: {reason:?}",
                    vcpu.key.vcpu.raw()
                ),
            );
            domain.shut_down(reason);
            Next::Leave
        }
        Exit::Unknown {
            code,
            information,
            instruction,
        } => {
            hypervisor.log(
                Level::Error,
                Some(domain.id),
                format_args!(
                    "vcpu {} ended: exit {code:#x} (information {information:#x}) at {instruction:#x} is not served",
                    vcpu.key.vcpu.raw()
                ),
            );
            domain.shut_down(Reason::Crash);
            Next::Leave
        }
    }
}

fn hypercall(
    hypervisor: &Hypervisor,
    domain: &Arc<Domain>,
    vcpu: &Vcpu,
    processor: &mut Processor,
    call: &Call,
    now: Instant,
) -> Next {
    let cpu = processor.cpu.as_ref();
    let cx = Context {
        hypervisor,
        caller: domain,
        vcpu,
        cpu,
        width: call.width,
        now,
    };
    let served = table::serve(&cx, call);
    let (outcome, next) = match served {
        Ok(Answer::Done(value)) => (Outcome::Return(value), Next::Go),
        Ok(Answer::Again(arguments)) => (Outcome::Continue(arguments), Next::Yield),
        Ok(Answer::Then(value, after)) => (Outcome::Return(value), become_of(processor, after)),
        Ok(Answer::AgainAfter(arguments, after)) => {
            (Outcome::Continue(arguments), become_of(processor, after))
        }
        Err(errno) => {
            hypervisor.log(
                Level::Debug,
                Some(domain.id),
                format_args!(
                    "{} ({}) command {:#x}: -{}",
                    table::name(call.number),
                    call.number,
                    table::command(call),
                    errno.raw()
                ),
            );
            (Outcome::Return(errno.result()), Next::Go)
        }
    };
    let outcome = match (outcome, call.width) {
        // A 32-bit caller has 32-bit results; its upper register halves are not its own.
        (Outcome::Return(value), Width::Bits32) => Outcome::Return(u64::from(table::low(value))),
        (outcome, _) => outcome,
    };
    processor.cpu.complete_hypercall(outcome);
    next
}

/// What the loop does with a vcpu after its hypercall.
const fn become_of(processor: &mut Processor, after: After) -> Next {
    match after {
        After::Yield => Next::Behind,
        After::Block => {
            processor.wait = Wait::Event;
            Next::Wait
        }
        After::Poll => {
            processor.wait = Wait::Poll;
            Next::Wait
        }
        After::Ended => Next::Leave,
    }
}

/// An access that the second stage refused: tried again if it is allowed by now, else answered by an empty bus.
fn unbacked(
    hypervisor: &Hypervisor,
    domain: &Arc<Domain>,
    vcpu: &Vcpu,
    processor: &mut Processor,
    at: GuestAddr,
    access: Access,
    now: Instant,
) -> Next {
    let leaf = domain.memory.stage().lock().translate(at.frame());
    if leaf.is_some_and(|leaf| leaf.target.rights.allow(access)) {
        processor.cpu.flush();
        return Next::Go;
    }
    match processor.cpu.complete_unbacked(&domain.guest_memory()) {
        Ok(()) => Next::Go,
        Err(Exit::Unbacked { at, access }) => {
            hypervisor.log(
                Level::Error,
                Some(domain.id),
                format_args!(
                    "vcpu {} ended: {access:?} at {at} cannot be emulated",
                    vcpu.key.vcpu.raw()
                ),
            );
            domain.shut_down(Reason::Crash);
            Next::Leave
        }
        Err(exit) => serve(hypervisor, domain, vcpu, processor, exit, now),
    }
}

/// A byte for the host's log, which keeps whole lines.
fn debug(hypervisor: &Hypervisor, domain: &Domain, value: u32) {
    let [byte, ..] = value.to_le_bytes();
    let mut settings = domain.settings.lock();
    let line = &mut settings.debug_line;
    let ends = byte == b'\n' || line.len() >= DEBUG_LINE;
    if (byte.is_ascii_graphic() || byte == b' ' || byte == b'\t') && line.try_reserve(DEBUG_LINE).is_ok() {
        line.push(char::from(byte));
    }
    if ends {
        let line = core::mem::take(line);
        drop(settings);
        hypervisor.log(Level::Info, Some(domain.id), format_args!("{line}"));
    }
}

/// Passes an inter-processor interrupt to all who may be meant; each decides for itself. What a full letter box does
/// not take is kept, and sent again when the sender has its next turn.
pub fn signal(domain: &Domain, from: &Vcpu, processor: &mut Processor, ipi: Ipi) -> Next {
    processor.unsent = None;
    for vcpu in domain.vcpus.iter().filter(|vcpu| vcpu.key != from.key) {
        if !vcpu.mail.post_ipi(ipi) {
            processor.unsent = Some(ipi);
        }
        let starts = matches!(ipi.kind, IpiKind::Init | IpiKind::Startup { .. });
        // One that is started finds out by itself whether it is meant.
        if !(starts && domain.start_vcpu(vcpu)) {
            domain.queues.wake(vcpu);
        }
    }
    if processor.unsent.is_some() {
        Next::Yield
    } else {
        Next::Go
    }
}
