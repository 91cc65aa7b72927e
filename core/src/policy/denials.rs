//! How often a domain was denied what.
//!
//! Counters only: counting takes no lock and no memory, so that a guest that asks in a loop costs nobody but itself.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::Act;

const ACTS: usize = Act::ALL.len();
/// So many denials of an act get a line each in the log; of later ones, those whose number is a power of two.
const LINES: u64 = 8;

/// The policy has denied a request. Why, is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Denied;

/// A domain's counters.
#[derive(Debug)]
pub struct Denials([AtomicU64; ACTS]);

impl Default for Denials {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; ACTS])
    }
}

impl Denials {
    /// One more; how many there are now.
    pub fn count(&self, act: Act) -> u64 {
        let counter = self.0.get(act as usize);
        counter.map_or(0, |counter| {
            counter.fetch_add(1, Ordering::Relaxed).saturating_add(1)
        })
    }

    /// Whether the denial of this number is worth a line: a guest cannot flood the log.
    #[must_use]
    pub const fn is_worth_a_line(number: u64) -> bool {
        number <= LINES || number.is_power_of_two()
    }

    /// What they are now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (number, counter) in tally.0.iter_mut().zip(&self.0) {
            *number = counter.load(Ordering::Relaxed);
        }
        tally
    }
}

/// How often what was denied, up to some moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally([u64; ACTS]);

impl Tally {
    /// How often this was.
    #[must_use]
    pub fn of(&self, act: Act) -> u64 {
        self.0.get(act as usize).copied().unwrap_or(0)
    }

    /// How often anything was.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().copied().fold(0, u64::saturating_add)
    }

    /// What was denied at all, and how often.
    pub fn denied(&self) -> impl Iterator<Item = (Act, u64)> {
        let each = Act::ALL.iter().copied().zip(self.0);
        each.filter(|(_, number)| *number > 0)
    }

    /// Together with another.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        for (mine, others) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(others);
        }
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.total() == 0 {
            return out.write_str("denied nothing");
        }
        for (n, (act, number)) in self.denied().enumerate() {
            let before = if n == 0 { "denied " } else { ", " };
            write!(out, "{before}{} {number}x", act.words())?;
        }
        Ok(())
    }
}
