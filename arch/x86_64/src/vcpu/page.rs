//! Pages of the machine that the backend keeps for itself: control blocks, save areas, extended state.
//!
//! Invariant: the frame belongs to the hypervisor and to this object alone for as long as the object lives; no
//! [`Machine`](xenvisor_core::machine::MachineMemory) address of it is given to anybody but the processor.

use alloc::sync::Arc;
use core::ptr::NonNull;

use xenvisor_core::memory::frames::{Frames, OutOfFrames, Owner};
use xenvisor_core::number::{MachineAddr, Mfn, Order};

use crate::host::direct_map;

/// One page, seen as a `T` for which every bit pattern is a value.
pub(crate) struct Page<T> {
    frames: Arc<Frames>,
    mfn: Mfn,
    at: MachineAddr,
    pointer: NonNull<T>,
}

/// What a page may be seen as.
///
/// # Safety
/// Every bit pattern is a value, the size is at most 4096 bytes, the alignment divides 4096.
pub(crate) unsafe trait PageContent {}

// SAFETY: integers all through, exactly a page, aligned to one.
unsafe impl PageContent for crate::svm::vmcb::Vmcb {}
// SAFETY: bytes, exactly a page.
unsafe impl PageContent for [u8; 4096] {}

impl<T: PageContent> Page<T> {
    /// A page of zeros.
    pub(crate) fn new(frames: &Arc<Frames>) -> Result<Self, OutOfFrames> {
        let block = frames.allocate_zeroed(Owner::Hypervisor, Order::FRAME)?;
        let failed = OutOfFrames { order: Order::FRAME };
        let at = block.mfn().address().ok_or(failed)?;
        let pointer = NonNull::new(direct_map::pointer(at).cast()).ok_or(failed)?;
        let mfn = block.keep();
        Ok(Self {
            frames: Arc::clone(frames),
            mfn,
            at,
            pointer,
        })
    }

    /// Its machine address.
    pub(crate) const fn address(&self) -> MachineAddr {
        self.at
    }

    /// What is in it.
    pub(crate) const fn get(&self) -> &T {
        // SAFETY: the frame is RAM in the direct map and ours alone, so this is the only way to it; the processor
        // writes to it only inside of functions that hold the page mutably. Every bit pattern is a `T`.
        unsafe { self.pointer.as_ref() }
    }

    /// What is in it, to be changed.
    pub(crate) const fn get_mut(&mut self) -> &mut T {
        // SAFETY: as in `get`, and `self` is borrowed mutably.
        unsafe { self.pointer.as_mut() }
    }
}

impl<T> Drop for Page<T> {
    fn drop(&mut self) {
        self.frames.release(self.mfn);
    }
}

// SAFETY: the page is owned like a box; its contents are plain numbers.
unsafe impl<T> Send for Page<T> {}
// SAFETY: shared access only reads.
unsafe impl<T> Sync for Page<T> {}
