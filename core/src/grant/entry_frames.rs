//! The frames with a table's shared entries. One that its granter has never seen, and that nothing was written to, is
//! not there yet: all its entries are zeros, which offer nothing.
//!
//! Invariant: a frame once made stays until the end.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use crate::domain::footprint::Cost;
use crate::memory::frames::{Frames, OutOfFrames, Owner};
use crate::memory::room::{self, OutOfMemory};
use crate::number::{Mfn, Order};

/// The number of a frame plus one, if it has been made.
#[derive(Clone, Copy, Default)]
struct Made(Option<NonZeroU64>);

impl Made {
    fn mfn(self) -> Option<Mfn> {
        let number = self.0?.get().checked_sub(1)?;
        Some(Mfn::new(number))
    }
}

/// Frames by their place in the table.
pub(super) struct EntryFrames {
    frames: Arc<Frames>,
    made: Vec<Made>,
}

impl EntryFrames {
    /// None yet, and room for `limit`.
    pub(super) fn new(limit: usize, frames: Arc<Frames>) -> Result<Self, OutOfMemory> {
        let made = room::vec(limit)?;
        Ok(Self { frames, made })
    }

    /// How many there are, made or not.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.made.len()).unwrap_or(u32::MAX)
    }

    /// From now on there are `count`, within the room there is. There are never fewer than before.
    pub(super) fn grow(&mut self, count: u32) {
        let room = self.made.capacity();
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(room);
        if count > self.made.len() {
            self.made.resize_with(count, Made::default);
        }
    }

    /// A frame, if it has been made.
    pub(super) fn get(&self, index: u32) -> Option<Mfn> {
        self.made.get(usize::try_from(index).ok()?)?.mfn()
    }

    /// A frame, which is made if it has to be; `None` for one that is not among those there are.
    pub(super) fn make(&mut self, index: u32) -> Result<Option<Mfn>, OutOfFrames> {
        let index = usize::try_from(index).ok();
        let Some(made) = index.and_then(|index| self.made.get_mut(index)) else {
            return Ok(None);
        };
        if let Some(mfn) = made.mfn() {
            return Ok(Some(mfn));
        }
        let block = self.frames.allocate_zeroed(Owner::Hypervisor, Order::FRAME)?;
        let number = block.mfn().raw().checked_add(1).and_then(NonZeroU64::new);
        *made = Made(Some(number.ok_or(OutOfFrames { order: Order::FRAME })?));
        Ok(Some(block.keep()))
    }

    /// What they take of the machine.
    pub(super) fn cost(&self) -> Cost {
        Cost {
            frames: self.all_made().count() as u64,
            heap: self.made.capacity().saturating_mul(size_of::<Made>()) as u64,
        }
    }

    /// Those that have been made.
    pub(super) fn all_made(&self) -> impl Iterator<Item = Mfn> {
        self.made.iter().filter_map(|made| made.mfn())
    }
}

impl Drop for EntryFrames {
    fn drop(&mut self) {
        self.all_made().for_each(|mfn| self.frames.release(mfn));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::FRAME_SIZE;
    use crate::testing::FlatMemory;

    #[test]
    fn a_frame_is_made_when_it_is_first_asked_for_and_stays() {
        let memory = Arc::new(FlatMemory::new(16 * FRAME_SIZE));
        let frames = Arc::new(Frames::new(memory, &[Mfn::new(0)..Mfn::new(16)]).unwrap());
        let free = frames.free();
        let mut entries = EntryFrames::new(4, frames.clone()).unwrap();
        entries.grow(3);
        assert_eq!((entries.count(), frames.free()), (3, free));
        assert_eq!(entries.make(3), Ok(None), "there are three");
        let made = entries.make(1).unwrap();
        assert!(made.is_some() && made == entries.get(1) && entries.make(1) == Ok(made));
        entries.grow(2);
        entries.grow(9);
        assert_eq!((entries.count(), frames.free()), (4, free - 1));
        assert_eq!(
            (entries.get(0), entries.all_made().collect()),
            (None, std::vec![made.unwrap()])
        );
        drop(entries);
        assert_eq!(frames.free(), free);
    }
}
