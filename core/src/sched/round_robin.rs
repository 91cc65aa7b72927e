//! The simplest fair scheduler: equal slices, whoever has waited longest is next.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::{Arrival, Claim, OutOfMemory, Scheduler, Slice, VcpuKey};
use crate::clock::Instant;
use crate::number::PcpuId;

/// Each runnable vcpu in turn. Suits hosts with few vcpus.
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// Those that wait, with the time they came.
    queue: VecDeque<(u64, Claim)>,
    /// How many vcpus there are: the queue has room for all of them.
    vcpus: usize,
}

impl RoundRobin {
    /// Long enough to make switching cheap, short enough that typing does not feel slow.
    pub const SLICE: Slice = Slice { ns: 10_000_000 };

    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            vcpus: 0,
        }
    }
}

impl Scheduler for RoundRobin {
    fn for_pcpu(&self, _: PcpuId) -> Box<dyn Scheduler> {
        Box::new(Self::new())
    }

    fn add(&mut self, _: VcpuKey) -> Result<(), OutOfMemory> {
        let vcpus = self.vcpus.saturating_add(1);
        let missing = vcpus.saturating_sub(self.queue.len());
        self.queue.try_reserve(missing).map_err(|_| OutOfMemory)?;
        self.vcpus = vcpus;
        Ok(())
    }

    fn remove(&mut self, key: VcpuKey) {
        self.queue.retain(|(_, waiting)| waiting.key != key);
        self.vcpus = self.vcpus.saturating_sub(1);
    }

    fn put(&mut self, claim: Claim, _: Arrival, now: Instant) {
        self.queue.push_back((now.as_ns(), claim));
    }

    fn next(&mut self, _: Instant) -> Option<(Claim, Slice)> {
        let (_, claim) = self.queue.pop_front()?;
        Some((claim, Self::SLICE))
    }

    fn first(&self) -> Option<u64> {
        self.queue.front().map(|(since, _)| *since)
    }

    fn give(&mut self, to: PcpuId, _: Instant) -> Option<(Claim, Slice)> {
        let may = |(_, claim): &(u64, Claim)| claim.allowed.contains(to);
        let at = self.queue.iter().position(may)?;
        self.queue.remove(at).map(|(_, claim)| (claim, Self::SLICE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::queues::tests::claim;

    #[test]
    fn everybody_has_a_turn_before_anybody_has_a_second() {
        let mut scheduler = RoundRobin::new();
        for n in 0..3 {
            scheduler.add(claim(n).key).unwrap();
            scheduler.put(claim(n), Arrival::Woken, Instant::ZERO);
        }
        let mut order = std::vec::Vec::new();
        for _ in 0..6 {
            let (next, _) = scheduler.next(Instant::ZERO).unwrap();
            order.push(next.key.domain.raw());
            scheduler.put(next, Arrival::Again, Instant::ZERO);
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_removed_vcpu_has_no_turn() {
        let mut scheduler = RoundRobin::new();
        scheduler.add(claim(1).key).unwrap();
        scheduler.put(claim(1), Arrival::Woken, Instant::ZERO);
        scheduler.remove(claim(1).key);
        assert_eq!(scheduler.next(Instant::ZERO), None);
    }
}
