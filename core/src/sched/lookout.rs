//! Whether every pcpu still takes turns: each looks at the others now and then, and tells of one that does not.
//!
//! A pcpu has a pulse: a count that goes on whenever it looks for somebody to run, and whenever it enters a guest. One
//! whose pulse has stood still for longer than it may is stuck: in the hypervisor, or in a guest that it should have left
//! when its time was over. One that sleeps, or does what takes long by its nature, is excused.
//!
//! Nothing here takes a lock: whoever is stuck may hold it. On a machine with one pcpu nobody looks.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::VcpuKey;
use crate::clock::Instant;
use crate::number::{DomainId, PcpuId, VcpuId};

/// How pcpus look after each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lookout {
    /// For how long a pcpu may go without taking a turn, in nanoseconds; `None`: nobody looks.
    pub patience_ns: Option<u64>,
    /// What happens to one that goes without for longer.
    pub then: Then,
}

impl Default for Lookout {
    fn default() -> Self {
        Self {
            patience_ns: Some(10_000_000_000),
            then: Then::Fail,
        }
    }
}

/// What happens when a pcpu is found stuck.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// It is logged, and the host fails: it holds who knows what.
    Fail,
    /// It is logged.
    Report,
}

/// A pcpu that was found stuck, and what it was doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stuck {
    /// Which.
    pub pcpu: PcpuId,
    /// For how long at least, in nanoseconds.
    pub for_ns: u64,
    /// Whose turn it was.
    pub runs: Option<VcpuKey>,
    /// Whether it was in the guest.
    pub is_in_guest: bool,
}

impl fmt::Display for Stuck {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pcpu, ms) = (self.pcpu.raw(), self.for_ns / 1_000_000);
        write!(out, "pcpu {pcpu} has taken no turn for {ms} ms: it is ")?;
        match (self.runs, self.is_in_guest) {
            (None, _) => out.write_str("in the hypervisor, in nobody's turn"),
            (Some(key), true) => write!(out, "in the guest, vcpu {} of {}", key.vcpu.raw(), key.domain),
            (Some(key), false) => write!(
                out,
                "in the hypervisor, in the turn of vcpu {} of {}",
                key.vcpu.raw(),
                key.domain
            ),
        }
    }
}

/// The pulse of one pcpu.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    beats: AtomicU64,
    /// Whose turn it is, as [`encode`] has it.
    runs: AtomicU64,
    excused: AtomicBool,
    /// How far it was when somebody last looked, and since when.
    seen: AtomicU64,
    seen_since: AtomicU64,
    /// It was told of this standstill.
    told: AtomicBool,
}

/// Nobody's turn.
const NOBODY: u64 = u64::MAX;

fn encode(key: Option<VcpuKey>) -> u64 {
    key.map_or(NOBODY, |key| {
        u64::from(key.domain.raw()) << 32 | u64::from(key.vcpu.raw())
    })
}

fn decode(word: u64) -> Option<VcpuKey> {
    Some(VcpuKey {
        domain: DomainId::new(u16::try_from(word >> 32).ok()?),
        vcpu: VcpuId::new(u32::try_from(word & u64::from(u32::MAX)).ok()?),
    })
}

impl Pulse {
    /// The pcpu goes on. For itself to say.
    pub(super) fn beat(&self) {
        // Only the pcpu itself writes it.
        let beats = self.beats.load(Ordering::Relaxed);
        self.beats.store(beats.wrapping_add(1), Ordering::Relaxed);
    }

    /// Whose turn it is from now on.
    pub(super) fn runs(&self, key: Option<VcpuKey>) {
        self.runs.store(encode(key), Ordering::Relaxed);
        self.beat();
    }

    /// Whether it does what may take long.
    pub(super) fn excuse(&self, excused: bool) {
        self.excused.store(excused, Ordering::Relaxed);
        self.beat();
    }

    /// Begins to look at it anew.
    fn begin(&self, now: Instant) {
        self.seen
            .store(self.beats.load(Ordering::Relaxed), Ordering::Relaxed);
        self.seen_since.store(now.as_ns(), Ordering::Relaxed);
        self.told.store(false, Ordering::Relaxed);
    }

    /// Somebody looks: for how long it has stood still, if that is longer than it may and was not told yet.
    fn look(&self, sleeps: bool, now: Instant, patience_ns: u64) -> Option<u64> {
        let goes = self.beats.load(Ordering::Relaxed) != self.seen.load(Ordering::Relaxed);
        if goes || sleeps || self.excused.load(Ordering::Relaxed) {
            self.begin(now);
            return None;
        }
        let since = Instant::from_ns(self.seen_since.load(Ordering::Relaxed));
        let still_ns = now.ns_since(since);
        (still_ns >= patience_ns && !self.told.swap(true, Ordering::Relaxed)).then_some(still_ns)
    }
}

/// What a pcpu shows to those who look.
pub(super) struct Sight<'a> {
    pub pcpu: PcpuId,
    pub pulse: &'a Pulse,
    pub sleeps: bool,
    pub is_in_guest: bool,
}

/// Who looks next, and when.
#[derive(Debug)]
pub(super) struct Rounds {
    lookout: Lookout,
    next: AtomicU64,
}

impl Rounds {
    pub(super) const fn new(lookout: Lookout) -> Self {
        Self {
            lookout,
            next: AtomicU64::new(0),
        }
    }

    pub(super) const fn lookout(&self) -> Lookout {
        self.lookout
    }

    /// How much time lies between two looks.
    pub(super) fn interval_ns(&self) -> Option<u64> {
        self.lookout.patience_ns.map(|patience| (patience / 4).max(1))
    }

    /// The caller looks at the others, if it is time to.
    pub(super) fn look<'a>(&self, now: Instant, others: impl Iterator<Item = Sight<'a>>) -> Option<Stuck> {
        let (patience_ns, interval_ns) = (self.lookout.patience_ns?, self.interval_ns()?);
        let due = self.next.load(Ordering::Relaxed);
        if now.as_ns() < due {
            return None;
        }
        let next = now.after_ns(interval_ns).as_ns();
        // One of them looks.
        self.next
            .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        // When nobody has looked for long (all slept, or the machine stood still), nothing can be said yet.
        let is_late = now.ns_since(Instant::from_ns(due)) > patience_ns / 2;
        let mut found = None;
        for other in others {
            if is_late {
                other.pulse.begin(now);
            } else if let Some(for_ns) = other.pulse.look(other.sleeps, now, patience_ns) {
                found = found.or(Some(Stuck {
                    pcpu: other.pcpu,
                    for_ns,
                    runs: decode(other.pulse.runs.load(Ordering::Relaxed)),
                    is_in_guest: other.is_in_guest,
                }));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const PATIENCE_NS: u64 = 1_000;

    /// Looks every 200 ns, until `until_ns`; `does` says what the other one does each time. When it was told.
    fn told(until_ns: u64, mut does: impl FnMut(u64, &Pulse) -> bool) -> std::vec::Vec<u64> {
        let rounds = Rounds::new(Lookout {
            patience_ns: Some(PATIENCE_NS),
            then: Then::Report,
        });
        let pulse = Pulse::default();
        pulse.runs(Some(VcpuKey {
            domain: DomainId::new(3),
            vcpu: VcpuId::new(1),
        }));
        let mut told = std::vec::Vec::new();
        for now in (0..until_ns).step_by(200) {
            let sleeps = does(now, &pulse);
            let sight = Sight {
                pcpu: PcpuId::new(7),
                pulse: &pulse,
                sleeps,
                is_in_guest: true,
            };
            if let Some(stuck) = rounds.look(Instant::from_ns(now), [sight].into_iter()) {
                assert!(
                    stuck.to_string().contains("in the guest, vcpu 1 of d3"),
                    "{stuck}"
                );
                told.push(now);
            }
        }
        told
    }

    #[test]
    fn one_that_stands_still_is_told_of_once() {
        let told = told(10_000, |_, _| false);
        assert!(told.len() == 1 && (1_000..2_000).contains(&told[0]), "{told:?}");
    }

    #[test]
    fn one_that_goes_on_after_a_while_may_be_told_of_again() {
        let told = told(10_000, |now, pulse| {
            if now == 5_000 {
                pulse.beat();
            }
            false
        });
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn one_that_goes_on_sleeps_or_is_excused_is_not_told_of() {
        assert!(told(10_000, |_, _| true).is_empty());
        let goes = |_, pulse: &Pulse| {
            pulse.beat();
            false
        };
        assert!(told(10_000, goes).is_empty());
        let is_excused = |now, pulse: &Pulse| {
            if now == 0 {
                pulse.excuse(true);
            }
            false
        };
        assert!(told(10_000, is_excused).is_empty());
    }

    #[test]
    fn nothing_is_said_when_nobody_has_looked_for_long() {
        let rounds = Rounds::new(Lookout {
            patience_ns: Some(PATIENCE_NS),
            then: Then::Report,
        });
        let pulse = Pulse::default();
        for now in (0..10).map(|n| n * 5_000) {
            let sight = Sight {
                pcpu: PcpuId::new(1),
                pulse: &pulse,
                sleeps: false,
                is_in_guest: false,
            };
            assert_eq!(rounds.look(Instant::from_ns(now), [sight].into_iter()), None);
        }
    }
}
