//! The counter, and how the cost of one operation is taken from it.

use core::hint::black_box;

use xenvisor_guests::prelude::*;
use xenvisor_guests::trouble::ticks;

/// How often a batch is repeated. The least counts: what comes between, a tick of the host's, only adds.
const BATCHES: u32 = 20;
/// Operations in a batch, where nothing else is said.
const OPERATIONS: u32 = 50;

/// Counts, and says what it has counted.
pub(crate) struct Clock<'a> {
    guest: &'a mut Guest,
    /// The one cost that is asked for, where it is one.
    only: Option<&'static str>,
}

impl<'a> Clock<'a> {
    pub(crate) fn begin(guest: &'a mut Guest) -> Self {
        Self {
            only: guest.word("only"),
            guest,
        }
    }

    pub(crate) fn guest(&self) -> &Guest {
        self.guest
    }

    /// Counts an operation.
    pub(crate) fn count(&mut self, name: &str, operation: impl FnMut(&Guest)) {
        self.count_many(name, OPERATIONS, operation);
    }

    /// Counts an operation that a batch has so many of.
    pub(crate) fn count_many(&mut self, name: &str, operations: u32, operation: impl FnMut(&Guest)) {
        if self.only.is_some_and(|only| only != name) {
            return;
        }
        let empty = least(self.guest, operations, |guest| {
            black_box(guest);
        });
        let all = least(self.guest, operations, operation).saturating_sub(empty);
        self.say(name, (all + u64::from(operations) / 2) / u64::from(operations));
    }

    /// Says a cost.
    pub(crate) fn say(&mut self, name: &str, ticks: u64) {
        self.guest.say(format_args!("cost {name} {ticks}"));
    }

    /// Says that something could not be counted, and why.
    pub(crate) fn miss(&mut self, name: &str, why: &str) {
        self.guest.say(format_args!("no cost {name}: {why}"));
    }

    pub(crate) fn end(&mut self) {
        self.guest.say(format_args!("all costs counted"));
    }
}

fn least(guest: &Guest, operations: u32, mut operation: impl FnMut(&Guest)) -> u64 {
    let batch = || {
        let begin = ticks();
        for _ in 0..operations {
            operation(guest);
        }
        ticks().wrapping_sub(begin)
    };
    core::iter::repeat_with(batch)
        .take(BATCHES as usize)
        .min()
        .unwrap_or(0)
}
