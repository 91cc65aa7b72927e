//! Sets of pcpus: where a vcpu may run, and where it would rather.

use crate::number::PcpuId;

/// A set of pcpus, as one word, so that a wake-up reads it in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PcpuSet(u64);

impl PcpuSet {
    /// How many pcpus there can be. Those beyond are not used.
    pub const MAX: u32 = u64::BITS;
    /// All there can be.
    pub const ALL: Self = Self(u64::MAX);
    /// None.
    pub const NONE: Self = Self(0);

    /// One pcpu. One that is beyond [`PcpuSet::MAX`] is none.
    #[must_use]
    pub fn one(pcpu: PcpuId) -> Self {
        Self(1_u64.checked_shl(pcpu.raw()).unwrap_or(0))
    }

    /// The pcpus 0 to `count - 1`.
    #[must_use]
    pub fn first(count: u32) -> Self {
        Self(
            1_u64
                .checked_shl(count)
                .map_or(u64::MAX, |above| above.wrapping_sub(1)),
        )
    }

    /// Those pcpus.
    #[must_use]
    pub fn of(pcpus: impl IntoIterator<Item = u32>) -> Self {
        let each = pcpus.into_iter().map(|pcpu| Self::one(PcpuId::new(pcpu)));
        each.fold(Self::NONE, Self::and_also)
    }

    /// Pcpu `n` for each bit `n`.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Bit `n` for each pcpu `n`.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether a pcpu is among them.
    #[must_use]
    pub fn contains(self, pcpu: PcpuId) -> bool {
        !self.and(Self::one(pcpu)).is_empty()
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    #[must_use]
    pub const fn and_also(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Each of them, lowest first.
    pub fn iter(self) -> impl Iterator<Item = PcpuId> {
        (0..Self::MAX)
            .map(PcpuId::new)
            .filter(move |pcpu| self.contains(*pcpu))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let set = PcpuSet::of([0, 3, 63, 64, 1000]);
        assert_eq!(
            set.iter().map(PcpuId::raw).collect::<std::vec::Vec<_>>(),
            [0, 3, 63]
        );
        assert_eq!(PcpuSet::first(2), PcpuSet::of([0, 1]));
        assert_eq!(PcpuSet::first(64), PcpuSet::ALL);
        assert_eq!(PcpuSet::first(0), PcpuSet::NONE);
        assert_eq!(set.without(PcpuSet::first(4)).len(), 1);
    }
}
