//! When each sleeper wants to be woken: a binary heap with one place for each.
//!
//! Invariant: a sleeper is in the heap at most once, at its earliest deadline. Setting an alarm never allocates: room
//! is made when the sleeper is added.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{OutOfMemory, VcpuKey};
use crate::clock::Instant;
use crate::number::DomainId;

/// Who has alarms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sleeper {
    /// A vcpu.
    Vcpu(VcpuKey),
    /// The watchdogs of a domain.
    Watchdogs(DomainId),
}

/// Alarms of all sleepers.
#[derive(Debug, Default)]
pub struct Alarms {
    /// A binary heap: the parent of place `n` is `(n - 1) / 2` and not later.
    heap: Vec<(Instant, Sleeper)>,
    /// Where each sleeper is in the heap, if it is.
    place: BTreeMap<Sleeper, Option<usize>>,
}

impl Alarms {
    /// No alarms, for nobody.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            heap: Vec::new(),
            place: BTreeMap::new(),
        }
    }

    /// Makes room for one more sleeper.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn add(&mut self, key: Sleeper) -> Result<(), OutOfMemory> {
        let all = self.place.len().saturating_add(1);
        self.heap
            .try_reserve(all.saturating_sub(self.heap.len()))
            .map_err(|_| OutOfMemory)?;
        self.place.insert(key, None);
        Ok(())
    }

    /// Forgets a sleeper.
    pub fn remove(&mut self, key: Sleeper) {
        self.set(key, None);
        self.place.remove(&key);
    }

    /// Sets or clears the one alarm of a sleeper. One that was not added has none.
    pub fn set(&mut self, key: Sleeper, when: Option<Instant>) {
        let Some(&place) = self.place.get(&key) else {
            return;
        };
        match (place, when) {
            (None, None) => {}
            (None, Some(when)) => {
                self.heap.push((when, key));
                self.settle(self.heap.len().saturating_sub(1));
            }
            (Some(at), Some(when)) => {
                if let Some(entry) = self.heap.get_mut(at) {
                    entry.0 = when;
                }
                self.settle(at);
            }
            (Some(at), None) => {
                self.heap.swap_remove(at);
                self.note(key, None);
                if at < self.heap.len() {
                    self.settle(at);
                }
            }
        }
    }

    /// Takes out one sleeper whose alarm is due.
    pub fn due(&mut self, now: Instant) -> Option<Sleeper> {
        let &(when, key) = self.heap.first()?;
        (when <= now).then(|| {
            self.set(key, None);
            key
        })
    }

    /// The earliest alarm; the end of time if there is none.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.heap.first().map_or(Instant::FAR, |&(when, _)| when)
    }

    fn note(&mut self, key: Sleeper, at: Option<usize>) {
        if let Some(place) = self.place.get_mut(&key) {
            *place = at;
        }
    }

    fn before(&self, a: usize, b: usize) -> bool {
        match (self.heap.get(a), self.heap.get(b)) {
            (Some(a), Some(b)) => a < b,
            _ => false,
        }
    }

    /// Moves the entry at `at` up or down to where it belongs, and notes the place of all that moved.
    fn settle(&mut self, at: usize) {
        let mut at = at;
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.before(at, parent) {
                break;
            }
            self.swap(at, parent);
            at = parent;
        }
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let child = if self.before(right, left) { right } else { left };
            if !self.before(child, at) {
                break;
            }
            self.swap(at, child);
            at = child;
        }
        if let Some(&(_, key)) = self.heap.get(at) {
            self.note(key, Some(at));
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for at in [a, b] {
            if let Some(&(_, key)) = self.heap.get(at) {
                self.note(key, Some(at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::VcpuId;

    fn key(n: u64) -> Sleeper {
        let domain = DomainId::new((n % 7) as u16);
        match n / 7 {
            0 => Sleeper::Watchdogs(domain),
            n => Sleeper::Vcpu(VcpuKey {
                domain,
                vcpu: VcpuId::new(n as u32),
            }),
        }
    }

    #[test]
    fn alarms_come_in_order_however_they_were_set_and_moved() {
        let mut alarms = Alarms::new();
        let mut model = std::collections::BTreeMap::new();
        (0..50).for_each(|n| alarms.add(key(n)).unwrap());
        let mut random = 88_172_645_463_325_252_u64;
        for _ in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let who = key(random % 50);
            if random & 1 << 20 == 0 {
                let when = Instant::from_ns(random >> 50);
                alarms.set(who, Some(when));
                model.insert(who, when);
            } else {
                alarms.set(who, None);
                model.remove(&who);
            }
            let next = model.values().min().copied().unwrap_or(Instant::FAR);
            assert_eq!(alarms.next(), next);
            if random & 7 << 30 == 0 {
                let now = Instant::from_ns(random >> 50);
                while let Some(woken) = alarms.due(now) {
                    assert!(model.remove(&woken).unwrap() <= now);
                }
                assert!(model.values().all(|when| *when > now));
            }
        }
    }

    #[test]
    fn a_vcpu_nobody_added_has_no_alarm() {
        let mut alarms = Alarms::new();
        alarms.set(key(3), Some(Instant::ZERO));
        assert_eq!(alarms.next(), Instant::FAR);
    }
}
