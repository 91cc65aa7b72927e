//! Helpers of this crate's own tests: a memory that is an array.

use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

use crate::machine::MachineMemory;
use crate::number::MachineAddr;

/// Machine memory from address 0, all zeros at first.
pub(crate) struct FlatMemory(Mutex<Vec<u8>>);

impl FlatMemory {
    pub(crate) fn new(bytes: u64) -> Self {
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
