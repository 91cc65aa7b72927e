//! Words shared with a guest: single bits and 32-bit words, changed atomically.
//!
//! The machine's atomic operations are 64 bits wide. A 32-bit word aligned to 4 bytes is one half of such a word, and
//! the other half is left as it is whatever the guest does to it. Every operation here is one step: nothing here
//! retries because of what a guest writes.

use crate::machine::MachineMemory;
use crate::number::MachineAddr;

/// The 64-bit word around a 32-bit word, and how far the latter is shifted in it.
const fn around(at: MachineAddr) -> (MachineAddr, u32) {
    let high = at.raw() & 4 != 0;
    (MachineAddr::new(at.raw() & !7), if high { 32 } else { 0 })
}

const fn half(word: u64, shift: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    if shift == 0 {
        u32::from_le_bytes([a, b, c, d])
    } else {
        u32::from_le_bytes([e, f, g, h])
    }
}

/// The 32-bit word.
pub(super) fn read(memory: &dyn MachineMemory, at: MachineAddr) -> u32 {
    let mut bytes = [0; 4];
    memory.read(at, &mut bytes);
    u32::from_le_bytes(bytes)
}

/// Sets bits of a 32-bit word; what it was before.
pub(super) fn set_bits(memory: &dyn MachineMemory, at: MachineAddr, bits: u32) -> u32 {
    let (word, shift) = around(at);
    half(memory.fetch_or(word, u64::from(bits) << shift), shift)
}

/// Clears bits of a 32-bit word; what it was before.
pub(super) fn clear_bits(memory: &dyn MachineMemory, at: MachineAddr, bits: u32) -> u32 {
    let (word, shift) = around(at);
    half(memory.fetch_and(word, !(u64::from(bits) << shift)), shift)
}

/// An array of bits in memory, least significant bit of the first byte first.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    memory: &'a dyn MachineMemory,
    at: MachineAddr,
}

impl<'a> Bits<'a> {
    /// The array that starts at an address aligned to 4 bytes.
    pub(super) const fn new(memory: &'a dyn MachineMemory, at: MachineAddr) -> Self {
        Self { memory, at }
    }

    const fn locate(self, bit: u32) -> (MachineAddr, u32) {
        let word = (bit / 32) as u64;
        (MachineAddr::new(self.at.raw() + word * 4), 1 << (bit % 32))
    }

    /// Whether the bit is set.
    pub(super) fn test(self, bit: u32) -> bool {
        let (at, mask) = self.locate(bit);
        read(self.memory, at) & mask != 0
    }

    /// Sets the bit; whether it was set before.
    pub(super) fn set(self, bit: u32) -> bool {
        let (at, mask) = self.locate(bit);
        set_bits(self.memory, at, mask) & mask != 0
    }

    /// Clears the bit; whether it was set before.
    pub(super) fn clear(self, bit: u32) -> bool {
        let (at, mask) = self.locate(bit);
        clear_bits(self.memory, at, mask) & mask != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FlatMemory;

    #[test]
    fn each_half_of_a_word_is_changed_without_the_other() {
        let memory = FlatMemory::new(64);
        let (low, high) = (MachineAddr::new(8), MachineAddr::new(12));
        assert_eq!(set_bits(&memory, low, 0x8000_0001), 0);
        assert_eq!(set_bits(&memory, high, 0x10), 0);
        assert_eq!(clear_bits(&memory, low, 1), 0x8000_0001);
        assert_eq!((read(&memory, low), read(&memory, high)), (0x8000_0000, 0x10));
    }

    #[test]
    fn bits_are_found_across_words() {
        let memory = FlatMemory::new(64);
        let bits = Bits::new(&memory, MachineAddr::new(4));
        for bit in [0, 31, 32, 63, 64, 95] {
            assert!(!bits.set(bit));
            assert!(bits.test(bit) && bits.set(bit) && bits.clear(bit) && !bits.test(bit));
        }
    }
}
