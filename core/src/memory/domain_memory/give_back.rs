//! The end of a domain's memory: its frames go back, in slices.
//!
//! For a domain whose vcpus run no more: nothing is cached that could need a flush. What others still use of it
//! (grants, pages that deliver events) has references of its own, and goes back with the last of them.

use super::DomainMemory;
use crate::number::Gfn;
use crate::p2m::{Kind, Leaf};

/// Leaves looked at in one go, so that the second stage is not locked for long.
const BATCH: usize = 32;

impl DomainMemory {
    /// Gives back what is behind guest frames from `from` on, until it is `frames` frames or a little more. Where to go
    /// on, or `None` when that was all. It must not be called while a vcpu of the domain can still run.
    pub fn give_back_some(&self, from: Gfn, frames: u64) -> Option<Gfn> {
        let mut at = from;
        let mut done: u64 = 0;
        while done < frames {
            let mut found = heapless::Vec::<(Gfn, Leaf), BATCH>::new();
            let mut stage = self.stage.lock();
            stage.leaves(at, &mut |first, leaf| {
                let room = found.push((first, leaf)).is_ok();
                room && !found.is_full()
            });
            for (first, leaf) in &found {
                // A whole leaf: this makes no table, and cannot fail. What it owes, nobody has cached.
                let taken = stage.unmap(*first, leaf.order).is_ok();
                if taken {
                    self.give_back(leaf);
                }
                done = done.saturating_add(leaf.order.frames());
            }
            let (last, leaf) = found.last()?;
            at = last.checked_add(leaf.order.frames())?;
        }
        Some(at)
    }

    /// Gives back all that is left.
    pub(super) fn give_back_all(&self) {
        let mut from = Gfn::new(0);
        while let Some(next) = self.give_back_some(from, u64::MAX) {
            from = next;
        }
    }

    fn give_back(&self, leaf: &Leaf) {
        match leaf.target.kind {
            Kind::Ram | Kind::Foreign => self.frames.release_all(leaf.target.mfn, leaf.order.frames()),
            Kind::Special => self.frames.set_place(leaf.target.mfn, None),
            // A receipt holds it, and gives it up by itself; a device is nobody's.
            Kind::Grant | Kind::Device => {}
        }
    }
}
