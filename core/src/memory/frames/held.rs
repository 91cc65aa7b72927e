//! Guards: frames that go back when they are dropped, unless they are kept.

use super::Frames;
use crate::number::Mfn;

/// Newly allocated frames, one behind the other. Dropping it frees them: a step that takes itself back unless it is
/// kept.
#[must_use = "dropping a block frees it"]
pub struct Block<'a> {
    pub(super) frames: &'a Frames,
    pub(super) mfn: Mfn,
    pub(super) count: u64,
}

impl Block<'_> {
    /// The first frame.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// The step is final: each frame keeps its one reference, which is now the caller's to give back.
    pub fn keep(self) -> Mfn {
        let mfn = self.mfn;
        core::mem::forget(self);
        mfn
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        self.frames.release_all(self.mfn, self.count);
    }
}

/// A reference to a frame, given back when dropped.
#[must_use = "dropping a pin gives the reference back"]
pub struct Pin<'a> {
    pub(super) frames: &'a Frames,
    pub(super) mfn: Mfn,
}

impl Pin<'_> {
    /// The frame.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// The reference outlives the guard: the caller owes a [`Frames::release`].
    pub fn keep(self) -> Mfn {
        let mfn = self.mfn;
        core::mem::forget(self);
        mfn
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.frames.release(self.mfn);
    }
}
