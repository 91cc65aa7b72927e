//! Translations that were found lately, so that the next one of the same frame walks no tables.
//!
//! The hypervisor looks at the same few pages again and again: the guest's page tables, its code and its stack at an exit
//! that has to be decoded, the structures that calls point to. Invariant: an entry says what the tables say; whoever
//! changes tables forgets all of them first, once for each change.

use core::cell::Cell;

use super::Leaf;
use crate::number::Gfn;

/// How many there are: a walk of a guest's tables and what it leads to, several times.
const SLOTS: usize = 16;

/// See the file's header.
pub(super) struct Recent([Cell<Option<(Gfn, Leaf)>>; SLOTS]);

impl Recent {
    pub(super) const fn new() -> Self {
        Self([const { Cell::new(None) }; SLOTS])
    }

    fn slot(&self, gfn: Gfn) -> Option<&Cell<Option<(Gfn, Leaf)>>> {
        let [low, ..] = gfn.raw().to_le_bytes();
        self.0.get(usize::from(low) % SLOTS)
    }

    /// What is behind a frame, if that was found lately.
    pub(super) fn find(&self, gfn: Gfn) -> Option<Leaf> {
        let (known, leaf) = self.slot(gfn)?.get()?;
        (known == gfn).then_some(leaf)
    }

    /// This was found.
    pub(super) fn note(&self, gfn: Gfn, leaf: Leaf) {
        if let Some(slot) = self.slot(gfn) {
            slot.set(Some((gfn, leaf)));
        }
    }

    /// The tables change.
    pub(super) fn forget(&mut self) {
        *self = Self::new();
    }
}
