//! Time by weight, with caps, and with a bonus for those that sleep a lot.
//!
//! A vcpu's score is its *virtual time*: the time it has run, divided by its weight. Whoever has the lowest is next; so
//! in the long run all who want to run get time by their weights. One that has slept would come back with an old, low
//! score and keep everybody else waiting until it has caught up; so on waking it is brought forward to a little before
//! the scores of those that run now. That little is what makes it run at once: it is the bonus of those that only ever
//! run briefly, and too little to give anybody more than its share.
//!
//! A vcpu with a cap is not `ripe` before the time it has run is no more than its cap of the time that has passed; until
//! then it is parked.

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::sync::atomic::{AtomicU64, Ordering as MemoryOrder};

use super::{Arrival, Claim, OutOfMemory, Scheduler, Share, Slice, VcpuKey};
use crate::clock::Instant;
use crate::number::PcpuId;

/// The longest and the shortest turn.
const LONGEST_NS: u64 = 10_000_000;
const SHORTEST_NS: u64 = 500_000;
/// How far before those that run a sleeper comes back, in virtual nanoseconds.
const BONUS_NS: u64 = 2_000_000;
/// How much lower than that of the one that runs a woken vcpu's score must be to take its place.
const MARGIN_NS: u64 = 500_000;
/// How far the first in line may be overtaken before it is its turn, in virtual nanoseconds.
const LEAD_NS: u64 = 1_000_000;
/// How much less another pcpu's first must have had to be taken from there, in virtual nanoseconds.
const PULL_NS: u64 = 2_000_000;
/// How far behind those of another pcpu one may be that comes there. More than pcpus differ where nobody is bound to one.
const LAG_NS: u64 = 50_000_000;
/// How far a pcpu's virtual time goes on before the others of its pool hear of it.
const TELL_NS: u64 = 1_000_000;
/// What a capped vcpu may run at once after a long rest.
const CREDIT_NS: u64 = 5_000_000;

/// Time by weight. Suits hosts that are shared.
#[derive(Debug, Default)]
pub struct Weighted {
    waiting: BinaryHeap<Waiting>,
    /// Those that have used up their caps.
    parked: Vec<Claim>,
    /// The score of the one that ran last: where the virtual time of this pcpu stands.
    floor: u64,
    /// Where the virtual time of the pcpu stands that is furthest in this pool, about.
    furthest: Arc<AtomicU64>,
    /// Nobody runs or waits here: the pcpu's own virtual time means nothing, and that of the pool is taken up.
    idle: bool,
    /// Each that waits gets a number, so that equals take turns.
    arrivals: u64,
    /// How many vcpus there are.
    vcpus: usize,
}

/// Lowest score first, then whoever came first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Waiting {
    claim: Claim,
    arrival: u64,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |one: &Self| (one.claim.score, one.arrival);
        place(other).cmp(&place(self))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Weighted {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, claim: Claim) {
        self.arrivals = self.arrivals.wrapping_add(1);
        let arrival = self.arrivals;
        self.waiting.push(Waiting { claim, arrival });
    }

    /// Parked ones whose time has come wait with the others.
    fn unpark(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(claim) = self.parked.get(at).copied() {
            if claim.ripe > now {
                at = at.saturating_add(1);
            } else {
                self.parked.swap_remove(at);
                self.push(self.welcome(claim));
            }
        }
    }

    /// One that has not run for a while is brought forward.
    const fn welcome(&self, mut claim: Claim) -> Claim {
        let least = self.floor.saturating_sub(BONUS_NS);
        if claim.score < least {
            claim.score = least;
        }
        claim
    }

    /// The virtual time of this pcpu goes on, and never back.
    fn reach(&mut self, score: u64) {
        self.floor = self.floor.max(score);
        if self.floor.saturating_sub(TELL_NS) > self.furthest.load(MemoryOrder::Relaxed) {
            self.furthest.fetch_max(self.floor, MemoryOrder::Relaxed);
        }
    }

    /// Somebody comes to a pcpu that had nothing to do: whoever ran elsewhere meanwhile must not be behind for it.
    fn awaken(&mut self) {
        if core::mem::take(&mut self.idle) {
            self.floor = self.floor.max(self.furthest.load(MemoryOrder::Relaxed));
        }
    }

    /// Until the next in line has waited long enough.
    fn slice(&self, claim: &Claim) -> Slice {
        let ahead = self.waiting.peek().map_or(u64::MAX, |next| {
            let lead = next
                .claim
                .score
                .saturating_sub(claim.score)
                .saturating_add(LEAD_NS);
            real_ns(lead, claim.share)
        });
        Slice {
            ns: ahead.clamp(SHORTEST_NS, LONGEST_NS),
        }
    }

    fn begin(&mut self, claim: Claim) -> (Claim, Slice) {
        self.reach(claim.score);
        (claim, self.slice(&claim))
    }
}

/// Real time as virtual time.
fn virtual_ns(real_ns: u64, share: Share) -> u64 {
    let scaled = u128::from(real_ns) * u128::from(Share::DEFAULT_WEIGHT) / u128::from(share.weight.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Virtual time as real time.
fn real_ns(virtual_ns: u64, share: Share) -> u64 {
    let scaled = u128::from(virtual_ns) * u128::from(share.weight) / u128::from(Share::DEFAULT_WEIGHT);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

impl Scheduler for Weighted {
    fn for_pcpu(&self, _: PcpuId) -> Box<dyn Scheduler> {
        Box::new(Self {
            furthest: self.furthest.clone(),
            idle: true,
            ..Self::new()
        })
    }

    fn add(&mut self, _: VcpuKey) -> Result<(), OutOfMemory> {
        let vcpus = self.vcpus.saturating_add(1);
        let (waiting, parked) = (self.waiting.len(), self.parked.len());
        self.waiting
            .try_reserve(vcpus.saturating_sub(waiting))
            .map_err(|_| OutOfMemory)?;
        self.parked
            .try_reserve(vcpus.saturating_sub(parked))
            .map_err(|_| OutOfMemory)?;
        self.vcpus = vcpus;
        Ok(())
    }

    fn remove(&mut self, key: VcpuKey) {
        self.waiting.retain(|waiting| waiting.claim.key != key);
        self.parked.retain(|claim| claim.key != key);
        self.vcpus = self.vcpus.saturating_sub(1);
    }

    fn put(&mut self, claim: Claim, arrival: Arrival, now: Instant) {
        if arrival == Arrival::Woken {
            self.awaken();
        }
        let mut claim = claim;
        if arrival == Arrival::Yields
            && let Some(next) = self.waiting.peek()
        {
            // It gives away what it is ahead of the next by: else it would be the next itself, again and again.
            claim.score = claim.score.max(next.claim.score);
        }
        if claim.ripe > now {
            self.parked.push(claim);
        } else if arrival == Arrival::Woken {
            self.push(self.welcome(claim));
        } else {
            self.push(claim);
        }
    }

    fn next(&mut self, now: Instant) -> Option<(Claim, Slice)> {
        self.unpark(now);
        let Some(first) = self.waiting.pop() else {
            self.idle = self.parked.is_empty();
            return None;
        };
        Some(self.begin(first.claim))
    }

    fn first(&self) -> Option<u64> {
        self.waiting.peek().map(|first| first.claim.score)
    }

    fn give(&mut self, to: PcpuId, now: Instant) -> Option<(Claim, Slice)> {
        self.unpark(now);
        let may = |waiting: &&Waiting| waiting.claim.allowed.contains(to);
        let given = *self.waiting.iter().filter(may).max()?;
        self.waiting.retain(|waiting| *waiting != given);
        Some((given.claim, self.slice(&given.claim)))
    }

    fn margin_ns(&self) -> u64 {
        PULL_NS
    }

    /// Virtual time may stand elsewhere on another pcpu, where some may run on one alone: nobody keeps the others waiting
    /// for as long as that.
    fn take_over(&mut self, claim: &mut Claim) {
        self.awaken();
        claim.score = claim.score.max(self.floor.saturating_sub(LAG_NS));
        self.reach(claim.score);
    }

    fn charge(&mut self, claim: &mut Claim, ran_ns: u64, now: Instant) {
        self.reach(claim.score);
        claim.score = claim.score.saturating_add(virtual_ns(ran_ns, claim.share));
        if claim.share.cap > 0 {
            let costs = u128::from(ran_ns) * 100 / u128::from(claim.share.cap);
            let rested = Instant::from_ns(now.as_ns().saturating_sub(ran_ns).saturating_sub(CREDIT_NS));
            let from = claim.ripe.max(rested);
            claim.ripe = from.after_ns(u64::try_from(costs).unwrap_or(u64::MAX));
        }
    }

    /// However often others wake, whoever runs does so for a while: a storm of wake-ups costs it nothing but that.
    fn preempts(&self, woken: &Claim, running: &Claim, ran_ns: u64) -> Option<Slice> {
        let woken = self.welcome(*woken).score;
        let ran = virtual_ns(ran_ns.max(SHORTEST_NS), running.share);
        let beaten = woken.saturating_add(MARGIN_NS) < running.score.saturating_add(ran);
        beaten.then_some(Slice { ns: SHORTEST_NS })
    }

    fn look_at_ripe(&mut self, now: Instant) {
        self.unpark(now);
    }

    fn ripe(&self) -> Option<Instant> {
        self.parked.iter().map(|claim| claim.ripe).min()
    }
}

#[cfg(test)]
mod tests;
