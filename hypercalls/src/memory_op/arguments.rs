//! Arguments of either width, as one.

use xenvisor_abi::memory as abi;
use xenvisor_core::machine::Width;

use crate::context::Context;
use crate::errno::Errno;

/// Extents to add or take away.
pub(super) struct Reservation {
    pub(super) extents: FrameList,
    pub(super) count: u64,
    pub(super) order: u32,
    pub(super) flags: u32,
    pub(super) domain: u16,
}

impl Reservation {
    pub(super) fn read(cx: &Context<'_>, at: u64) -> Result<Self, Errno> {
        Ok(match cx.width {
            Width::Bits64 => {
                let raw: abi::Reservation = cx.read(at)?;
                Self {
                    extents: FrameList::new(raw.extent_start.0, cx.width),
                    count: raw.nr_extents,
                    order: raw.extent_order,
                    flags: raw.mem_flags,
                    domain: raw.domid,
                }
            }
            Width::Bits32 => {
                let raw: abi::compat::Reservation = cx.read(at)?;
                Self {
                    extents: FrameList::new(raw.extent_start.0.into(), cx.width),
                    count: raw.nr_extents.into(),
                    order: raw.extent_order,
                    flags: raw.mem_flags,
                    domain: raw.domid,
                }
            }
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
        Ok(match cx.width {
            Width::Bits64 => {
                let raw: abi::AddToPhysmap = cx.read(at)?;
                Self {
                    domain: raw.domid,
                    size: raw.size,
                    space: raw.space,
                    index: raw.idx,
                    frame: raw.gpfn,
                }
            }
            Width::Bits32 => {
                let raw: abi::compat::AddToPhysmap = cx.read(at)?;
                Self {
                    domain: raw.domid,
                    size: raw.size,
                    space: raw.space,
                    index: raw.idx.into(),
                    frame: raw.gpfn.into(),
                }
            }
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
    pub(super) indices: FrameList,
    pub(super) frames: FrameList,
    /// Array of `i32`.
    pub(super) errors: u64,
}

impl AddToPhysmapBatch {
    pub(super) fn read(cx: &Context<'_>, at: u64) -> Result<Self, Errno> {
        Ok(match cx.width {
            Width::Bits64 => {
                let raw: abi::AddToPhysmapBatch = cx.read(at)?;
                Self {
                    domain: raw.domid,
                    space: raw.space,
                    size: raw.size,
                    foreign: raw.foreign_domid,
                    indices: FrameList::new(raw.idxs.0, cx.width),
                    frames: FrameList::new(raw.gpfns.0, cx.width),
                    errors: raw.errs.0,
                }
            }
            Width::Bits32 => {
                let raw: abi::compat::AddToPhysmapBatch = cx.read(at)?;
                Self {
                    domain: raw.domid,
                    space: raw.space,
                    size: raw.size,
                    foreign: raw.foreign_domid,
                    indices: FrameList::new(raw.idxs.0.into(), cx.width),
                    frames: FrameList::new(raw.gpfns.0.into(), cx.width),
                    errors: raw.errs.0.into(),
                }
            }
        })
    }
}

/// A frame to take away: whose, and which.
pub(super) fn remove_from_physmap(cx: &Context<'_>, at: u64) -> Result<(u16, u64), Errno> {
    Ok(match cx.width {
        Width::Bits64 => {
            let raw: abi::RemoveFromPhysmap = cx.read(at)?;
            (raw.domid, raw.gpfn)
        }
        Width::Bits32 => {
            let raw: abi::compat::RemoveFromPhysmap = cx.read(at)?;
            (raw.domid, raw.gpfn.into())
        }
    })
}

/// Room for a memory map, or one.
pub(super) struct Map {
    pub(super) count: u32,
    pub(super) buffer: u64,
}

impl Map {
    pub(super) fn read(cx: &Context<'_>, at: u64) -> Result<Self, Errno> {
        Ok(match cx.width {
            Width::Bits64 => {
                let raw: abi::MemoryMap = cx.read(at)?;
                Self {
                    count: raw.nr_entries,
                    buffer: raw.buffer.0,
                }
            }
            Width::Bits32 => {
                let raw: abi::compat::MemoryMap = cx.read(at)?;
                Self {
                    count: raw.nr_entries,
                    buffer: raw.buffer.0.into(),
                }
            }
        })
    }

    /// With the domain it is for.
    pub(super) fn read_foreign(cx: &Context<'_>, at: u64) -> Result<(u16, Self), Errno> {
        Ok(match cx.width {
            Width::Bits64 => {
                let raw: abi::ForeignMemoryMap = cx.read(at)?;
                let map = Self {
                    count: raw.map.nr_entries,
                    buffer: raw.map.buffer.0,
                };
                (raw.domid, map)
            }
            Width::Bits32 => {
                let raw: abi::compat::ForeignMemoryMap = cx.read(at)?;
                let map = Self {
                    count: raw.map.nr_entries,
                    buffer: raw.map.buffer.0.into(),
                };
                (raw.domid, map)
            }
        })
    }
}

/// An array of frame numbers in the caller's memory; each element is read when its turn comes.
#[derive(Clone, Copy)]
pub(super) struct FrameList {
    at: u64,
    width: Width,
}

impl FrameList {
    const fn new(at: u64, width: Width) -> Self {
        Self { at, width }
    }

    /// The element of this index.
    pub(super) fn get(self, cx: &Context<'_>, index: u64) -> Result<u64, Errno> {
        let bytes: u64 = match self.width {
            Width::Bits64 => 8,
            Width::Bits32 => 4,
        };
        let at = index
            .checked_mul(bytes)
            .and_then(|offset| self.at.checked_add(offset));
        let at = at.ok_or(Errno::FAULT)?;
        match self.width {
            Width::Bits64 => cx.read::<u64>(at),
            Width::Bits32 => cx.read::<u32>(at).map(u64::from),
        }
    }
}
