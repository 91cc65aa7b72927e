//! Pages of this guest, mapped to themselves, as all of its memory is.

use core::sync::atomic::AtomicU64;

/// Pages that others write to.
#[repr(C, align(4096))]
pub(crate) struct Pages<const N: usize>([[AtomicU64; 512]; N]);

impl<const N: usize> Pages<N> {
    pub(crate) const fn new() -> Self {
        Self([const { [const { AtomicU64::new(0) }; 512] }; N])
    }

    /// A word of the n-th.
    pub(crate) fn word(&self, n: usize, at: usize) -> &AtomicU64 {
        &self.0[n][at]
    }

    /// Where the n-th is.
    pub(crate) fn address(&self, n: usize) -> u64 {
        self.0[n].as_ptr().expose_provenance() as u64
    }

    /// Its frame.
    pub(crate) fn frame(&self, n: usize) -> u64 {
        self.address(n) >> 12
    }
}
