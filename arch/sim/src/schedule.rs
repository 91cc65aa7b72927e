//! Chance decides who runs next, and for how long; a seed decides chance.

use xenvisor_core::clock::Instant;
use xenvisor_core::number::PcpuId;
use xenvisor_core::sched::{Arrival, Claim, OutOfMemory, Scheduler, Slice, VcpuKey};
use xenvisor_core::testing::Random;

/// A scheduler that any interleaving may come from.
pub struct ByChance {
    seed: u64,
    random: Random,
    ready: Vec<Claim>,
    vcpus: usize,
}

/// The longest turn. About as long as a hundred accesses to memory, so that a turn may end anywhere.
const LONGEST_NS: u64 = 10_000;

impl ByChance {
    /// The scheduler that this seed makes.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Random::new(seed),
            ready: Vec::new(),
            vcpus: 0,
        }
    }

    fn slice(&mut self) -> Slice {
        let ns = 1 + self.random.below(LONGEST_NS);
        Slice { ns }
    }
}

impl Scheduler for ByChance {
    fn for_pcpu(&self, pcpu: PcpuId) -> Box<dyn Scheduler> {
        // Another order on each pcpu; on the first, that of the seed itself.
        let seed = self
            .seed
            .wrapping_add(u64::from(pcpu.raw()).wrapping_mul(1_000_003));
        Box::new(Self::new(seed))
    }

    fn add(&mut self, _: VcpuKey) -> Result<(), OutOfMemory> {
        let missing = self.vcpus.saturating_add(1).saturating_sub(self.ready.len());
        self.ready.try_reserve(missing).map_err(|_| OutOfMemory)?;
        self.vcpus = self.vcpus.saturating_add(1);
        Ok(())
    }

    fn remove(&mut self, key: VcpuKey) {
        self.ready.retain(|ready| ready.key != key);
        self.vcpus = self.vcpus.saturating_sub(1);
    }

    fn put(&mut self, claim: Claim, _: Arrival, _: Instant) {
        self.ready.push(claim);
    }

    fn next(&mut self, _: Instant) -> Option<(Claim, Slice)> {
        if self.ready.is_empty() {
            return None;
        }
        let chosen = self.random.below(self.ready.len() as u64);
        let claim = self.ready.remove(usize::try_from(chosen).unwrap_or(0));
        Some((claim, self.slice()))
    }

    /// Now and then, somebody is worth more on another pcpu.
    fn first(&self) -> Option<u64> {
        let claim = self.ready.first()?;
        Some(self.seed.wrapping_mul(u64::from(claim.key.domain.raw()) + 1) % (1 << 24))
    }

    fn give(&mut self, to: PcpuId, _: Instant) -> Option<(Claim, Slice)> {
        let at = self.ready.iter().position(|claim| claim.allowed.contains(to))?;
        let claim = self.ready.remove(at);
        Some((claim, self.slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenvisor_core::number::{DomainId, VcpuId};
    use xenvisor_core::sched::{PcpuSet, Share};

    /// The order in which four vcpus run that always want to.
    fn order(seed: u64) -> Vec<u16> {
        let mut scheduler = ByChance::new(seed);
        for n in 0..4 {
            let claim = Claim {
                key: VcpuKey {
                    domain: DomainId::new(n),
                    vcpu: VcpuId::new(0),
                },
                share: Share::default(),
                allowed: PcpuSet::ALL,
                score: 0,
                ripe: Instant::ZERO,
                ticket: 0,
            };
            scheduler.add(claim.key).unwrap();
            scheduler.put(claim, Arrival::Woken, Instant::ZERO);
        }
        let turn = |_| {
            let (claim, slice) = scheduler.next(Instant::ZERO).unwrap();
            assert!((1..=LONGEST_NS).contains(&slice.ns));
            scheduler.put(claim, Arrival::Again, Instant::ZERO);
            claim.key.domain.raw()
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
