//! Each vcpu on a pcpu of its own, for as long as it lives: nothing to decide, nothing to wait for.
//!
//! What Xen calls the null scheduler. A vcpu's pcpu is the one with the fewest at the time it is made. Where there are
//! more vcpus than pcpus, those on one pcpu take turns.

use alloc::boxed::Box;

use super::{Arrival, Claim, OutOfMemory, RoundRobin, Scheduler, Slice, VcpuKey};
use crate::clock::Instant;
use crate::number::PcpuId;

/// Nobody ever changes pcpus. Suits partitioned systems, where a guest's pcpus are its own.
#[derive(Debug, Default)]
pub struct Pinned {
    waiting: RoundRobin,
}

impl Pinned {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            waiting: RoundRobin::new(),
        }
    }
}

impl Scheduler for Pinned {
    fn for_pcpu(&self, _: PcpuId) -> Box<dyn Scheduler> {
        Box::new(Self::new())
    }

    fn add(&mut self, key: VcpuKey) -> Result<(), OutOfMemory> {
        self.waiting.add(key)
    }

    fn remove(&mut self, key: VcpuKey) {
        self.waiting.remove(key);
    }

    fn put(&mut self, claim: Claim, arrival: Arrival, now: Instant) {
        self.waiting.put(claim, arrival, now);
    }

    fn next(&mut self, now: Instant) -> Option<(Claim, Slice)> {
        self.waiting.next(now)
    }

    fn first(&self) -> Option<u64> {
        self.waiting.first()
    }

    fn give(&mut self, _: PcpuId, _: Instant) -> Option<(Claim, Slice)> {
        None
    }

    fn moves(&self) -> bool {
        false
    }
}
