//! A set of interrupt vectors: one of IRR, ISR and TMR.

use xenvisor_core::number::Vector;

/// 256 bits, one a vector.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct VectorSet([u64; 4]);

impl VectorSet {
    /// Adds a vector; says whether it was new.
    pub fn insert(&mut self, vector: Vector) -> bool {
        let was_there = self.contains(vector);
        if let Some(word) = self.0.get_mut(usize::from(vector.raw() >> 6)) {
            *word |= 1 << (vector.raw() & 63);
        }
        !was_there
    }

    /// Takes a vector out; says whether it was there.
    pub fn remove(&mut self, vector: Vector) -> bool {
        let was_there = self.contains(vector);
        if let Some(word) = self.0.get_mut(usize::from(vector.raw() >> 6)) {
            *word &= !(1 << (vector.raw() & 63));
        }
        was_there
    }

    /// Whether the vector is in the set.
    #[must_use]
    pub fn contains(&self, vector: Vector) -> bool {
        let word = self.0.get(usize::from(vector.raw() >> 6)).copied().unwrap_or(0);
        word >> (vector.raw() & 63) & 1 != 0
    }

    /// The highest vector of the set.
    #[must_use]
    pub fn highest(&self) -> Option<Vector> {
        (0_u8..4)
            .rev()
            .zip(self.0.iter().rev())
            .find(|(_, word)| **word != 0)
            .map(|(index, word)| {
                let bit = 63_u32.wrapping_sub(word.leading_zeros());
                Vector::new((index << 6) | u8::try_from(bit & 63).unwrap_or(0))
            })
    }

    /// The 32 vectors from `32 * index` on, as an APIC register shows them; 0 beyond the eighth.
    #[must_use]
    pub fn register(&self, index: u32) -> u32 {
        let word = usize::try_from(index >> 1)
            .ok()
            .and_then(|at| self.0.get(at))
            .copied()
            .unwrap_or(0);
        let half = if index & 1 == 0 { word } else { word >> 32 };
        u32::try_from(half & 0xffff_ffff).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vector_has_its_own_place() {
        for raw in 0..=255 {
            let vector = Vector::new(raw);
            let mut set = VectorSet::default();
            assert!(set.insert(vector) && !set.insert(vector));
            assert_eq!(set.highest(), Some(vector));
            let registers: Vec<u32> = (0..9).map(|index| set.register(index)).collect();
            for (index, register) in registers.iter().enumerate() {
                let expected = if index == usize::from(raw / 32) {
                    1 << (raw % 32)
                } else {
                    0
                };
                assert_eq!(*register, expected);
            }
            assert!(set.remove(vector) && !set.remove(vector));
            assert_eq!(set.highest(), None);
        }
    }
}
