//! Helpers of tests, here and in the crates above: memory that is an array, memory that remembers, chance from a seed.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "it is only ever used by tests, which may fail loudly"
)]

use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

use crate::machine::MachineMemory;
use crate::number::MachineAddr;

/// Machine memory from address 0, all zeros at first.
pub struct FlatMemory(Mutex<Vec<u8>>);

impl FlatMemory {
    /// This many bytes of it.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self(Mutex::new(vec![0; bytes as usize]))
    }

    fn with<R>(&self, at: MachineAddr, bytes: usize, then: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        let mut all = self.0.lock().unwrap();
        let start = at.raw() as usize;
        all.get_mut(start..start.checked_add(bytes)?).map(then)
    }

    fn change(&self, at: MachineAddr, to: impl FnOnce(u64) -> u64) -> u64 {
        assert!(at.raw().is_multiple_of(8), "{at} is not aligned");
        self.with(at, 8, |word| {
            let old = u64::from_le_bytes((&*word).try_into().unwrap());
            word.copy_from_slice(&to(old).to_le_bytes());
            old
        })
        .unwrap_or(0)
    }
}

impl MachineMemory for FlatMemory {
    fn read(&self, at: MachineAddr, into: &mut [u8]) {
        if self
            .with(at, into.len(), |bytes| into.copy_from_slice(bytes))
            .is_none()
        {
            into.fill(0);
        }
    }

    fn write(&self, at: MachineAddr, from: &[u8]) {
        self.with(at, from.len(), |bytes| bytes.copy_from_slice(from));
    }

    fn fetch_or(&self, at: MachineAddr, bits: u64) -> u64 {
        self.change(at, |word| word | bits)
    }

    fn fetch_and(&self, at: MachineAddr, bits: u64) -> u64 {
        self.change(at, |word| word & bits)
    }

    fn compare_exchange(&self, at: MachineAddr, old: u64, new: u64) -> Result<u64, u64> {
        let was = self.change(at, |word| if word == old { new } else { word });
        if was == old { Ok(was) } else { Err(was) }
    }

    fn compare_exchange_32(&self, at: MachineAddr, old: u32, new: u32) -> Result<u32, u32> {
        assert!(at.raw().is_multiple_of(4), "{at} is not aligned");
        self.with(at, 4, |word| {
            let was = u32::from_le_bytes((&*word).try_into().unwrap());
            if was != old {
                return Err(was);
            }
            word.copy_from_slice(&new.to_le_bytes());
            Ok(was)
        })
        .unwrap_or(Err(0))
    }

    fn zero(&self, at: MachineAddr, bytes: u64) {
        self.with(at, bytes as usize, |all| all.fill(0));
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
