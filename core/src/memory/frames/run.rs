//! Runs: as many frames in a row as are wanted, where a block of a power of two could be twice as many.
//!
//! What a large buffer of the hypervisor needs: frames that follow each other, aligned to nothing but a frame. A run
//! is found by looking at what follows the free blocks that are not much smaller than it, and what it does not use
//! of the last of them stays free. Its frames are freed one by one, like all others.

use super::{Block, Frames, LARGEST, Lists, NONE, OutOfFrames, Owner, State};
use crate::number::Order;

impl Frames {
    /// A run of `count` frames for `owner` (at least one), one reference on each. What is in it is what its last
    /// user left.
    ///
    /// # Errors
    /// When there is no such run, or the owner may not have as much.
    pub fn allocate_run(&self, owner: Owner, count: u64) -> Result<Block<'_>, OutOfFrames> {
        let count = count.max(1);
        let failed = OutOfFrames {
            order: order_that_holds(count),
        };
        let start = self.take_run(owner, count).ok_or(failed)?;
        self.hand_out(owner, start, count);
        Ok(Block {
            frames: self,
            mfn: self.mfn(start),
            count,
        })
    }

    fn take_run(&self, owner: Owner, count: u64) -> Option<u32> {
        let mut lists = self.lists.lock();
        let start = self.find_run(&lists, count)?;
        if let Owner::Domain(domain) = owner
            && !lists.accounts.charge(domain, count)
        {
            return None;
        }
        let end = u64::from(start).saturating_add(count);
        let mut at = u64::from(start);
        while at < end {
            let index = u32::try_from(at).ok()?;
            let order = self.get(index).order;
            self.unlink(&mut lists, index, order);
            at = at.saturating_add(1 << order);
        }
        self.put(&mut lists, end, at);
        Some(start)
    }

    /// The first frame of a free run. It starts with a block of at least half its length, so that few are looked at.
    fn find_run(&self, lists: &Lists, count: u64) -> Option<u32> {
        let least = u8::try_from(count.ilog2()).ok()?;
        for order in least..=LARGEST {
            let mut at = *lists.heads.get(usize::from(order))?;
            while at != NONE {
                if self.follows_free(at, count) {
                    return Some(at);
                }
                at = self.links(at).0;
            }
        }
        None
    }

    /// Whether `count` frames from the free block at `start` on are free. What follows a free block is the first
    /// frame of another, or not free.
    fn follows_free(&self, start: u32, count: u64) -> bool {
        let mut length = 0;
        while length < count {
            let next = u64::from(start).saturating_add(length);
            let Some(index) = u32::try_from(next).ok().filter(|index| *index < self.count) else {
                return false;
            };
            let record = self.get(index);
            if record.state != State::Free {
                return false;
            }
            length = length.saturating_add(1 << record.order);
        }
        true
    }
}

fn order_that_holds(count: u64) -> Order {
    let exponent = count.checked_next_power_of_two().map(u64::ilog2);
    exponent
        .and_then(|exponent| Order::new(u8::try_from(exponent).ok()?))
        .unwrap_or(Order::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::FRAME_SIZE;
    use crate::number::Mfn;
    use crate::testing::FlatMemory;
    use alloc::sync::Arc;
    use std::vec::Vec;

    fn machine(frames: u64) -> Frames {
        let memory = Arc::new(FlatMemory::new(frames * FRAME_SIZE));
        Frames::new(memory, &[Mfn::new(1)..Mfn::new(frames)]).unwrap()
    }

    #[test]
    fn a_run_takes_no_more_than_it_needs() {
        let frames = machine(2048);
        let before = frames.free();
        let run = frames.allocate_run(Owner::Hypervisor, 257).unwrap();
        assert_eq!(frames.free(), before - 257);
        for n in 0..257 {
            let mfn = run.mfn().checked_add(n).unwrap();
            assert_eq!(frames.usage(mfn), Some((Owner::Hypervisor, 1)));
        }
        drop(run);
        assert_eq!(frames.free(), before);
        let large = Order::LARGE;
        let blocks = [(); 2].map(|()| frames.allocate(Owner::Hypervisor, large));
        assert!(blocks.iter().all(Result::is_ok), "blocks have joined again");
    }

    #[test]
    fn a_run_is_found_where_no_block_of_its_size_is() {
        let frames = machine(2048);
        let mut blocks = Vec::new();
        while let Ok(block) = frames.allocate(Owner::Hypervisor, Order::LARGE) {
            blocks.push(block);
        }
        // What is left at either end of the machine are blocks of 256 frames and less.
        assert_eq!(blocks.len(), 2);
        let run = frames.allocate_run(Owner::Hypervisor, 300).unwrap();
        assert!(frames.allocate_run(Owner::Hypervisor, 300).is_err());
        drop(run);
    }

    #[test]
    fn runs_and_blocks_never_share_a_frame_and_all_come_back() {
        let frames = machine(2048);
        let before = frames.free();
        let mut random = 0x2545_f491_u64;
        let mut held: Vec<(u64, u64)> = Vec::new();
        for _ in 0..3000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let count = 1 + (random >> 33) % 200;
            if random >> 63 == 0 || held.is_empty() {
                if let Ok(run) = frames.allocate_run(Owner::Hypervisor, count) {
                    let start = run.keep().raw();
                    assert!(held.iter().all(|(at, n)| start + count <= *at || at + n <= start));
                    held.push((start, count));
                }
            } else {
                let (start, count) = held.swap_remove((random >> 40) as usize % held.len());
                (start..start + count).for_each(|mfn| frames.release(Mfn::new(mfn)));
            }
            assert_eq!(frames.free() + held.iter().map(|(_, n)| n).sum::<u64>(), before);
        }
    }

    #[test]
    fn a_run_that_cannot_be_is_refused() {
        let frames = machine(64);
        for count in [64, 1 << 20, 1 << 40, u64::MAX] {
            assert!(frames.allocate_run(Owner::Hypervisor, count).is_err());
        }
        assert!(frames.allocate_run(Owner::Hypervisor, 0).is_ok());
    }
}
