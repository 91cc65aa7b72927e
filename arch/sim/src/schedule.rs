//! Chance decides who runs next, and for how long; a seed decides chance.

use xenvisor_core::number::PcpuId;
use xenvisor_core::sched::{OutOfMemory, Scheduler, Slice, VcpuKey};
use xenvisor_core::testing::Random;

/// A scheduler that any interleaving may come from.
pub struct ByChance {
    random: Random,
    ready: Vec<VcpuKey>,
    vcpus: usize,
}

/// The longest turn. About as long as a hundred accesses to memory, so that a turn may end anywhere.
const LONGEST_NS: u64 = 10_000;

impl ByChance {
    /// The scheduler that this seed makes.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            ready: Vec::new(),
            vcpus: 0,
        }
    }
}

impl Scheduler for ByChance {
    fn add(&mut self, _: VcpuKey) -> Result<(), OutOfMemory> {
        let missing = self.vcpus.saturating_add(1).saturating_sub(self.ready.len());
        self.ready.try_reserve(missing).map_err(|_| OutOfMemory)?;
        self.vcpus = self.vcpus.saturating_add(1);
        Ok(())
    }

    fn remove(&mut self, key: VcpuKey) {
        self.ready.retain(|ready| *ready != key);
        self.vcpus = self.vcpus.saturating_sub(1);
    }

    fn wake(&mut self, key: VcpuKey) {
        self.ready.push(key);
    }

    fn next(&mut self, _: PcpuId) -> Option<(VcpuKey, Slice)> {
        if self.ready.is_empty() {
            return None;
        }
        let chosen = self.random.below(self.ready.len() as u64);
        let key = self.ready.remove(usize::try_from(chosen).unwrap_or(0));
        let ns = 1 + self.random.below(LONGEST_NS);
        Some((key, Slice { ns }))
    }

    fn others_wait(&self, _: PcpuId) -> bool {
        !self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenvisor_core::number::{DomainId, VcpuId};

    /// The order in which four vcpus run that always want to.
    fn order(seed: u64) -> Vec<u16> {
        let mut scheduler = ByChance::new(seed);
        for n in 0..4 {
            let key = VcpuKey {
                domain: DomainId::new(n),
                vcpu: VcpuId::new(0),
            };
            scheduler.add(key).unwrap();
            scheduler.wake(key);
        }
        let turn = |_| {
            let (key, slice) = scheduler.next(PcpuId::new(0)).unwrap();
            assert!((1..=LONGEST_NS).contains(&slice.ns));
            scheduler.wake(key);
            key.domain.raw()
        };
        (0..100).map(turn).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_order_and_another_seed_another() {
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn everybody_has_a_turn() {
        for n in 0..4 {
            assert!(order(3).contains(&n));
        }
    }
}
