//! A list of small records that grows by whole frames of the machine: books that are too large for the heap, and that
//! must grow while guests run without asking it for room.
//!
//! The first frames with records are named here; directories of 512 names each name the rest, so that a short list
//! takes no frame but those with its records. Nobody but the owner of the list ever sees them.

use alloc::sync::Arc;
use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::machine::MachineMemory;
use crate::memory::frames::{Frames, OutOfFrames, Owner};
use crate::number::{FRAME_BYTES, FRAME_SIZE, MachineAddr, Mfn, Order};

/// Frames that are named without a directory.
const NEAR: u32 = 8;
/// Frames that a directory names.
const NAMES: u32 = 512;

/// Records of one kind, by index. At most `8 + DIRECTORIES * 512` frames of them.
pub struct Records<T, const DIRECTORIES: usize> {
    memory: Arc<dyn MachineMemory>,
    frames: Arc<Frames>,
    near: heapless::Vec<Mfn, { NEAR as usize }>,
    directories: heapless::Vec<Mfn, DIRECTORIES>,
    /// Frames with records in them.
    pages: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T: FromBytes + IntoBytes + Immutable, const DIRECTORIES: usize> Records<T, DIRECTORIES> {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a frame holds fewer than 2^32 records"
    )]
    const PER_PAGE: u32 = (FRAME_BYTES / size_of::<T>()) as u32;

    /// No records yet.
    #[must_use]
    pub const fn new(memory: Arc<dyn MachineMemory>, frames: Arc<Frames>) -> Self {
        Self {
            memory,
            frames,
            near: heapless::Vec::new(),
            directories: heapless::Vec::new(),
            pages: 0,
            kind: PhantomData,
        }
    }

    /// How many records there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.pages.saturating_mul(Self::PER_PAGE)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// How many frames they take, directories included.
    #[must_use]
    pub fn table_frames(&self) -> u64 {
        u64::from(self.pages).saturating_add(self.directories.len() as u64)
    }

    /// One frame more of records, all of them zero.
    ///
    /// # Errors
    /// When there is no frame, or as many as there can be are in use. Nothing has changed then.
    pub fn grow(&mut self) -> Result<(), OutOfFrames> {
        let full = OutOfFrames { order: Order::FRAME };
        let zeroed = || self.frames.allocate_zeroed(Owner::Hypervisor, Order::FRAME);
        let page = zeroed()?;
        match self.pages.checked_sub(NEAR) {
            None => self.near.push(page.mfn()).map_err(|_| full)?,
            Some(far) => {
                if far.is_multiple_of(NAMES) {
                    let directory = zeroed()?;
                    self.directories.push(directory.mfn()).map_err(|_| full)?;
                    directory.keep();
                }
                let at = self.name_at(far).ok_or(full)?;
                self.memory.write(at, &page.mfn().raw().to_le_bytes());
            }
        }
        page.keep();
        self.pages = self.pages.saturating_add(1);
        Ok(())
    }

    /// Grows until there are `count` records.
    ///
    /// # Errors
    /// When there are not as many frames. What was made until then stays; it is used later.
    pub fn grow_to(&mut self, count: u32) -> Result<(), OutOfFrames> {
        while self.len() < count {
            self.grow()?;
        }
        Ok(())
    }

    /// A record, if there is one of this index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<T> {
        let mut record = T::new_zeroed();
        self.memory.read(self.at(index)?, record.as_mut_bytes());
        Some(record)
    }

    /// Writes a record. One that is not there is not written.
    pub fn set(&mut self, index: u32, record: &T) {
        if let Some(at) = self.at(index) {
            self.memory.write(at, record.as_bytes());
        }
    }

    /// Where the name of a frame is that a directory names.
    fn name_at(&self, far: u32) -> Option<MachineAddr> {
        let directory = self.directories.get(usize::try_from(far / NAMES).ok()?)?;
        directory.address()?.checked_add(u64::from(far % NAMES) * 8)
    }

    fn page(&self, page: u32) -> Option<Mfn> {
        let Some(far) = page.checked_sub(NEAR) else {
            return self.near.get(usize::try_from(page).ok()?).copied();
        };
        let mut name = [0; 8];
        self.memory.read(self.name_at(far)?, &mut name);
        Some(Mfn::new(u64::from_le_bytes(name)))
    }

    fn at(&self, index: u32) -> Option<MachineAddr> {
        if index >= self.len() {
            return None;
        }
        let page = self.page(index / Self::PER_PAGE)?.address()?;
        let offset = u64::from(index % Self::PER_PAGE).checked_mul(size_of::<T>() as u64)?;
        debug_assert!(offset < FRAME_SIZE, "a record lies within its frame");
        page.checked_add(offset)
    }
}

impl<T, const DIRECTORIES: usize> Drop for Records<T, DIRECTORIES> {
    fn drop(&mut self) {
        self.near.iter().for_each(|page| self.frames.release(*page));
        let mut left = self.pages.saturating_sub(NEAR);
        for directory in &self.directories {
            for name in 0..left.min(NAMES) {
                let mut mfn = [0; 8];
                if let Some(at) = directory
                    .address()
                    .and_then(|at| at.checked_add(u64::from(name) * 8))
                {
                    self.memory.read(at, &mut mfn);
                    self.frames.release(Mfn::new(u64::from_le_bytes(mfn)));
                }
            }
            left = left.saturating_sub(NAMES);
            self.frames.release(*directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FlatMemory;

    fn machine(frames: u64) -> (Arc<FlatMemory>, Arc<Frames>) {
        let memory = Arc::new(FlatMemory::new(frames * FRAME_SIZE));
        let frames = Frames::new(memory.clone(), &[Mfn::new(0)..Mfn::new(frames)]).unwrap();
        (memory, Arc::new(frames))
    }

    #[test]
    fn records_keep_their_values_across_directories_and_all_frames_come_back() {
        let (memory, frames) = machine(2048);
        let free = frames.free();
        let mut records = Records::<[u64; 3], 2>::new(memory, frames.clone());
        assert_eq!(records.get(0), None);
        records.grow_to(170 * 1032).unwrap();
        assert_eq!(records.len(), 170 * 1032);
        for index in 0..records.len() {
            assert_eq!(records.get(index), Some([0; 3]));
            records.set(index, &[u64::from(index); 3]);
        }
        assert!((0..records.len()).all(|index| records.get(index) == Some([u64::from(index); 3])));
        assert!(
            records.grow().is_err(),
            "two directories name 1024 frames, and 8 are named without"
        );
        records.set(u32::MAX, &[1; 3]);
        assert_eq!(records.get(u32::MAX), None);
        drop(records);
        assert_eq!(frames.free(), free);
    }

    #[test]
    fn growth_that_fails_changes_nothing() {
        let (memory, frames) = machine(64);
        let mut records = Records::<u64, 1>::new(memory, frames.clone());
        records.grow_to(8 * 512).unwrap();
        assert_eq!(records.table_frames(), 8, "a short list has no directory");
        let mut taken = std::vec::Vec::new();
        while frames.free() > 1 {
            let block = frames.allocate(Owner::Hypervisor, Order::FRAME).unwrap();
            taken.push(block.keep());
        }
        assert!(records.grow().is_err(), "a page and a directory are two frames");
        assert_eq!((records.len(), frames.free()), (8 * 512, 1));
        frames.release(taken.pop().unwrap());
        assert!(records.grow().is_ok());
        assert_eq!((records.len(), records.table_frames()), (9 * 512, 10));
    }
}
