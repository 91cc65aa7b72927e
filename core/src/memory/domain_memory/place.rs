//! Placing: special frames, moves, and frames that others granted.

use super::DomainMemory;
use crate::machine::Access;
use crate::memory::leaving::Leaving;
use crate::number::{Gfn, Mfn, Order};
use crate::p2m::{Kind, MapError, Rights, SecondStage, Target};

impl DomainMemory {
    /// Shows the guest a frame of the hypervisor. It disappears from where it was shown before.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn place(&self, mfn: Mfn, at: Gfn, leaving: &mut Leaving<'_>) -> Result<(), PlaceError> {
        let target = Target {
            mfn,
            rights: Rights::ReadWriteExecute,
            kind: Kind::Special,
        };
        leaving.make_room();
        let mut stage = self.stage.lock();
        let before = self.frames.place(mfn);
        if before == Some(at) {
            return Ok(());
        }
        self.replace(&mut **stage, at, target, leaving)?;
        if let Some(before) = before {
            // It was mapped by itself, so this splits nothing and needs no table.
            leaving.add(stage.unmap(before, Order::FRAME)?, None);
        }
        self.frames.set_place(mfn, Some(at));
        Ok(())
    }

    /// Hides a frame of the hypervisor that may be shown somewhere.
    pub fn unplace(&self, mfn: Mfn, leaving: &mut Leaving<'_>) {
        let mut stage = self.stage.lock();
        if let Some(at) = self.frames.place(mfn)
            && let Ok(owed) = stage.unmap(at, Order::FRAME)
        {
            self.frames.set_place(mfn, None);
            leaving.add(owed, None);
        }
    }

    /// Moves a frame of the domain from one guest frame to another.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn relocate(&self, from: Gfn, to: Gfn, leaving: &mut Leaving<'_>) -> Result<(), MoveError> {
        leaving.make_room();
        let mut stage = self.stage.lock();
        let leaf = stage.translate(from).ok_or(MoveError::Source(from))?;
        let moved = leaf.target;
        if !matches!(moved.kind, Kind::Ram | Kind::Special) {
            return Err(MoveError::Source(from));
        }
        if from == to {
            return Ok(());
        }
        let owed = stage.unmap(from, Order::FRAME)?;
        if let Err(error) = self.replace(&mut **stage, to, moved, leaving) {
            // The table is there now, so this needs none.
            let back = stage.map(from, Order::FRAME, moved)?;
            leaving.add(owed.and(back), None);
            return Err(error.into());
        }
        leaving.add(owed, None);
        if moved.kind == Kind::Special {
            self.frames.set_place(moved.mfn, Some(to));
        }
        Ok(())
    }

    /// Maps another domain's frame, whose reference the caller keeps until after [`DomainMemory::unmap_grant`].
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn map_grant(
        &self,
        at: Gfn,
        mfn: Mfn,
        access: Access,
        leaving: &mut Leaving<'_>,
    ) -> Result<(), PlaceError> {
        leaving.make_room();
        let mut stage = self.stage.lock();
        self.replace_by_grant(&mut **stage, at, granted(mfn, access), leaving)
    }

    /// As [`DomainMemory::map_grant`], for a frame of the domain's own RAM, which leaves the guest frame `from` where it
    /// was. It counts on, without a place.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn map_own_grant(
        &self,
        from: Gfn,
        at: Gfn,
        mfn: Mfn,
        access: Access,
        leaving: &mut Leaving<'_>,
    ) -> Result<(), PlaceError> {
        // For what was at either place.
        leaving.settle();
        let mut stage = self.stage.lock();
        let target = granted(mfn, access);
        let old = stage.translate(from).map(|leaf| leaf.target);
        let Some(old) = old.filter(|old| old.kind == Kind::Ram && old.mfn == mfn && from != at) else {
            return self.replace_by_grant(&mut **stage, at, target, leaving);
        };
        let owed = stage.unmap(from, Order::FRAME)?;
        if let Err(error) = self.replace_by_grant(&mut **stage, at, target, leaving) {
            // The table is there now, so this needs none.
            let back = stage.map(from, Order::FRAME, old)?;
            leaving.add(owed.and(back), None);
            return Err(error);
        }
        self.goes_on_to_count(Some(old));
        leaving.add(owed, self.unhooked(old));
        Ok(())
    }

    /// Takes such a mapping away. The reference stays the caller's, to be given back when `leaving` has settled.
    ///
    /// # Errors
    /// When something else is mapped there. Nothing has changed then.
    pub fn unmap_grant(
        &self,
        at: Gfn,
        mfn: Mfn,
        access: Access,
        leaving: &mut Leaving<'_>,
    ) -> Result<(), NotThatGrant> {
        leaving.make_room();
        let mut stage = self.stage.lock();
        let there = stage.translate(at).map(|leaf| leaf.target);
        if there != Some(granted(mfn, access)) {
            return Err(NotThatGrant(at));
        }
        let owed = stage.unmap(at, Order::FRAME).map_err(|_| NotThatGrant(at))?;
        leaving.add(owed, None);
        Ok(())
    }

    /// As [`DomainMemory::replace`]. RAM that was there goes on to count: the domain has given up the place and not the
    /// frame.
    fn replace_by_grant(
        &self,
        stage: &mut dyn SecondStage,
        at: Gfn,
        target: Target,
        leaving: &mut Leaving<'_>,
    ) -> Result<(), PlaceError> {
        let old = stage.translate(at).map(|leaf| leaf.target);
        self.replace(stage, at, target, leaving)?;
        self.goes_on_to_count(old);
        Ok(())
    }

    /// Maps one frame in place of what is there, if that may be replaced.
    pub(super) fn replace(
        &self,
        stage: &mut dyn SecondStage,
        at: Gfn,
        target: Target,
        leaving: &mut Leaving<'_>,
    ) -> Result<(), PlaceError> {
        let old = stage.translate(at).map(|leaf| leaf.target);
        match old.map(|old| old.kind) {
            Some(Kind::Device) => return Err(PlaceError::Device(at)),
            Some(Kind::Grant | Kind::Foreign) => return Err(PlaceError::NotOwn(at)),
            Some(Kind::Ram | Kind::Special) | None => {}
        }
        let owed = stage.map(at, Order::FRAME, target)?;
        leaving.add(owed, old.and_then(|old| self.unhooked(old)));
        self.note(at, Order::FRAME);
        Ok(())
    }
}

const fn granted(mfn: Mfn, access: Access) -> Target {
    let rights = match access {
        Access::Read => Rights::Read,
        Access::ReadWrite => Rights::ReadWrite,
    };
    Target {
        mfn,
        rights,
        kind: Kind::Grant,
    }
}

/// Why a frame could not be placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaceError {
    /// Another domain's frame is there.
    NotOwn(Gfn),
    /// A device's memory is there.
    Device(Gfn),
    /// The guest frame cannot be mapped.
    Map(MapError),
}

impl From<MapError> for PlaceError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

/// Why a frame could not be moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveError {
    /// There is no frame of the domain to move.
    Source(Gfn),
    /// It cannot be where it should go.
    Place(PlaceError),
}

impl From<PlaceError> for MoveError {
    fn from(error: PlaceError) -> Self {
        Self::Place(error)
    }
}

impl From<MapError> for MoveError {
    fn from(error: MapError) -> Self {
        Self::Place(error.into())
    }
}

/// The grant that was to be unmapped is not mapped there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotThatGrant(pub Gfn);
