//! The machine's memory: frames of bytes, of which only those that were written take any room.
//!
//! Every access goes through one lock, so each is a single one. Beyond the end, reads give zeros and writes vanish.
//! [`SimMemory::image`] is all that is in it, to compare: two equal images hold the same bytes everywhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xenvisor_core::machine::MachineMemory;
use xenvisor_core::number::{FRAME_BYTES, FRAME_SIZE, MachineAddr, Mfn};

type Frame = [u8; FRAME_BYTES];

/// What is in a memory, by frame; frames of zeros are left out.
pub type Image = BTreeMap<Mfn, Box<Frame>>;

/// Sparse memory.
pub struct SimMemory {
    bytes: u64,
    frames: Mutex<Image>,
    /// How often it was touched.
    effort: AtomicU64,
}

impl SimMemory {
    /// This many bytes from address 0 on, all zeros.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self {
            bytes,
            frames: Mutex::new(BTreeMap::new()),
            effort: AtomicU64::new(0),
        }
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All that is in it.
    #[must_use]
    pub fn image(&self) -> Image {
        let mut image = self.frames().clone();
        image.retain(|_, frame| frame.iter().any(|byte| *byte != 0));
        image
    }

    /// How many frames take room.
    #[must_use]
    pub fn frames_with_room(&self) -> usize {
        self.frames().len()
    }

    /// How often it was touched: what the hypervisor does to it is the same from run to run.
    #[must_use]
    pub fn effort(&self) -> u64 {
        self.effort.load(Ordering::Relaxed)
    }

    fn frames(&self) -> MutexGuard<'_, Image> {
        self.effort.fetch_add(1, Ordering::Relaxed);
        // A panic elsewhere ends the test that caused it; what it left here is as good as ever.
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `each` with the frame, the range in it and the range of the buffer, for each piece that lies in one frame
    /// of the memory there is.
    fn pieces(&self, at: MachineAddr, bytes: u64, mut each: impl FnMut(Mfn, usize, std::ops::Range<usize>)) {
        let end = at.raw().saturating_add(bytes).min(self.bytes);
        let mut here = at.raw();
        while here < end {
            let offset = here % FRAME_SIZE;
            let length = (FRAME_SIZE - offset).min(end - here);
            let from = here - at.raw();
            let range = index(from)..index(from + length);
            each(MachineAddr::new(here).frame(), index(offset), range);
            here += length;
        }
    }

    fn change<const N: usize, R>(&self, at: MachineAddr, to: impl FnOnce(&mut [u8; N]) -> R) -> Option<R> {
        assert!(
            at.raw().is_multiple_of(N as u64),
            "{at} is not aligned to {N} bytes"
        );
        let end = at.raw().checked_add(N as u64)?;
        if end > self.bytes {
            return None;
        }
        let mut frames = self.frames();
        let frame = frames.entry(at.frame()).or_insert_with(blank);
        let word = frame.get_mut(index(at.offset())..)?.first_chunk_mut()?;
        Some(to(word))
    }

    fn change_word(&self, at: MachineAddr, to: impl FnOnce(u64) -> u64) -> u64 {
        let changed = self.change(at, |word: &mut [u8; 8]| {
            let old = u64::from_le_bytes(*word);
            *word = to(old).to_le_bytes();
            old
        });
        changed.unwrap_or(0)
    }
}

fn blank() -> Box<Frame> {
    Box::new([0; FRAME_BYTES])
}

/// An offset in a buffer: buffers are in the memory of a 64-bit workstation.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl MachineMemory for SimMemory {
    fn read(&self, at: MachineAddr, into: &mut [u8]) {
        into.fill(0);
        let frames = self.frames();
        self.pieces(at, into.len() as u64, |mfn, offset, range| {
            if let Some(frame) = frames.get(&mfn)
                && let Some(to) = into.get_mut(range)
                && let Some(from) = frame.get(offset..offset + to.len())
            {
                to.copy_from_slice(from);
            }
        });
    }

    fn write(&self, at: MachineAddr, from: &[u8]) {
        let mut frames = self.frames();
        self.pieces(at, from.len() as u64, |mfn, offset, range| {
            let frame = frames.entry(mfn).or_insert_with(blank);
            if let Some(from) = from.get(range)
                && let Some(to) = frame.get_mut(offset..offset + from.len())
            {
                to.copy_from_slice(from);
            }
        });
    }

    fn fetch_or(&self, at: MachineAddr, bits: u64) -> u64 {
        self.change_word(at, |word| word | bits)
    }

    fn fetch_and(&self, at: MachineAddr, bits: u64) -> u64 {
        self.change_word(at, |word| word & bits)
    }

    fn compare_exchange(&self, at: MachineAddr, old: u64, new: u64) -> Result<u64, u64> {
        let was = self.change_word(at, |word| if word == old { new } else { word });
        if was == old { Ok(was) } else { Err(was) }
    }

    fn compare_exchange_32(&self, at: MachineAddr, old: u32, new: u32) -> Result<u32, u32> {
        let changed = self.change(at, |word: &mut [u8; 4]| {
            let was = u32::from_le_bytes(*word);
            if was != old {
                return Err(was);
            }
            *word = new.to_le_bytes();
            Ok(was)
        });
        changed.unwrap_or(Err(0))
    }

    fn zero(&self, at: MachineAddr, bytes: u64) {
        let mut frames = self.frames();
        let end = at.raw().saturating_add(bytes);
        // Whole frames need no room when they are zero.
        let whole = Mfn::new(at.raw().div_ceil(FRAME_SIZE))..Mfn::new(end / FRAME_SIZE);
        if whole.start < whole.end {
            // One by one: a machine has many frames, and few of them are in this range.
            while let Some(mfn) = frames.range(whole.clone()).next().map(|(mfn, _)| *mfn) {
                frames.remove(&mfn);
            }
        }
        self.pieces(at, bytes, |mfn, offset, range| {
            if let Some(to) = frames
                .get_mut(&mfn)
                .and_then(|frame| frame.get_mut(offset..offset + range.len()))
            {
                to.fill(0);
            }
        });
    }

    fn copy(&self, from: MachineAddr, to: MachineAddr, bytes: u64) {
        let mut buffer = vec![0; index(bytes)];
        self.read(from, &mut buffer);
        self.write(to, &buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(raw: u64) -> MachineAddr {
        MachineAddr::new(raw)
    }

    #[test]
    fn bytes_come_back_across_frames_and_the_rest_is_zero() {
        let memory = SimMemory::new(1 << 20);
        memory.write(at(4094), &[1, 2, 3, 4]);
        let mut read = [9; 6];
        memory.read(at(4093), &mut read);
        assert_eq!(read, [0, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn zeroed_memory_is_as_if_it_had_never_been_written() {
        let memory = SimMemory::new(1 << 20);
        let empty = memory.image();
        memory.write(at(100), &[7; 20_000]);
        memory.zero(at(90), 30_000);
        assert!(memory.image() == empty);
    }

    #[test]
    fn zeroing_leaves_what_is_before_and_behind() {
        let memory = SimMemory::new(1 << 20);
        memory.write(at(0), &[7; 20_000]);
        memory.zero(at(4090), 8200);
        let mut read = [0; 20_000];
        memory.read(at(0), &mut read);
        let zeros = read.iter().filter(|byte| **byte == 0).count();
        assert_eq!(
            (read[4089], read[4090], read[12_289], read[12_290], zeros),
            (7, 0, 0, 7, 8200)
        );
    }

    #[test]
    fn there_is_nothing_beyond_the_end() {
        let memory = SimMemory::new(8192);
        memory.write(at(8190), &[1, 2, 3, 4]);
        let mut read = [9; 4];
        memory.read(at(8190), &mut read);
        assert_eq!(read, [1, 2, 0, 0]);
        assert_eq!(memory.fetch_or(at(8192), 1), 0);
        assert_eq!(memory.compare_exchange(at(u64::MAX - 7), 0, 1), Ok(0));
    }

    #[test]
    fn a_word_is_exchanged_only_if_it_is_as_expected() {
        let memory = SimMemory::new(8192);
        assert_eq!(memory.compare_exchange(at(8), 0, 5), Ok(0));
        assert_eq!(memory.compare_exchange(at(8), 0, 6), Err(5));
        assert_eq!(memory.compare_exchange_32(at(8), 5, 7), Ok(5));
        assert_eq!(memory.compare_exchange_32(at(12), 1, 7), Err(0));
        assert_eq!(memory.fetch_and(at(8), 3), 7);
        assert_eq!(memory.fetch_or(at(8), 8), 3);
    }
}
