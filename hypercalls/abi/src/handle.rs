//! What stands in a structure where C has a pointer, and where a 32-bit caller has a 64-bit number.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A pointer in a 64-bit caller's structure: a linear address in its current address space.
///
/// It is an allegation; nothing is known about what lies there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct GuestHandle64(pub u64);

impl GuestHandle64 {
    /// The null pointer, by which several calls mean "only tell me the size".
    pub const NULL: Self = Self(0);

    /// Whether this is the null pointer.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
}

/// A pointer in a 32-bit caller's structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct GuestHandle32(pub u32);

/// A `uint64_t` in a 32-bit caller's structure: the i386 ABI aligns it to 4 bytes only.
/// `zerocopy::transmute!` turns one into the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CompatU64 {
    /// Bits 31:0.
    pub low: u32,
    /// Bits 63:32.
    pub high: u32,
}
