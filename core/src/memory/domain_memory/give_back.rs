//! The end of a domain's memory: its frames go back, in slices.
//!
//! For a domain whose vcpus run no more: nothing is cached that could need a flush. What others still use of it
//! (grants, pages that deliver events) has references of its own, and goes back with the last of them.

use super::DomainMemory;
use crate::number::{Gfn, Order};
use crate::p2m::{Kind, Leaf, SecondStage};

/// Leaves looked at in one go, so that the second stage is not locked for long.
const BATCH: usize = 32;

impl DomainMemory {
    /// Gives back what is behind guest frames from `from` on, until it is `frames` frames or a little more (one leaf of
    /// 2 MiB at most). Where to go on, or `None` when that was all. It must not be called while a vcpu of the domain can
    /// still run.
    pub fn give_back_some(&self, from: Gfn, frames: u64) -> Option<Gfn> {
        let mut at = from;
        let mut done: u64 = 0;
        while done < frames {
            let mut found = heapless::Vec::<(Gfn, Leaf), BATCH>::new();
            let mut ahead = done;
            let mut stage = self.stage.lock();
            stage.leaves(at, &mut |first, leaf| {
                let room = found.push((first, leaf)).is_ok();
                ahead = ahead.saturating_add(leaf.order.frames());
                room && !found.is_full() && ahead < frames
            });
            for (first, leaf) in &found {
                let piece = piece(stage.as_mut(), *first, leaf);
                if let Some(piece) = &piece {
                    self.give_back(piece);
                }
                let order = piece.map_or(leaf.order, |piece| piece.order);
                done = done.saturating_add(order.frames());
                at = first.checked_add(order.frames())?;
                if order != leaf.order {
                    // The rest of it is the first that is found next.
                    break;
                }
            }
            if found.is_empty() {
                return None;
            }
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

/// Unmaps a leaf, or the first 2 MiB of a larger one, so that no step is long. What it owes, nobody has cached.
fn piece(stage: &mut dyn SecondStage, first: Gfn, leaf: &Leaf) -> Option<Leaf> {
    let large = Leaf {
        order: Order::LARGE,
        ..*leaf
    };
    // A piece of a leaf takes a table for what is left. Where there is no frame for one, the leaf goes as a whole: that
    // makes no table, and cannot fail.
    let split = leaf.order > Order::LARGE && stage.unmap(first, Order::LARGE).is_ok();
    if split {
        return Some(large);
    }
    stage.unmap(first, leaf.order).is_ok().then_some(*leaf)
}
