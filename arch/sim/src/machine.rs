//! The machine: memory, a clock, a console, and vcpus that run programs.
//!
//! Time passes by what is done: each action of a guest costs some, by chance; sleeping takes as long as was asked for,
//! at once. Nothing else moves the clock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::machine::{Level, Machine, MachineMemory, VcpuSetup, VirtCpu};
use xenvisor_core::memory::frames::{Frames, OutOfFrames};
use xenvisor_core::number::{DomainId, FRAME_SIZE, GIB, Mfn, PcpuId};
use xenvisor_core::p2m::plain::Plain;
use xenvisor_core::p2m::walker::P2m;
use xenvisor_core::p2m::{Level as TableLevel, SecondStage};
use xenvisor_core::testing::Random;

use crate::cpu::SimCpu;
use crate::memory::SimMemory;
use crate::pcpus::Pcpus;
use crate::programs::Programs;
use crate::record::{Line, Record};

/// How fast the counter of the simulated machine runs.
const COUNTER_HZ: u64 = 2_000_000_000;
/// 2026-01-01 00:00 UTC: the simulated machine is always switched on then.
const WALL_CLOCK_AT_ZERO_NS: u64 = 1_767_225_600_000_000_000;
/// Memory of a machine for which nobody says otherwise. What nobody uses takes no room.
pub const DEFAULT_BYTES: u64 = 8 * GIB;
/// Nobody's: a machine address 0 would hide mistakes.
const FIRST_FRAME: Mfn = Mfn::new(0x100);

/// The simulated machine. Clones are the same machine.
#[derive(Clone)]
pub struct SimMachine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    memory: Arc<SimMemory>,
    door: Arc<dyn MachineMemory>,
    pcpus: Pcpus,
    scale: TimeScale,
    /// How often the machine has gone to sleep since a guest last did anything.
    naps: AtomicU64,
    chance: Mutex<Random>,
    record: Mutex<Record>,
    pub(crate) programs: Programs,
}

impl SimMachine {
    /// A machine on which this seed decides, and these programs run.
    #[must_use]
    pub fn new(seed: u64, programs: Programs) -> Self {
        Self::with_memory(seed, programs, DEFAULT_BYTES)
    }

    /// As [`SimMachine::new`], with so many bytes of memory.
    #[must_use]
    pub fn with_memory(seed: u64, programs: Programs, bytes: u64) -> Self {
        Self::with_pcpus(seed, programs, bytes, 1)
    }

    /// As [`SimMachine::with_memory`], with so many pcpus. They run one at a time, in an order that the seed decides.
    #[must_use]
    pub fn with_pcpus(seed: u64, programs: Programs, bytes: u64, pcpus: u32) -> Self {
        let memory = Arc::new(SimMemory::new(bytes));
        let scale = TimeScale::from_hz(COUNTER_HZ, 0, Instant::ZERO).unwrap_or(TimeScale {
            base_ticks: 0,
            base: Instant::ZERO,
            multiplier: 1 << 31,
            shift: 0,
        });
        let shared = Shared {
            door: memory.clone(),
            memory,
            pcpus: Pcpus::new(usize::try_from(pcpus).unwrap_or(1)),
            scale,
            naps: AtomicU64::new(0),
            chance: Mutex::new(Random::new(seed)),
            record: Mutex::new(Record::default()),
            programs,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// All of the machine's frames, ready to be handed out.
    ///
    /// # Errors
    /// When the machine is too small to keep books of them.
    pub fn frames(&self) -> Result<Arc<Frames>, OutOfFrames> {
        let end = Mfn::new(self.shared.memory.bytes() / FRAME_SIZE);
        let all = FIRST_FRAME..end;
        Ok(Arc::new(Frames::new(self.shared.door.clone(), &[all])?))
    }

    /// The memory as what it is.
    #[must_use]
    pub fn sim_memory(&self) -> &Arc<SimMemory> {
        &self.shared.memory
    }

    /// What has happened so far. Nothing else of the machine may be used while it is held.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.record()
    }

    /// How often the machine has gone to sleep since a guest last did anything.
    #[must_use]
    pub fn naps(&self) -> u64 {
        self.shared.naps.load(Ordering::Relaxed)
    }

    /// Lets all pcpus run at once from now on, as real threads: for tests of races. Then nothing is the same twice.
    pub fn let_loose(&self) {
        self.shared.pcpus.let_loose();
    }

    /// Lets time pass.
    pub fn pass_ns(&self, ns: u64) {
        self.shared.pass_ns(ns);
    }
}

impl Shared {
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Instant {
        self.pcpus.now()
    }

    /// The counter that guests can read.
    pub(crate) fn counter(&self) -> u64 {
        self.scale.ticks(self.now().as_ns())
    }

    fn pass_ns(&self, ns: u64) {
        self.pcpus.pass_ns(ns);
    }

    /// A guest has done something that takes about `ns`.
    pub(crate) fn worked_ns(&self, ns: u64) {
        self.naps.store(0, Ordering::Relaxed);
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let about = ns / 2 + chance.below(ns.max(1));
        drop(chance);
        self.pass_ns(about.max(1));
    }

    /// A guest has done something that takes as long as that.
    pub(crate) fn worked_exactly_ns(&self, ns: u64) {
        self.naps.store(0, Ordering::Relaxed);
        self.pass_ns(ns);
    }

    /// Whether there are other pcpus, which see what this one does while it does it.
    pub(crate) fn has_others(&self) -> bool {
        self.pcpus.count() > 1
    }

    /// Lets another pcpu go on, if it is its turn.
    pub(crate) fn give_way(&self) {
        self.pcpus.give_way();
    }

    /// Whether the vcpu was kicked since this was last asked.
    pub(crate) fn takes_kick(&self) -> bool {
        self.pcpus.takes_kick()
    }

    pub(crate) fn log(&self, level: Level, domain: Option<DomainId>, line: fmt::Arguments<'_>) {
        let line = Line {
            at: self.now(),
            level,
            domain,
            text: line.to_string(),
        };
        self.record().line(line);
    }
}

impl Machine for SimMachine {
    fn memory(&self) -> &Arc<dyn MachineMemory> {
        &self.shared.door
    }

    fn now(&self) -> Instant {
        self.shared.now()
    }

    fn time_scale(&self) -> TimeScale {
        self.shared.scale
    }

    fn wall_clock_at_zero_ns(&self) -> u64 {
        WALL_CLOCK_AT_ZERO_NS
    }

    fn pcpus(&self) -> u32 {
        u32::try_from(self.shared.pcpus.count()).unwrap_or(1)
    }

    fn run_on_all(&self, others: &(dyn Fn(PcpuId) + Sync), first: &mut dyn FnMut()) {
        let others = |pcpu| others(PcpuId::new(pcpu));
        self.shared.pcpus.run_on_all(&others, first);
    }

    fn kick(&self, pcpu: PcpuId) {
        self.shared.pcpus.kick(pcpu.raw());
    }

    fn relax(&self) {
        self.shared.pcpus.relax();
    }

    fn sleep(&self, pcpu: PcpuId, until: Instant) {
        // The first one sleeps a bounded time at once, so its naps are a measure of time in which nothing happens.
        if pcpu.raw() == 0 {
            self.shared.naps.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.pcpus.sleep(until);
    }

    #[allow(clippy::panic, reason = "a test of a host that fails: it must end like one")]
    fn fail(&self, _: PcpuId, reason: fmt::Arguments<'_>) {
        panic!("{reason}");
    }

    fn new_second_stage(&self, frames: &Arc<Frames>) -> Result<Box<dyn SecondStage>, OutOfFrames> {
        let format = Plain {
            highest_leaf: TableLevel(2),
        };
        Ok(Box::new(P2m::new(
            format,
            self.shared.door.clone(),
            frames.clone(),
        )?))
    }

    fn new_vcpu(&self, setup: &VcpuSetup<'_>) -> Result<Box<dyn VirtCpu>, OutOfFrames> {
        Ok(Box::new(SimCpu::new(
            self.shared.clone(),
            setup.domain,
            setup.vcpu,
        )))
    }

    fn console_read(&self) -> Option<u8> {
        self.record().input.pop_front()
    }

    fn console_write(&self, bytes: &[u8]) {
        self.record().wrote(bytes);
    }

    fn effort(&self) -> u64 {
        self.shared.memory.effort()
    }

    fn log(&self, level: Level, domain: Option<DomainId>, line: fmt::Arguments<'_>) {
        self.shared.log(level, domain, line);
    }
}
