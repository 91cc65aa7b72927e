//! Arguments of either width, as one, under the names that the verbs use.

use xenvisor_abi::memory as abi;

use crate::context::Context;
use crate::errno::Errno;
use crate::shape::Words;

/// Extents to add or take away.
pub(super) struct Reservation {
    pub(super) extents: Words,
    pub(super) count: u64,
    pub(super) order: u32,
    pub(super) flags: u32,
    pub(super) domain: u16,
}

impl Reservation {
    pub(super) fn read(cx: &Context<'_>, at: u64) -> Result<Self, Errno> {
        let raw: abi::Reservation = cx.read_shaped(at)?;
        Ok(Self {
            extents: cx.words(raw.extent_start.0),
            count: raw.nr_extents,
            order: raw.extent_order,
            flags: raw.mem_flags,
            domain: raw.domid,
        })
    }
}

/// A frame to place.
pub(super) struct AddToPhysmap {
    pub(super) domain: u16,
    pub(super) size: u16,
    pub(super) space: u32,
    pub(super) index: u64,
    pub(super) frame: u64,
}

impl AddToPhysmap {
    pub(super) fn read(cx: &Context<'_>, at: u64) -> Result<Self, Errno> {
        let raw: abi::AddToPhysmap = cx.read_shaped(at)?;
        Ok(Self {
            domain: raw.domid,
            size: raw.size,
            space: raw.space,
            index: raw.idx,
            frame: raw.gpfn,
        })
    }
}

/// Frames to place.
pub(super) struct AddToPhysmapBatch {
    pub(super) domain: u16,
    pub(super) space: u16,
    pub(super) size: u16,
    /// Whose frames they are, where they are another's.
    pub(super) foreign: u16,
    pub(super) indices: Words,
    pub(super) frames: Words,
    /// Array of `i32`.
    pub(super) errors: u64,
}

impl AddToPhysmapBatch {
    pub(super) fn read(cx: &Context<'_>, at: u64) -> Result<Self, Errno> {
        let raw: abi::AddToPhysmapBatch = cx.read_shaped(at)?;
        Ok(Self {
            domain: raw.domid,
            space: raw.space,
            size: raw.size,
            foreign: raw.foreign_domid,
            indices: cx.words(raw.idxs.0),
            frames: cx.words(raw.gpfns.0),
            errors: raw.errs.0,
        })
    }
}

/// A frame to take away: whose, and which.
pub(super) fn remove_from_physmap(cx: &Context<'_>, at: u64) -> Result<(u16, u64), Errno> {
    let raw: abi::RemoveFromPhysmap = cx.read_shaped(at)?;
    Ok((raw.domid, raw.gpfn))
}

/// Room for a memory map, or one.
pub(super) struct Map {
    pub(super) count: u32,
    pub(super) buffer: u64,
}

impl Map {
    pub(super) fn read(cx: &Context<'_>, at: u64) -> Result<Self, Errno> {
        cx.read_shaped::<abi::MemoryMap>(at).map(Self::from)
    }

    /// With the domain it is for.
    pub(super) fn read_foreign(cx: &Context<'_>, at: u64) -> Result<(u16, Self), Errno> {
        let raw: abi::ForeignMemoryMap = cx.read_shaped(at)?;
        Ok((raw.domid, raw.map.into()))
    }
}

impl From<abi::MemoryMap> for Map {
    fn from(raw: abi::MemoryMap) -> Self {
        Self {
            count: raw.nr_entries,
            buffer: raw.buffer.0,
        }
    }
}
