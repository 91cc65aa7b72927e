//! Fresh RAM for guest frames of a domain's choice.
//!
//! A block comes whole, and is placed whole or not at all. Where RAM was before, it loses its place and goes on to count;
//! the hypervisor's own frames are unhooked. What others own keeps its place, and then nothing is placed.
//!
//! A large block that begins anywhere is placed frame by frame. Only its two ends can need tables: they come first, and
//! are taken back if one of them cannot be had. From then on nothing can fail but by what the domain itself does to the
//! same guest frames meanwhile; a frame that finds such a place taken has none, and counts.

use super::{DomainMemory, PopulateError};
use crate::memory::frames::Owner;
use crate::memory::leaving::Leaving;
use crate::number::{Gfn, Mfn, Order};
use crate::p2m::{Flush, Kind, MapError, Rights, SecondStage, Target};

impl DomainMemory {
    /// Puts fresh RAM, all zeros, behind a block of guest frames. A block up to 2 MiB may begin anywhere.
    ///
    /// # Errors
    /// Nothing is placed then. Where the guest frames can never be, the block counts for the domain all the same, as it
    /// does under Xen, which has taken it by then.
    pub fn populate(&self, at: Gfn, order: Order, leaving: &mut Leaving<'_>) -> Result<(), PopulateError> {
        let block = self.frames.allocate_zeroed(Owner::Domain(self.owner), order)?;
        let first = Target {
            mfn: block.mfn(),
            rights: Rights::ReadWriteExecute,
            kind: Kind::Ram,
        };
        let placed = if order == Order::FRAME {
            self.place_fresh(at, first, leaving)
        } else {
            self.place_block(at, order, first, leaving)
        };
        match placed {
            Ok(()) => {
                block.keep();
                self.note(at, order);
                Ok(())
            }
            Err(error) => {
                drop(block);
                if matches!(error, PopulateError::Map(MapError::OutOfRange)) {
                    // It was counted a moment ago; if that is no longer possible, the domain has taken more meanwhile.
                    leaving.settle();
                    let _counted = self.reserve(order.frames());
                }
                Err(error)
            }
        }
    }

    /// One frame, in place of what may be there.
    fn place_fresh(&self, at: Gfn, to: Target, leaving: &mut Leaving<'_>) -> Result<(), PopulateError> {
        leaving.make_room();
        let mut stage = self.stage.lock();
        let old = stage.translate(at).map(|leaf| leaf.target);
        self.replace(&mut **stage, at, to, leaving)?;
        self.goes_on_to_count(old);
        Ok(())
    }

    fn place_block(
        &self,
        at: Gfn,
        order: Order,
        first: Target,
        leaving: &mut Leaving<'_>,
    ) -> Result<(), PopulateError> {
        let last = order.frames() - 1;
        let end = at.checked_add(last).ok_or(MapError::OutOfRange)?;
        // Room for both ends.
        leaving.settle();
        let mut stage = self.stage.lock();
        let is_empty = match look(&**stage, at, end) {
            Sight::Empty => true,
            Sight::Replaceable => false,
            Sight::Others(there) => return Err(PopulateError::Occupied(there)),
        };
        if is_empty && at.raw().is_multiple_of(order.frames()) {
            leaving.add(stage.map(at, order, first)?, None);
            return Ok(());
        }
        if order > Order::LARGE {
            return Err(MapError::Misaligned.into());
        }
        self.try_ends(&mut **stage, (at, first), (end, further(first, last)), leaving)?;
        drop(stage);
        for n in 0..=last {
            let to = further(first, n);
            let gfn = at.checked_add(n).ok_or(MapError::OutOfRange)?;
            if self.place_fresh(gfn, to, leaving).is_err() {
                self.goes_on_to_count(Some(to));
                self.frames.release(to.mfn);
            }
        }
        Ok(())
    }

    /// Maps both ends for a moment, so that the tables they need are there, and puts back what was there.
    fn try_ends(
        &self,
        stage: &mut dyn SecondStage,
        one: (Gfn, Target),
        other: (Gfn, Target),
        leaving: &mut Leaving<'_>,
    ) -> Result<(), MapError> {
        for (at, to) in [one, other] {
            let old = stage.translate(at).map(|leaf| leaf.target);
            let tried = stage.map(at, Order::FRAME, to)?;
            let back = match old {
                Some(old) => stage.map(at, Order::FRAME, old)?,
                None => stage.unmap(at, Order::FRAME)?,
            };
            // A vcpu may have seen it meanwhile: until it has forgotten, the frame is in use.
            let held = self.frames.reference(to.mfn, Owner::Domain(self.owner));
            leaving.add(tried.and(back).and(Flush::Domain), held.then_some(to.mfn));
        }
        Ok(())
    }
}

/// What is at a range of guest frames.
enum Sight {
    Empty,
    /// Frames of the domain, or of the hypervisor.
    Replaceable,
    /// Something of others, at this place.
    Others(Gfn),
}

fn look(stage: &dyn SecondStage, first: Gfn, last: Gfn) -> Sight {
    let mut sight = Sight::Empty;
    stage.leaves(first, &mut |at, leaf| {
        if at > last {
            return false;
        }
        match leaf.target.kind {
            Kind::Ram | Kind::Special => {
                sight = Sight::Replaceable;
                true
            }
            Kind::Grant | Kind::Foreign | Kind::Device => {
                sight = Sight::Others(at.max(first));
                false
            }
        }
    });
    sight
}

/// The target of a frame further on in a block.
const fn further(first: Target, frames: u64) -> Target {
    Target {
        mfn: Mfn::new(first.mfn.raw().saturating_add(frames)),
        ..first
    }
}
