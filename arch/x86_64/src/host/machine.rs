//! The bare machine behind the hypervisor's contract: a [`Host`], and the virtualization its processors have.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::machine::{Level, Machine, MachineMemory, VcpuSetup, VirtCpu};
use xenvisor_core::memory::frames::{Frames, OutOfFrames};
use xenvisor_core::number::{DomainId, PcpuId};
use xenvisor_core::p2m::SecondStage;

use super::Host;
use crate::heap;
use crate::log;

/// One way for a processor to run guests: SVM or VMX, switched on.
pub trait Virtualization: Send + Sync {
    /// Switches it on for the running pcpu, which is like the one it was switched on for first.
    fn enable_here(&self);

    /// An empty second stage, its tables taken from `frames`.
    ///
    /// # Errors
    /// When there is no frame for its root.
    fn new_second_stage(&self, frames: &Arc<Frames>) -> Result<Box<dyn SecondStage>, OutOfFrames>;

    /// A vcpu that has not started.
    ///
    /// # Errors
    /// When there is no frame for its control structures.
    fn new_vcpu(&self, setup: &VcpuSetup<'_>) -> Result<Box<dyn VirtCpu>, OutOfFrames>;
}

/// See the file's header.
pub struct BareMachine {
    host: &'static Host,
    virtualization: Box<dyn Virtualization>,
}

impl BareMachine {
    /// The machine of a host and its virtualization.
    #[must_use]
    pub fn new(host: &'static Host, virtualization: Box<dyn Virtualization>) -> Self {
        Self { host, virtualization }
    }
}

impl Machine for BareMachine {
    fn memory(&self) -> &Arc<dyn MachineMemory> {
        self.host.memory()
    }

    fn now(&self) -> Instant {
        self.host.now()
    }

    fn time_scale(&self) -> TimeScale {
        self.host.time_scale()
    }

    fn wall_clock_at_zero_ns(&self) -> u64 {
        self.host.wall_clock_at_zero_ns()
    }

    fn kick(&self, pcpu: PcpuId) {
        self.host.kick(pcpu);
    }

    fn pcpus(&self) -> u32 {
        u32::try_from(self.host.processors()).unwrap_or(1)
    }

    fn run_on_all(&self, others: &(dyn Fn(PcpuId) + Sync), first: &mut dyn FnMut()) {
        let prepared = |pcpu| {
            self.virtualization.enable_here();
            others(pcpu);
        };
        self.host.run_on_all(&prepared, first);
    }

    fn heap_in_use(&self) -> Option<u64> {
        Some(heap::small_bytes_in_use() as u64)
    }

    fn sleep(&self, _pcpu: PcpuId, until: Instant) {
        self.host.sleep(until);
    }

    fn fail(&self, stuck: PcpuId, reason: fmt::Arguments<'_>) {
        self.host.fail(stuck, reason);
    }

    fn new_second_stage(&self, frames: &Arc<Frames>) -> Result<Box<dyn SecondStage>, OutOfFrames> {
        self.virtualization.new_second_stage(frames)
    }

    fn new_vcpu(&self, setup: &VcpuSetup<'_>) -> Result<Box<dyn VirtCpu>, OutOfFrames> {
        self.virtualization.new_vcpu(setup)
    }

    fn console_read(&self) -> Option<u8> {
        self.host.console_read()
    }

    fn console_write(&self, bytes: &[u8]) {
        self.host.console_write(bytes);
    }

    fn log(&self, level: Level, domain: Option<DomainId>, line: fmt::Arguments<'_>) {
        log::line(level, domain, line);
    }
}
