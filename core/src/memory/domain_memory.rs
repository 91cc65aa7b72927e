//! What a domain's memory consists of: its second stage, and the rules by which frames come and go in it.
//!
//! Invariants:
//! * A frame of the domain is behind one guest frame at most. A frame of RAM that is behind none is given back; the
//!   hypervisor's own frames that a guest may see ([`Kind::Special`]) know their place ([`Frames::place`]).
//! * Each RAM or foreign leaf owns one reference; a grant leaf's reference is its receipt's, a special one's its
//!   object's.
//! * References go back only after a flush: through [`Leaving`].
//! * A grant is taken away by its receipt alone; nothing else removes or replaces it.
//! * Frames can count for the domain that are not there: what it has reserved without a place, and RAM that it lost
//!   the place of. Xen keeps such frames until the domain ends; here only their number is kept, which is all that a
//!   guest can tell.
//!
//! Lock: the second stage ([`Rank::SecondStage`]); what stands behind a guest frame is decided and changed in one
//! hold of it. It must never be taken to touch guest memory: that is the way of [`GuestMemory`].

mod give_back;
mod place;
mod populate;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

pub use place::{MoveError, NotThatGrant, PlaceError};

use crate::lock::{Rank, Ranked};
use crate::machine::{Access, MachineMemory};
use crate::memory::accounts::{Account, OpenError};
use crate::memory::frames::{Frames, OutOfFrames, Owner, Pin};
use crate::memory::guest::GuestMemory;
use crate::memory::leaving::Leaving;
use crate::number::{DomainId, Gfn, Mfn, Order};
use crate::p2m::{Kind, MapError, SecondStage, Target};

/// The memory of one domain.
pub struct DomainMemory {
    owner: DomainId,
    stage: Ranked<Box<dyn SecondStage>>,
    frames: Arc<Frames>,
    memory: Arc<dyn MachineMemory>,
    /// The highest guest frame that was ever mapped.
    highest: AtomicU64,
    /// Frames that count and are not there.
    unplaced: AtomicU64,
}

impl DomainMemory {
    /// A domain's memory with nothing in it, and an account for `limit` frames.
    ///
    /// # Errors
    /// When the domain has an account already, or there is no memory for one.
    pub fn new(
        owner: DomainId,
        limit: u64,
        mut stage: Box<dyn SecondStage>,
        frames: Arc<Frames>,
        memory: Arc<dyn MachineMemory>,
    ) -> Result<Self, OpenError> {
        frames.open_account(owner, limit)?;
        // As Xen's tools size it: 1/128 of the memory, and something for what lies scattered.
        stage.limit_tables((limit / 128).saturating_add(512));
        Ok(Self {
            owner,
            stage: Ranked::new(Rank::SecondStage, stage),
            frames,
            memory,
            highest: AtomicU64::new(0),
            unplaced: AtomicU64::new(0),
        })
    }

    /// The domain.
    #[must_use]
    pub const fn owner(&self) -> DomainId {
        self.owner
    }

    /// The second stage itself, for those who only look.
    #[must_use]
    pub const fn stage(&self) -> &Ranked<Box<dyn SecondStage>> {
        &self.stage
    }

    /// The frame the hardware starts its walk at.
    #[must_use]
    pub fn root(&self) -> Mfn {
        self.stage.lock().root()
    }

    /// Where its frames come from.
    #[must_use]
    pub const fn frames(&self) -> &Arc<Frames> {
        &self.frames
    }

    /// The machine's memory.
    #[must_use]
    pub const fn machine_memory(&self) -> &Arc<dyn MachineMemory> {
        &self.memory
    }

    /// The door to what is in it.
    #[must_use]
    pub fn guest(&self) -> GuestMemory<'_> {
        GuestMemory::new(&*self.memory, &self.frames, &self.stage)
    }

    /// How many frames the domain has and may have.
    #[must_use]
    pub fn account(&self) -> Account {
        self.frames
            .account(self.owner)
            .unwrap_or(Account { used: 0, limit: 0 })
    }

    /// The highest guest frame that was ever mapped.
    #[must_use]
    pub fn highest(&self) -> Gfn {
        Gfn::new(self.highest.load(Ordering::Relaxed))
    }

    /// Counts frames for the domain that it gets no place for. `false` if it may not have as many.
    #[must_use]
    pub fn reserve(&self, frames: u64) -> bool {
        let may = self.frames.charge(self.owner, frames);
        if may {
            self.unplaced.fetch_add(frames, Ordering::Relaxed);
        }
        may
    }

    /// How many frames count that are not there.
    #[must_use]
    pub fn unplaced(&self) -> u64 {
        self.unplaced.load(Ordering::Relaxed)
    }

    /// Lets a frame that has lost its place count as before. It is freed all the same when nobody uses it any more.
    fn goes_on_to_count(&self, old: Option<Target>) {
        if let Some(old) = old
            && old.kind == Kind::Ram
            && self.frames.disown(old.mfn, self.owner)
        {
            self.unplaced.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts fresh RAM behind a range of guest frames that is empty, in blocks as large as may be.
    ///
    /// # Errors
    /// When there is not enough; what was put there until then stays.
    pub fn populate_range(&self, range: Range<Gfn>, leaving: &mut Leaving<'_>) -> Result<(), PopulateError> {
        let mut at = range.start.raw();
        let mut largest = Order::HUGE.raw();
        while at < range.end.raw() {
            let aligned = u8::try_from(at.trailing_zeros()).unwrap_or(largest);
            let fits = u8::try_from((range.end.raw() - at).ilog2()).unwrap_or(0);
            let order = Order::new(aligned.min(fits).min(largest)).unwrap_or(Order::FRAME);
            match self.populate(Gfn::new(at), order, leaving) {
                Ok(()) => at = at.saturating_add(order.frames()),
                // No block of that size is free, but perhaps smaller ones are.
                Err(PopulateError::OutOfFrames) if order > Order::FRAME => largest = order.raw() - 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes one frame of the domain away: RAM is given back, a special frame is merely unhooked.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn take(&self, at: Gfn, leaving: &mut Leaving<'_>) -> Result<(), TakeError> {
        self.take_if(at, leaving, |kind| match kind {
            Kind::Ram | Kind::Special => Ok(()),
            Kind::Grant | Kind::Foreign => Err(TakeError::NotOwn(at)),
            Kind::Device => Err(TakeError::Device(at)),
        })
        .map(|_| ())
    }

    /// Empties a guest frame, of frames of other domains too. RAM goes on to count: the domain has given up the place
    /// and not the frame.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn remove(&self, at: Gfn, leaving: &mut Leaving<'_>) -> Result<(), TakeError> {
        let old = self.take_if(at, leaving, |kind| match kind {
            Kind::Ram | Kind::Special | Kind::Foreign => Ok(()),
            Kind::Grant => Err(TakeError::NotOwn(at)),
            Kind::Device => Err(TakeError::Device(at)),
        })?;
        self.goes_on_to_count(Some(old));
        Ok(())
    }

    fn take_if(
        &self,
        at: Gfn,
        leaving: &mut Leaving<'_>,
        may: impl Fn(Kind) -> Result<(), TakeError>,
    ) -> Result<Target, TakeError> {
        leaving.make_room();
        let mut stage = self.stage.lock();
        let old = stage.translate(at).ok_or(TakeError::NotMapped(at))?.target;
        may(old.kind)?;
        let owed = stage.unmap(at, Order::FRAME)?;
        leaving.add(owed, self.unhooked(old));
        Ok(old)
    }

    /// The reference that a leaf owned, once it is no longer mapped.
    fn unhooked(&self, old: Target) -> Option<Mfn> {
        match old.kind {
            Kind::Ram | Kind::Foreign => Some(old.mfn),
            Kind::Special => {
                self.frames.set_place(old.mfn, None);
                None
            }
            Kind::Grant | Kind::Device => None,
        }
    }

    fn note(&self, at: Gfn, order: Order) {
        let last = at.raw().saturating_add(order.frames() - 1);
        self.highest.fetch_max(last, Ordering::Relaxed);
    }

    /// The frame of RAM behind a guest frame, with a reference to it: what a granter lets others use.
    #[must_use]
    pub fn ram(&self, at: Gfn, access: Access) -> Option<Pin<'_>> {
        let stage = self.stage.lock();
        let target = stage.translate(at)?.target;
        let fits = target.kind == Kind::Ram && target.rights.allow(access);
        fits.then(|| self.frames.pin(target.mfn, Owner::Domain(self.owner)))?
    }
}

impl Drop for DomainMemory {
    fn drop(&mut self) {
        // No vcpu is left that could have cached anything: frames go back at once.
        self.give_back_all();
        self.frames.uncharge(self.owner, self.unplaced());
        self.frames.close_account(self.owner);
    }
}

/// Why no RAM was put there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PopulateError {
    /// There is none left, or the domain may not have more.
    OutOfFrames,
    /// Something is mapped there that cannot be replaced.
    Occupied(Gfn),
    /// The guest frames cannot be mapped so.
    Map(MapError),
}

impl From<OutOfFrames> for PopulateError {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}

impl From<MapError> for PopulateError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::OutOfFrames => Self::OutOfFrames,
            other => Self::Map(other),
        }
    }
}

impl From<PlaceError> for PopulateError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::NotOwn(at) | PlaceError::Device(at) => Self::Occupied(at),
            PlaceError::Map(error) => error.into(),
        }
    }
}

/// Why a frame could not be taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TakeError {
    /// Nothing is mapped there.
    NotMapped(Gfn),
    /// It is another domain's.
    NotOwn(Gfn),
    /// It is a device's.
    Device(Gfn),
    /// No frame for a table.
    Map(MapError),
}

impl From<MapError> for TakeError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

#[cfg(test)]
mod tests;
