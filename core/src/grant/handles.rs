//! A grantee's receipts (Xen's "maptrack"): which grants it has mapped, and where.
//!
//! States of a handle: free, reserved (being mapped), live, closing (being unmapped). Only a live one can be taken for
//! unmapping, and only once. A handle is free again when nothing of its mapping is left.
//!
//! Lock: [`crate::lock::Rank::Handles`].

use alloc::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::machine::{Access, MachineMemory};
use crate::memory::frames::{Frames, OutOfFrames};
use crate::memory::records::Records;
use crate::number::{DomainId, Gfn, GrantHandle, GrantRef, Mfn};

/// Mappings that a domain may have, unless its builder says otherwise: as many as Xen's 1024 frames hold.
pub const DEFAULT_LIMIT: u32 = 1024 * 256;

/// What a receipt says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Who granted.
    pub granter: DomainId,
    /// The edition of its table.
    pub edition: u64,
    /// Which offer.
    pub reference: GrantRef,
    /// The frame, one reference of which is the receipt's.
    pub mfn: Mfn,
    /// Where it is mapped.
    pub at: Gfn,
    /// Whether it is mapped writable.
    pub access: Access,
}

/// A receipt as it is kept. All zeros: not used yet.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Record {
    mfn: u64,
    at: u64,
    edition: u64,
    /// Of a free one: the next free one, plus one.
    reference: u32,
    granter: u16,
    writable: u8,
    state: u8,
}

const FREE: u8 = 0;
const RESERVED: u8 = 1;
const LIVE: u8 = 2;
const CLOSING: u8 = 3;

/// The receipts of one domain.
pub struct Handles {
    records: Records<Record, 4>,
    limit: u32,
    /// Records from here on were never used.
    fresh: u32,
    /// The first of the list of free ones, plus one; 0 for none.
    free: u32,
    /// How many are not free.
    used: u32,
}

impl Handles {
    /// No receipts, and room for `limit`.
    #[must_use]
    pub const fn new(limit: u32, memory: Arc<dyn MachineMemory>, frames: Arc<Frames>) -> Self {
        Self {
            records: Records::new(memory, frames),
            limit,
            fresh: 0,
            free: 0,
            used: 0,
        }
    }

    /// How many frames the receipts take.
    #[must_use]
    pub fn table_frames(&self) -> u64 {
        self.records.table_frames()
    }

    /// How many handles are in use.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// A handle that is nobody's yet. The caller owes a [`Handles::fill`] or a [`Handles::release`].
    ///
    /// # Errors
    /// When there are as many as there can be, or no frame for more.
    pub fn reserve(&mut self) -> Result<GrantHandle, NoHandle> {
        if self.used >= self.limit {
            return Err(NoHandle);
        }
        let index = match self.free.checked_sub(1) {
            Some(index) => {
                self.free = self.records.get(index).ok_or(NoHandle)?.reference;
                index
            }
            None => {
                let index = self.fresh;
                if index >= self.records.len() {
                    self.records.grow()?;
                }
                self.fresh = index.saturating_add(1);
                index
            }
        };
        let reserved = Record {
            state: RESERVED,
            ..Record::default()
        };
        self.records.set(index, &reserved);
        self.used = self.used.saturating_add(1);
        Ok(GrantHandle::new(index))
    }

    /// Makes a reserved handle the receipt of a mapping.
    pub fn fill(&mut self, handle: GrantHandle, mapping: &Mapping) {
        let record = Record {
            mfn: mapping.mfn.raw(),
            at: mapping.at.raw(),
            edition: mapping.edition,
            reference: mapping.reference.raw(),
            granter: mapping.granter.raw(),
            writable: u8::from(mapping.access == Access::ReadWrite),
            state: LIVE,
        };
        self.records.set(handle.raw(), &record);
    }

    /// Takes a live receipt for unmapping: nobody else can take it now. The caller owes a [`Handles::restore`] or a
    /// [`Handles::release`].
    pub fn take(&mut self, handle: GrantHandle) -> Option<Mapping> {
        let record = self.records.get(handle.raw())?;
        if record.state != LIVE {
            return None;
        }
        self.set_state(handle, CLOSING);
        Some(Mapping {
            granter: DomainId::new(record.granter),
            edition: record.edition,
            reference: GrantRef::new(record.reference),
            mfn: Mfn::new(record.mfn),
            at: Gfn::new(record.at),
            access: if record.writable == 0 {
                Access::Read
            } else {
                Access::ReadWrite
            },
        })
    }

    /// The mapping stays after all: the receipt is live again.
    pub fn restore(&mut self, handle: GrantHandle) {
        self.set_state(handle, LIVE);
    }

    /// Nothing is left of the mapping: the handle is free.
    pub fn release(&mut self, handle: GrantHandle) {
        let Some(record) = self.records.get(handle.raw()) else {
            return;
        };
        if record.state != RESERVED && record.state != CLOSING {
            return;
        }
        let free = Record {
            reference: self.free,
            ..Record::default()
        };
        self.records.set(handle.raw(), &free);
        self.free = handle.raw().saturating_add(1);
        self.used = self.used.saturating_sub(1);
    }

    /// Whether it is a live receipt.
    #[must_use]
    pub fn is_live(&self, handle: GrantHandle) -> bool {
        self.records
            .get(handle.raw())
            .is_some_and(|record| record.state == LIVE)
    }

    /// The handle behind the last that was ever used.
    #[must_use]
    pub const fn end(&self) -> GrantHandle {
        GrantHandle::new(self.fresh)
    }

    fn set_state(&mut self, handle: GrantHandle, state: u8) {
        if let Some(record) = self.records.get(handle.raw())
            && record.state != FREE
        {
            self.records.set(handle.raw(), &Record { state, ..record });
        }
    }
}

/// There is no handle left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoHandle;

impl From<OutOfFrames> for NoHandle {
    fn from(_: OutOfFrames) -> Self {
        Self
    }
}
