//! The hardware contract: everything the hypervisor asks of a machine, and nothing else.
//!
//! Four traits. A [`Machine`] has [`MachineMemory`], makes second stages and vcpus; a [`VirtCpu`] runs guest code
//! until there is an [`Exit`]. VMX, SVM and the simulator implement them. Nothing above knows which one it talks to.
//!
//! What is virtual *hardware* (CPUID, MSRs, the local APIC, instruction emulation) stays behind [`VirtCpu::run`];
//! only exits that concern the hypervisor come out.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use crate::clock::{Instant, TimeScale};
use crate::domain::footprint::Cost;
use crate::memory::frames::{Frames, OutOfFrames};
use crate::number::{DomainId, GuestAddr, LinearAddr, MachineAddr, PcpuId, VcpuId, Vector};
use crate::p2m::SecondStage;
use crate::vcpu::start::StartState;

/// The machine as a whole: one per host, made before any domain, alive until the end.
pub trait Machine: Send + Sync {
    /// The machine's memory.
    fn memory(&self) -> &Arc<dyn MachineMemory>;

    /// The time now, on the machine's one clock.
    fn now(&self) -> Instant;

    /// How the counter that guests can read turns into that clock.
    fn time_scale(&self) -> TimeScale;

    /// Wall-clock time at [`Instant::ZERO`], in nanoseconds since 1970-01-01 00:00 UTC.
    fn wall_clock_at_zero_ns(&self) -> u64;

    /// How many pcpus run guests: numbers 0 to one less. The first is the one that boots, and runs the keeper.
    fn pcpus(&self) -> u32 {
        1
    }

    /// Runs `others` on every pcpu but the first, and `first` on this one, which is the first; comes back when all have
    /// come to their end. On a machine with one pcpu that is `first` alone.
    fn run_on_all(&self, others: &(dyn Fn(PcpuId) + Sync), first: &mut dyn FnMut()) {
        let _ = others;
        first();
    }

    /// Makes the pcpu leave its guest (or its sleep) soon, so that it looks again at what is to be done. A kick is never
    /// lost: one that comes while the pcpu is in neither ends its next stay in a guest, or its next sleep, at once.
    /// May be called from any pcpu, for any, with locks held.
    fn kick(&self, pcpu: PcpuId);

    /// The calling pcpu waits for another, again and again: whatever makes that cheaper.
    fn relax(&self) {
        core::hint::spin_loop();
    }

    /// A number that grows with the work the machine does, to compare what one thing costs with what another does: its
    /// clock, unless it has something better.
    fn effort(&self) -> u64 {
        self.now().as_ns()
    }

    /// Bytes of the heap in use, large blocks that are frames left out; `None` where nobody counts them.
    fn heap_in_use(&self) -> Option<u64> {
        None
    }

    /// Lets the calling pcpu, which is `pcpu`, sleep until something happens that it should look at: a kick, input, or
    /// `until`. May return early; never returns late by more than the timer's resolution.
    fn sleep(&self, pcpu: PcpuId, until: Instant);

    /// The host cannot go on, because this pcpu is stuck: the machine says what more it can of where that one is, and
    /// ends. Comes back only where a machine has no such end.
    fn fail(&self, stuck: PcpuId, reason: fmt::Arguments<'_>) {
        let _ = (stuck, reason);
    }

    /// An empty second stage, its tables taken from `frames`.
    ///
    /// # Errors
    /// When there is no frame for its root.
    fn new_second_stage(&self, frames: &Arc<Frames>) -> Result<Box<dyn SecondStage>, OutOfFrames>;

    /// A vcpu that has not started: it will run in the second stage whose root the setup names.
    ///
    /// # Errors
    /// When there is no frame for its control structures.
    fn new_vcpu(&self, setup: &VcpuSetup<'_>) -> Result<Box<dyn VirtCpu>, OutOfFrames>;

    /// What a guest typed or the next byte from outside for it; `None` when there is none.
    fn console_read(&self) -> Option<u8>;

    /// Shows bytes to the person in front of the machine.
    fn console_write(&self, bytes: &[u8]);

    /// A line for the host's log.
    fn log(&self, level: Level, domain: Option<DomainId>, line: fmt::Arguments<'_>);
}

/// How much a log line matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Each step; off unless asked for.
    Trace,
    /// What a developer of a guest wants to know.
    Debug,
    /// What an operator wants to know.
    Info,
    /// Something was refused or ended badly.
    Warn,
    /// The host itself is in trouble.
    Error,
}

/// What a new vcpu is made of.
#[derive(Clone)]
pub struct VcpuSetup<'a> {
    /// The domain it belongs to.
    pub domain: DomainId,
    /// Its number in the domain.
    pub vcpu: VcpuId,
    /// How many vcpus the domain has.
    pub vcpus: u32,
    /// The second stage it runs in.
    pub root: crate::number::Mfn,
    /// Where its control structures' frames come from.
    pub frames: &'a Arc<Frames>,
}

/// The machine's memory. Verbs only: nobody ever holds a reference into it.
///
/// An address that is not memory the hypervisor may hand out reads as zeros and swallows writes: a wrong number
/// from above cannot reach the hypervisor's own image. Accesses of 1, 2, 4 or 8 bytes that are naturally aligned
/// are single accesses: another processor sees all of them or nothing.
pub trait MachineMemory: Send + Sync {
    /// Reads bytes.
    fn read(&self, at: MachineAddr, into: &mut [u8]);

    /// Writes bytes.
    fn write(&self, at: MachineAddr, from: &[u8]);

    /// Sets bits in the aligned 64-bit word at `at`, atomically; returns what was there before.
    fn fetch_or(&self, at: MachineAddr, bits: u64) -> u64;

    /// Keeps only `bits` in the aligned 64-bit word at `at`, atomically; returns what was there before.
    fn fetch_and(&self, at: MachineAddr, bits: u64) -> u64;

    /// Replaces the aligned 64-bit word if it is `old`.
    ///
    /// # Errors
    /// What the word is instead, when it is not `old`; then nothing was written.
    fn compare_exchange(&self, at: MachineAddr, old: u64, new: u64) -> Result<u64, u64>;

    /// Replaces the aligned 32-bit word if it is `old`.
    ///
    /// # Errors
    /// What the word is instead, when it is not `old`; then nothing was written.
    fn compare_exchange_32(&self, at: MachineAddr, old: u32, new: u32) -> Result<u32, u32>;

    /// Writes `bytes` zeros.
    fn zero(&self, at: MachineAddr, bytes: u64);

    /// Copies `bytes` bytes between places that do not overlap.
    fn copy(&self, from: MachineAddr, to: MachineAddr, bytes: u64);
}

/// A guest's memory as its own processor sees it behind address translation of the second stage.
/// What a backend needs to walk the guest's page tables and to fetch instructions. Each access stands alone.
pub trait GuestRam {
    /// Reads bytes.
    ///
    /// # Errors
    /// The first address that is not readable memory; then `into` is unspecified.
    fn read(&self, at: GuestAddr, into: &mut [u8]) -> Result<(), NotRam>;

    /// Writes bytes.
    ///
    /// # Errors
    /// The first address that is not writable memory; bytes before it may have been written.
    fn write(&self, at: GuestAddr, from: &[u8]) -> Result<(), NotRam>;

    /// Sets bits in the aligned 64-bit word at `at`, atomically, if it still is `old`.
    ///
    /// # Errors
    /// When the address is not writable memory. `Ok(false)` when the word changed meanwhile.
    fn compare_exchange(&self, at: GuestAddr, old: u64, new: u64) -> Result<bool, NotRam>;
}

/// A guest address where there is no memory (or none that allows the access).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotRam(pub GuestAddr);

/// One virtual processor on this machine. Only the loop that runs it ever touches it.
pub trait VirtCpu: Send {
    /// Puts the vcpu at the beginning of a program. Also what a new vcpu needs before its first `run`.
    fn start(&mut self, state: &StartState);

    /// The calling pcpu, which is `pcpu`, is about to run it: a turn begins. Whatever of it only this pcpu can load or
    /// must forget is loaded and forgotten here (translations of an earlier stay, for one).
    fn arrive(&mut self, pcpu: PcpuId) {
        let _ = pcpu;
    }

    /// The turn is over. The next one may be on another pcpu: whatever of it is left on this one is put where another
    /// finds it.
    fn depart(&mut self) {}

    /// Runs guest code until there is something to do for the hypervisor, or `until`.
    ///
    /// Before each entry the vcpu looks at its local APIC and at the upcall line and injects what is due.
    /// The previous exit must have been completed where it says so.
    fn run(&mut self, guest: &dyn GuestRam, until: Instant) -> Exit;

    /// Ends an [`Exit::Hypercall`].
    fn complete_hypercall(&mut self, outcome: Outcome);

    /// Ends an [`Exit::PortRead`] with what the port gave (low bytes count), or an [`Exit::PortWrite`].
    fn complete_port(&mut self, value: u32);

    /// Ends an [`Exit::Unbacked`] as a bus without a device does: reads give all ones, writes vanish.
    /// An instruction that cannot be emulated ends the guest: then the exit to serve comes back.
    ///
    /// # Errors
    /// Why the access could not be finished.
    fn complete_unbacked(&mut self, guest: &dyn GuestRam) -> Result<(), Exit>;

    /// The general registers. Valid between exits.
    fn registers(&mut self) -> &mut Registers;

    /// How wide the code is that runs now: it decides the layout of hypercall arguments.
    fn width(&self) -> Width;

    /// Translates an address that the guest's kernel would use now (privilege level 0).
    ///
    /// # Errors
    /// When the guest's own tables do not allow the access.
    fn translate(
        &self,
        guest: &dyn GuestRam,
        at: LinearAddr,
        access: Access,
    ) -> Result<GuestAddr, BadAddress>;

    /// An edge into the local APIC, for an upcall: the vector becomes requested, once. While the guest has its APIC
    /// disabled in software, the request is kept until it enables it, as Xen does.
    fn raise(&mut self, vector: Vector);

    /// The level-like upcall line that bypasses the local APIC: while set, the vector is injected
    /// whenever the guest can take an interrupt.
    fn set_upcall_line(&mut self, vector: Option<Vector>);

    /// A non-maskable interrupt becomes pending.
    fn raise_nmi(&mut self);

    /// An inter-processor interrupt from another vcpu of the domain: taken if this vcpu is among its targets.
    /// `true` when the vcpu must now be started or woken.
    fn receive_ipi(&mut self, ipi: &Ipi) -> bool;

    /// Whether an interrupt would be taken if the vcpu ran now: what wakes it from a halt.
    fn interruptible_and_pending(&self) -> bool;

    /// Whether the guest has interrupts enabled (`RFLAGS.IF`). Halting without them is the end of the vcpu.
    fn interrupts_enabled(&self) -> bool;

    /// When the local APIC's timer is due next.
    fn next_deadline(&self) -> Option<Instant>;

    /// Lets timers that are due by `now` fire.
    fn tick(&mut self, now: Instant);

    /// Forgets cached second-stage translations before the next entry.
    fn flush(&mut self);

    /// What it took of the machine when it was made, beside its own bytes.
    fn cost(&self) -> Cost {
        Cost::default()
    }
}

/// Whether an access reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes (or reads and writes).
    ReadWrite,
}

/// An address that the guest's own page tables refuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadAddress(pub LinearAddr);

/// The widths of code that differ in how hypercalls pass arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 64-bit code.
    Bits64,
    /// All else: 32-bit, 16-bit, compatibility mode.
    Bits32,
}

/// Why a vcpu stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The guest made a hypercall. End it with [`VirtCpu::complete_hypercall`].
    Hypercall(Call),
    /// The guest reads a port nobody here emulates. End it with [`VirtCpu::complete_port`].
    PortRead {
        /// The port.
        port: u16,
        /// 1, 2 or 4 bytes.
        bytes: u8,
    },
    /// The guest writes a port nobody here emulates. End it with [`VirtCpu::complete_port`].
    PortWrite {
        /// The port.
        port: u16,
        /// 1, 2 or 4 bytes.
        bytes: u8,
        /// What it writes, in the low bytes.
        value: u32,
    },
    /// The second stage refused an access. Run again if that has changed, or end it with
    /// [`VirtCpu::complete_unbacked`].
    Unbacked {
        /// Where.
        at: GuestAddr,
        /// What was tried.
        access: Access,
    },
    /// The guest waits for an interrupt (HLT).
    Halt,
    /// A timer, a kick or an interrupt of the host: look around and run again.
    Preempted,
    /// The vcpu sends an inter-processor interrupt that concerns others.
    Ipi(Ipi),
    /// The guest ended itself: a triple fault.
    Shutdown,
    /// The guest has asked for its hypercall page, in code of this width, and has it: from now on that is the layout of
    /// the structures it shares with the hypervisor. There is nothing to end.
    HypercallPage(Width),
    /// Something the backend cannot serve. It ends the guest; the code says what it was.
    Unknown {
        /// The hardware's exit code.
        code: u64,
        /// What the hardware says about it.
        information: u64,
        /// Where the guest was.
        instruction: u64,
    },
}

/// A hypercall as the registers say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// The number of the hypercall.
    pub number: u64,
    /// Its arguments, in order; zero-extended for 32-bit callers.
    pub arguments: [u64; 6],
    /// The layout of what they point to.
    pub width: Width,
    /// Whether the caller ran at privilege level 0 (and not in virtual-8086 mode).
    pub privileged: bool,
}

/// What becomes of a hypercall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is done: the guest sees this result and goes on behind the instruction.
    Return(u64),
    /// It is not done: the guest executes the instruction again, with these arguments.
    Continue([u64; 6]),
    /// It does not return (the domain has shut down).
    Never,
}

/// An inter-processor interrupt, as a local APIC sends it (SDM vol. 3 §11.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipi {
    /// Who sent it.
    pub from: VcpuId,
    /// Who is meant.
    pub to: IpiTarget,
    /// What arrives there.
    pub kind: IpiKind,
}

/// The destination of an inter-processor interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpiTarget {
    /// The APIC with this id.
    Physical(u32),
    /// Those whose logical id matches.
    Logical(u32),
    /// All but the sender.
    Others,
    /// All, the sender included.
    All,
}

/// What an inter-processor interrupt does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpiKind {
    /// An ordinary interrupt.
    Fixed(Vector),
    /// An ordinary interrupt for the least busy target.
    LowestPriority(Vector),
    /// A non-maskable interrupt.
    Nmi,
    /// INIT: back to the state after reset, waiting for a start-up.
    Init,
    /// Start-up: begins in real mode at `page * 4096`.
    Startup {
        /// The page the program begins at.
        page: u8,
    },
}

/// The general registers of a vcpu, with instruction pointer and flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// RBP.
    pub rbp: u64,
    /// RSP.
    pub rsp: u64,
    /// R8.
    pub r8: u64,
    /// R9.
    pub r9: u64,
    /// R10.
    pub r10: u64,
    /// R11.
    pub r11: u64,
    /// R12.
    pub r12: u64,
    /// R13.
    pub r13: u64,
    /// R14.
    pub r14: u64,
    /// R15.
    pub r15: u64,
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
}
