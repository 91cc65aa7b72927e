//! A page of a domain's own memory that the hypervisor writes to for a long time: event words, control blocks.
//!
//! Invariant: as long as the value lives there is a reference on the frame, so that it belongs to the domain whatever
//! the domain does to its second stage. Taking the page away from the second stage gives it to nobody else before the
//! value is dropped. What is written there, the guest may overwrite at any time.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::lock::Ranked;
use crate::machine::Access;
use crate::memory::frames::{Frames, Owner};
use crate::number::{DomainId, FRAME_SIZE, Gfn, MachineAddr, Mfn};
use crate::p2m::{Kind, SecondStage};

/// The guest frame is not writable memory that the domain owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotOwnRam(pub Gfn);

/// A page of a domain's own memory, referenced until dropped.
pub struct GuestPage {
    frames: Arc<Frames>,
    mfn: Mfn,
    at: MachineAddr,
}

impl GuestPage {
    /// Holds the page behind a guest frame. The second stage is locked for the time of the translation.
    ///
    /// # Errors
    /// When there is no writable memory of the domain's own: nothing, a grant of another, a page of the hypervisor.
    pub fn hold(
        frames: &Arc<Frames>,
        stage: &Ranked<Box<dyn SecondStage>>,
        owner: DomainId,
        gfn: Gfn,
    ) -> Result<Self, NotOwnRam> {
        let stage = stage.lock();
        let target = stage.translate(gfn).ok_or(NotOwnRam(gfn))?.target;
        if target.kind != Kind::Ram || !target.rights.allow(Access::ReadWrite) {
            return Err(NotOwnRam(gfn));
        }
        // Under the lock: once it is released, the frame may leave the second stage and the domain.
        Self::of_frame(frames, owner, target.mfn).ok_or(NotOwnRam(gfn))
    }

    /// Holds a frame that the domain owns; `None` if it does not.
    #[must_use]
    pub fn of_frame(frames: &Arc<Frames>, owner: DomainId, mfn: Mfn) -> Option<Self> {
        let at = mfn.address()?;
        frames.reference(mfn, Owner::Domain(owner)).then(|| Self {
            frames: Arc::clone(frames),
            mfn,
            at,
        })
    }

    /// The machine address `offset` bytes into the page; offsets beyond it wrap around within it.
    #[must_use]
    pub const fn address(&self, offset: u64) -> MachineAddr {
        MachineAddr::new(self.at.raw() | (offset & (FRAME_SIZE - 1)))
    }
}

impl Drop for GuestPage {
    fn drop(&mut self) {
        self.frames.release(self.mfn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::Order;
    use crate::testing::FlatMemory;

    #[test]
    fn a_held_page_stays_with_its_domain_until_it_is_let_go() {
        let frames =
            Arc::new(Frames::new(Arc::new(FlatMemory::new(1 << 20)), &[Mfn::new(16)..Mfn::new(64)]).unwrap());
        let owner = DomainId::new(3);
        let mfn = frames
            .allocate(Owner::Domain(owner), Order::FRAME)
            .unwrap()
            .keep();
        let page = GuestPage::of_frame(&frames, owner, mfn).unwrap();
        assert!(GuestPage::of_frame(&frames, DomainId::new(4), mfn).is_none());
        frames.release(mfn);
        assert_eq!(frames.usage(mfn), Some((Owner::Domain(owner), 1)));
        drop(page);
        assert_eq!(frames.usage(mfn), None);
    }
}
