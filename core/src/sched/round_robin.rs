//! The simplest fair scheduler: one queue, equal slices, on every pcpu.

use alloc::collections::VecDeque;

use super::{OutOfMemory, Scheduler, Slice, VcpuKey};
use crate::number::PcpuId;

/// Each runnable vcpu in turn. Suits hosts with few vcpus.
#[derive(Debug, Default)]
pub struct RoundRobin {
    queue: VecDeque<VcpuKey>,
    /// How many vcpus there are: the queue has room for all of them.
    vcpus: usize,
}

impl RoundRobin {
    /// Long enough to make switching cheap, short enough that typing does not feel slow.
    const SLICE: Slice = Slice { ns: 10_000_000 };

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
    fn add(&mut self, _key: VcpuKey) -> Result<(), OutOfMemory> {
        let vcpus = self.vcpus.saturating_add(1);
        let missing = vcpus.saturating_sub(self.queue.len());
        self.queue.try_reserve(missing).map_err(|_| OutOfMemory)?;
        self.vcpus = vcpus;
        Ok(())
    }

    fn remove(&mut self, key: VcpuKey) {
        self.queue.retain(|waiting| *waiting != key);
        self.vcpus = self.vcpus.saturating_sub(1);
    }

    fn wake(&mut self, key: VcpuKey) {
        self.queue.push_back(key);
    }

    fn next(&mut self, _pcpu: PcpuId) -> Option<(VcpuKey, Slice)> {
        Some((self.queue.pop_front()?, Self::SLICE))
    }

    fn others_wait(&self, _pcpu: PcpuId) -> bool {
        !self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::{DomainId, VcpuId};

    fn key(n: u16) -> VcpuKey {
        VcpuKey {
            domain: DomainId::new(n),
            vcpu: VcpuId::new(0),
        }
    }

    #[test]
    fn everybody_has_a_turn_before_anybody_has_a_second() {
        let mut scheduler = RoundRobin::new();
        for n in 0..3 {
            scheduler.add(key(n)).unwrap();
            scheduler.wake(key(n));
        }
        let mut order = std::vec::Vec::new();
        for _ in 0..6 {
            let (next, _) = scheduler.next(PcpuId::new(0)).unwrap();
            order.push(next.domain.raw());
            scheduler.wake(next);
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_removed_vcpu_has_no_turn() {
        let mut scheduler = RoundRobin::new();
        scheduler.add(key(1)).unwrap();
        scheduler.wake(key(1));
        scheduler.remove(key(1));
        assert_eq!(scheduler.next(PcpuId::new(0)), None);
    }
}
