//! Mapping what another domain granted, and giving the mapping up.
//!
//! Mapping: a handle is reserved, the offer pinned, the frame mapped, the handle filled; each step is taken back if a
//! later one fails. Giving up: the receipt is taken, the frame unmapped, *flushed*, and only then is the offer unpinned
//! and the handle free: the granter learns that its frame is no longer used when that is true.

use alloc::sync::Arc;

use super::handles::{Handles, Mapping};
use super::pin::{PinError, Pinned, Purpose, Use};
use super::table::GrantTable;
use crate::domain::Domain;
use crate::lock::Ranked;
use crate::machine::Access;
use crate::memory::domain_memory::{DomainMemory, PlaceError};
use crate::memory::leaving::Leaving;
use crate::number::{DomainId, Gfn, GrantHandle, GrantRef};

/// One side of a grant: a domain, as far as grants go.
#[derive(Clone, Copy)]
pub struct Party<'a> {
    /// Its memory.
    pub memory: &'a DomainMemory,
    /// Its offers.
    pub table: &'a Ranked<GrantTable>,
    /// Its receipts.
    pub handles: &'a Ranked<Handles>,
}

/// A mapping that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapRequest {
    /// Which offer.
    pub reference: GrantRef,
    /// Where the grantee wants it; `None` for a kind of mapping that there is not, which is refused when all else is
    /// found to be in order, as Xen does.
    pub at: Option<Gfn>,
    /// Whether it wants to write.
    pub access: Access,
}

/// Maps an offer of `granter` into the memory of `grantee`. Both may be the same domain.
///
/// # Errors
/// Nothing has changed then.
pub fn map(
    grantee: Party<'_>,
    granter: Party<'_>,
    request: &MapRequest,
    leaving: &mut Leaving<'_>,
) -> Result<GrantHandle, MapError> {
    let handle = Slot::reserve(grantee.handles)?;
    let wanted = Use {
        reference: request.reference,
        grantee: grantee.memory.owner(),
        access: request.access,
        purpose: Purpose::Map,
    };
    let pin = Pin::take(granter, wanted)?;
    let Pinned::Frame { mfn, from, .. } = pin.pinned else {
        // What is only passed on is not offered for mapping.
        return Err(PinError::PassedOn(request.reference).into());
    };
    let at = request.at.ok_or(MapError::NoSuchKind)?;
    match from {
        // As Xen does: a domain's own frame is not seen at two places, so it leaves the one where it was.
        Some(from) if granter.memory.owner() == grantee.memory.owner() => {
            grantee
                .memory
                .map_own_grant(from, at, mfn, request.access, leaving)?;
        }
        _ => grantee.memory.map_grant(at, mfn, request.access, leaving)?,
    }
    let mapping = Mapping {
        granter: granter.memory.owner(),
        edition: pin.edition,
        reference: request.reference,
        mfn,
        at,
        access: request.access,
    };
    pin.keep();
    Ok(handle.fill(&mapping))
}

/// Unmaps what a receipt stands for. `at` is where the grantee believes it to be. Once `leaving` has settled, [`finish`]
/// ends the use.
///
/// # Errors
/// Nothing has changed then.
pub fn unmap(
    grantee: Party<'_>,
    handle: GrantHandle,
    at: Gfn,
    leaving: &mut Leaving<'_>,
) -> Result<Mapping, UnmapError> {
    let mapping = grantee
        .handles
        .lock()
        .take(handle)
        .ok_or(UnmapError::NoSuchHandle(handle))?;
    let there = mapping.at == at
        && grantee
            .memory
            .unmap_grant(at, mapping.mfn, mapping.access, leaving)
            .is_ok();
    if there {
        Ok(mapping)
    } else {
        grantee.handles.lock().restore(handle);
        Err(UnmapError::NotThere(at))
    }
}

/// Ends the use that a receipt stood for, after its frame was unmapped and flushed. `granter` is the domain with that
/// number now, if there is one.
pub fn finish(
    grantee: Party<'_>,
    handle: GrantHandle,
    mapping: &Mapping,
    granter: Option<&Ranked<GrantTable>>,
) {
    let frames = grantee.memory.frames();
    match granter.map(Ranked::lock) {
        Some(mut table) if table.edition() == mapping.edition => {
            table.unpin(mapping.reference, mapping.access);
            // With the lock held: whoever joins the use of a pinned offer relies on its references.
            frames.release(mapping.mfn);
        }
        _ => frames.release(mapping.mfn),
    }
    grantee.handles.lock().release(handle);
}

/// How far giving up all mappings has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Go on at this handle.
    Continue(GrantHandle),
    /// There is none left.
    Done,
}

/// Gives up mappings of a domain that has ended, looking at up to `budget` receipts from `from` on: to be repeated until
/// it is done. No vcpu of the domain runs any more, so nothing is flushed; the mappings go all the same, since the domain's
/// memory can still be looked at. `granter` finds domains that are still there.
pub fn give_up_some(
    grantee: Party<'_>,
    from: GrantHandle,
    budget: u32,
    granter: impl Fn(DomainId) -> Option<Arc<Domain>>,
) -> Progress {
    let end = grantee.handles.lock().end();
    let until = end.raw().min(from.raw().saturating_add(budget));
    for handle in (from.raw()..until).map(GrantHandle::new) {
        let Some(mapping) = grantee.handles.lock().take(handle) else {
            continue;
        };
        let mut leaving = Leaving::new(grantee.memory.frames(), &|_| ());
        // It is there: nothing but its receipt takes a mapping away.
        let unmapped = grantee
            .memory
            .unmap_grant(mapping.at, mapping.mfn, mapping.access, &mut leaving);
        debug_assert!(unmapped.is_ok(), "a receipt without a mapping");
        drop(leaving);
        let granter = granter(mapping.granter);
        let table = if mapping.granter == grantee.memory.owner() {
            Some(grantee.table)
        } else {
            granter.as_ref().map(|domain| &domain.grants)
        };
        finish(grantee, handle, &mapping, table);
    }
    if until < end.raw() {
        Progress::Continue(GrantHandle::new(until))
    } else {
        Progress::Done
    }
}

/// A reserved handle; freed unless it is filled.
struct Slot<'a> {
    handles: &'a Ranked<Handles>,
    handle: GrantHandle,
}

impl<'a> Slot<'a> {
    fn reserve(handles: &'a Ranked<Handles>) -> Result<Self, MapError> {
        let handle = handles.lock().reserve().map_err(|_| MapError::NoHandle)?;
        Ok(Self { handles, handle })
    }

    fn fill(self, mapping: &Mapping) -> GrantHandle {
        self.handles.lock().fill(self.handle, mapping);
        let handle = self.handle;
        core::mem::forget(self);
        handle
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.handles.lock().release(self.handle);
    }
}

/// A pinned offer with its frame; both are given back unless kept.
pub(super) struct Pin<'a> {
    granter: Party<'a>,
    wanted: Use,
    edition: u64,
    pub(super) pinned: Pinned,
}

impl<'a> Pin<'a> {
    pub(super) fn take(granter: Party<'a>, wanted: Use) -> Result<Self, PinError> {
        let mut table = granter.table.lock();
        let pinned = table.pin(granter.memory, wanted)?;
        Ok(Self {
            granter,
            wanted,
            edition: table.edition(),
            pinned,
        })
    }

    /// Whose offer it is.
    pub(super) const fn granter(&self) -> DomainId {
        self.granter.memory.owner()
    }

    /// What it was pinned for.
    pub(super) const fn access(&self) -> Access {
        self.wanted.access
    }

    fn keep(self) {
        core::mem::forget(self);
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        // It was never mapped, or only copied: no processor has cached anything.
        let mut table = self.granter.table.lock();
        table.unpin(self.wanted.reference, self.wanted.access);
        if let Pinned::Frame { mfn, .. } = self.pinned {
            self.granter.memory.frames().release(mfn);
        }
    }
}

/// Why an offer was not mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// The grantee has no handle left.
    NoHandle,
    /// The offer cannot be used.
    Pin(PinError),
    /// There is no such kind of mapping.
    NoSuchKind,
    /// It cannot be where the grantee wants it.
    Place(PlaceError),
}

impl From<PinError> for MapError {
    fn from(error: PinError) -> Self {
        Self::Pin(error)
    }
}

impl From<PlaceError> for MapError {
    fn from(error: PlaceError) -> Self {
        Self::Place(error)
    }
}

/// Why a mapping was not given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnmapError {
    /// It is no live receipt of this domain.
    NoSuchHandle(GrantHandle),
    /// Its frame is not mapped there.
    NotThere(Gfn),
}
