//! Helpers of tests, here and in the crates above: memory that is an array, memory that remembers, chance from a seed.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "it is only ever used by tests, which may fail loudly"
)]

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

use crate::machine::MachineMemory;
use crate::number::MachineAddr;

/// Machine memory from address 0, all zeros at first. Words are read and written at once, longer runs are not: as in a
/// machine.
pub struct FlatMemory(Vec<AtomicU64>);

impl FlatMemory {
    /// This many bytes of it, rounded up to whole words.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let mut words = Vec::new();
        words.resize_with(bytes.div_ceil(8) as usize, AtomicU64::default);
        Self(words)
    }

    /// Whether all of it is there.
    fn has(&self, at: MachineAddr, bytes: u64) -> bool {
        at.raw()
            .checked_add(bytes)
            .is_some_and(|end| end <= self.0.len() as u64 * 8)
    }

    /// The aligned word at an address.
    fn word(&self, at: MachineAddr) -> Option<&AtomicU64> {
        assert!(at.raw().is_multiple_of(8), "{at} is not aligned");
        self.0.get((at.raw() / 8) as usize)
    }

    /// The words that these bytes are, if they are whole words: most accesses by far are to those.
    fn whole(&self, at: MachineAddr, bytes: usize) -> Option<&[AtomicU64]> {
        let first = (at.raw() / 8) as usize;
        if at.raw().is_multiple_of(8) && bytes.is_multiple_of(8) {
            self.0.get(first..first + bytes / 8)
        } else {
            None
        }
    }

    /// Changes those bits of a word that are set in `mask`.
    fn merge(word: &AtomicU64, mask: u64, bits: u64) {
        let merged = |old: u64| Some(old & !mask | bits & mask);
        // The function is never refused.
        let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, merged);
    }

    /// Calls `each` with every word that has some of these bytes, how many bytes of it come before them, and how many
    /// are among them.
    fn words(&self, at: MachineAddr, bytes: u64, mut each: impl FnMut(&AtomicU64, u32, usize)) {
        let (mut here, end) = (at.raw(), at.raw() + bytes);
        while here < end {
            let before = here % 8;
            let length = (8 - before).min(end - here);
            let word = self.0.get((here / 8) as usize).unwrap();
            each(word, before as u32, length as usize);
            here += length;
        }
    }
}

impl MachineMemory for FlatMemory {
    fn read(&self, at: MachineAddr, into: &mut [u8]) {
        if !self.has(at, into.len() as u64) {
            into.fill(0);
            return;
        }
        if let Some(words) = self.whole(at, into.len()) {
            for (to, word) in into.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                *to = word.load(Ordering::Acquire).to_le_bytes();
            }
            return;
        }
        let bytes = into.len() as u64;
        let mut rest = into;
        self.words(at, bytes, |word, before, length| {
            let word = (word.load(Ordering::Acquire) >> (before * 8)).to_le_bytes();
            let (piece, further) = core::mem::take(&mut rest).split_at_mut(length);
            piece.copy_from_slice(word.get(..length).unwrap());
            rest = further;
        });
    }

    fn write(&self, at: MachineAddr, from: &[u8]) {
        if !self.has(at, from.len() as u64) {
            return;
        }
        if let Some(words) = self.whole(at, from.len()) {
            for (from, word) in from.as_chunks::<8>().0.iter().zip(words) {
                word.store(u64::from_le_bytes(*from), Ordering::Release);
            }
            return;
        }
        let mut rest = from;
        self.words(at, from.len() as u64, |word, before, length| {
            let (piece, further) = rest.split_at(length);
            rest = further;
            let mut bytes = [0; 8];
            bytes.get_mut(..length).unwrap().copy_from_slice(piece);
            let bits = u64::from_le_bytes(bytes);
            if length == 8 {
                word.store(bits, Ordering::Release);
            } else {
                let mask = (1 << (length * 8)) - 1;
                Self::merge(word, mask << (before * 8), bits << (before * 8));
            }
        });
    }

    fn fetch_or(&self, at: MachineAddr, bits: u64) -> u64 {
        self.word(at)
            .map_or(0, |word| word.fetch_or(bits, Ordering::SeqCst))
    }

    fn fetch_and(&self, at: MachineAddr, bits: u64) -> u64 {
        self.word(at)
            .map_or(0, |word| word.fetch_and(bits, Ordering::SeqCst))
    }

    fn compare_exchange(&self, at: MachineAddr, old: u64, new: u64) -> Result<u64, u64> {
        let Some(word) = self.word(at) else {
            return if old == 0 { Ok(0) } else { Err(0) };
        };
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
    }

    fn compare_exchange_32(&self, at: MachineAddr, old: u32, new: u32) -> Result<u32, u32> {
        assert!(at.raw().is_multiple_of(4), "{at} is not aligned");
        let Some(word) = self.0.get((at.raw() / 8) as usize) else {
            return Err(0);
        };
        let shift = at.raw() % 8 * 8;
        let mask = u64::from(u32::MAX) << shift;
        let exchange = |all: u64| {
            let is = (all >> shift) as u32;
            (is == old).then_some(all & !mask | u64::from(new) << shift)
        };
        match word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, exchange) {
            Ok(all) => Ok((all >> shift) as u32),
            Err(all) => Err((all >> shift) as u32),
        }
    }

    fn zero(&self, at: MachineAddr, bytes: u64) {
        if !self.has(at, bytes) {
            return;
        }
        if let Some(words) = self.whole(at, bytes as usize) {
            words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            return;
        }
        self.write(at, &vec![0; bytes as usize]);
    }

    fn copy(&self, from: MachineAddr, to: MachineAddr, bytes: u64) {
        let mut buffer = vec![0; bytes as usize];
        self.read(from, &mut buffer);
        self.write(to, &buffer);
    }
}

/// Machine memory that remembers each write, so that time can be walked through.
pub struct History {
    inner: FlatMemory,
    writes: Mutex<Option<Vec<Write>>>,
}

/// One write: what was there before and after.
pub struct Write {
    at: MachineAddr,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Write {
    /// Makes the memory as it was before.
    pub fn undo(&self, memory: &History) {
        memory.inner.write(self.at, &self.before);
    }

    /// Makes the memory as it was after.
    pub fn redo(&self, memory: &History) {
        memory.inner.write(self.at, &self.after);
    }
}

impl History {
    /// Remembers what happens to `inner` whenever it records.
    #[must_use]
    pub const fn new(inner: FlatMemory) -> Self {
        Self {
            inner,
            writes: Mutex::new(None),
        }
    }

    /// From now on, each write is remembered.
    pub fn record(&self) {
        *self.writes.lock().unwrap() = Some(Vec::new());
    }

    /// The writes since [`History::record`], oldest first.
    #[must_use]
    pub fn stop(&self) -> Vec<Write> {
        self.writes.lock().unwrap().take().unwrap_or_default()
    }

    /// The 64-bit word at a machine address.
    #[must_use]
    pub fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.inner.read(MachineAddr::new(at), &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn remember<R>(&self, at: MachineAddr, bytes: usize, act: impl FnOnce(&FlatMemory) -> R) -> R {
        let mut writes = self.writes.lock().unwrap();
        let look = || {
            let mut buffer = vec![0; bytes];
            self.inner.read(at, &mut buffer);
            buffer
        };
        let before = writes.as_ref().map(|_| look());
        let result = act(&self.inner);
        if let (Some(writes), Some(before)) = (writes.as_mut(), before) {
            let after = look();
            writes.push(Write { at, before, after });
        }
        result
    }
}

impl MachineMemory for History {
    fn read(&self, at: MachineAddr, into: &mut [u8]) {
        self.inner.read(at, into);
    }

    fn write(&self, at: MachineAddr, from: &[u8]) {
        self.remember(at, from.len(), |inner| inner.write(at, from));
    }

    fn fetch_or(&self, at: MachineAddr, bits: u64) -> u64 {
        self.remember(at, 8, |inner| inner.fetch_or(at, bits))
    }

    fn fetch_and(&self, at: MachineAddr, bits: u64) -> u64 {
        self.remember(at, 8, |inner| inner.fetch_and(at, bits))
    }

    fn compare_exchange(&self, at: MachineAddr, old: u64, new: u64) -> Result<u64, u64> {
        self.remember(at, 8, |inner| inner.compare_exchange(at, old, new))
    }

    fn compare_exchange_32(&self, at: MachineAddr, old: u32, new: u32) -> Result<u32, u32> {
        self.remember(at, 4, |inner| inner.compare_exchange_32(at, old, new))
    }

    fn zero(&self, at: MachineAddr, bytes: u64) {
        self.remember(at, bytes as usize, |inner| inner.zero(at, bytes));
    }

    fn copy(&self, from: MachineAddr, to: MachineAddr, bytes: u64) {
        self.remember(to, bytes as usize, |inner| inner.copy(from, to, bytes));
    }
}

/// Chance from a seed: the same seed, the same chance.
pub struct Random(u64);

impl Random {
    /// Chance that begins at this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = self.below(from.len() as u64) as usize;
        from.get(index).unwrap()
    }
}
