//! Room on the heap, asked for politely: every allocation the model makes while guests run goes through here and can
//! be refused.
//!
//! Tests and the simulator (feature `testing`) let the n-th request of a thread fail, to see that a refusal at any
//! point leaves everything as it was.

use alloc::vec::Vec;

/// The heap has no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

/// An empty vector that takes `capacity` items without asking again.
///
/// # Errors
/// When the heap has no room.
pub fn vec<T>(capacity: usize) -> Result<Vec<T>, OutOfMemory> {
    if starve::refuses() {
        return Err(OutOfMemory);
    }
    let mut vec = Vec::new();
    vec.try_reserve_exact(capacity).map_err(|_| OutOfMemory)?;
    Ok(vec)
}

/// A vector of `count` items, each as `item` makes it.
///
/// # Errors
/// When the heap has no room.
pub fn filled<T>(count: usize, item: impl FnMut() -> T) -> Result<Vec<T>, OutOfMemory> {
    let mut vec = vec(count)?;
    vec.resize_with(count, item);
    Ok(vec)
}

/// Whether a request for frames, which have a door of their own, is to be refused too.
pub(super) fn refuses_frames() -> bool {
    starve::refuses_frames()
}

#[cfg(not(any(test, feature = "testing")))]
mod starve {
    //! Nothing is refused but by the heap itself.
    pub(super) const fn refuses() -> bool {
        false
    }
    pub(super) const fn refuses_frames() -> bool {
        false
    }
}

#[cfg(any(test, feature = "testing"))]
pub mod starve {
    //! Refuses the n-th request of this thread.
    extern crate std;

    use core::cell::Cell;

    std::thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
        static FRAMES_TOO: Cell<bool> = const { Cell::new(false) };
    }

    /// Lets `granted` more requests of this thread succeed and refuses all after, until [`feed`].
    pub fn after(granted: u32) {
        LEFT.set(Some(granted));
    }

    /// As [`after`], with requests for frames counted and refused among those for the heap.
    pub fn all_after(granted: u32) {
        after(granted);
        FRAMES_TOO.set(true);
    }

    /// Refuses nothing any more. `true` if a request was refused or would have been the next to be.
    pub fn feed() -> bool {
        FRAMES_TOO.set(false);
        LEFT.take() == Some(0)
    }

    pub(super) fn refuses_frames() -> bool {
        FRAMES_TOO.get() && refuses()
    }

    pub(super) fn refuses() -> bool {
        match LEFT.get() {
            None => false,
            Some(0) => true,
            Some(left) => {
                LEFT.set(Some(left - 1));
                false
            }
        }
    }
}
