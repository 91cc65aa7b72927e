//! A domain's grant table: the frames with its offers, and the books about their use.
//!
//! Invariants:
//! * In version 2 there is a status word for each shared entry; they grow together, or not at all. Records, and frames
//!   with entries, are made when they are first needed: what is not there says that nothing is offered or in use.
//! * A frame once made stays until the table ends, whatever the version: no stale view of it is ever a view of
//!   somebody else's memory. Frames that the current version does not use are shown to nobody.
//! * The version changes only while no offer is in use, but for the first 8, which the domain builder fills; those
//!   keep their meaning.
//!
//! Lock: [`crate::lock::Rank::Grants`], around the whole table.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::entry::{self, Version};
use super::entry_frames::EntryFrames;
use super::pin::Active;
use crate::domain::footprint::Cost;
use crate::machine::MachineMemory;
use crate::memory::domain_memory::{DomainMemory, PlaceError};
use crate::memory::frames::{Frames, OutOfFrames, Owner};
use crate::memory::leaving::Leaving;
use crate::memory::records::Records;
use crate::memory::room::{self, OutOfMemory};
use crate::number::{DomainId, FRAME_SIZE, Gfn, GrantRef, MachineAddr, Mfn, Order};

/// Frames of shared entries that a domain may have, unless its builder says otherwise.
pub const DEFAULT_LIMIT: u32 = 64;
/// The first entries, which the domain builder fills.
pub const RESERVED: u32 = xenvisor_abi::grant_table::GNTTAB_NR_RESERVED_ENTRIES;
/// Frames of version 2 entries whose status words fill one frame.
const SHARED_PER_STATUS: u32 = 8;

/// One of a table's frames, as the guest may ask to see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableFrame {
    /// With shared entries.
    Shared(u32),
    /// With status words.
    Status(u32),
}

/// A domain's offers to others.
pub struct GrantTable {
    pub(super) memory: Arc<dyn MachineMemory>,
    pub(super) frames: Arc<Frames>,
    pub(super) version: Version,
    pub(super) active: Records<Active, 1>,
    /// How many offers are in use that were not reserved for the builder.
    pub(super) busy: u32,
    /// Tells this table from one that had the same owner's number before.
    edition: u64,
    limit: u32,
    shared: EntryFrames,
    status: Vec<Mfn>,
}

impl GrantTable {
    /// A table of one frame with version 1 entries. `limit` frames is the most it can grow to; `edition` differs from
    /// that of every other table of a domain with this number.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(
        limit: u32,
        edition: u64,
        memory: Arc<dyn MachineMemory>,
        frames: Arc<Frames>,
    ) -> Result<Self, OutOfMemory> {
        let capacity = usize::try_from(limit).map_err(|_| OutOfMemory)?;
        let mut shared = EntryFrames::new(capacity, frames.clone())?;
        shared.grow(limit.min(1));
        Ok(Self {
            version: Version::V1,
            active: Records::new(memory.clone(), frames.clone()),
            memory,
            frames,
            busy: 0,
            edition,
            limit,
            shared,
            status: room::vec(capacity.div_ceil(SHARED_PER_STATUS as usize))?,
        })
    }

    /// What tells this table from earlier ones of a domain with the same number.
    #[must_use]
    pub const fn edition(&self) -> u64 {
        self.edition
    }

    /// The version of its entries.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// How many frames of shared entries it has.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.shared.count()
    }

    /// How many it may have.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// How many entries it has.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.size().saturating_mul(self.version.entries())
    }

    /// Frames of status words in use now.
    fn status_size(&self) -> u32 {
        match self.version {
            Version::V1 => 0,
            Version::V2 => self.size().div_ceil(SHARED_PER_STATUS),
        }
    }

    /// Grows the table to `wanted` frames of shared entries. One that is as large already stays as it is.
    ///
    /// # Errors
    /// Nothing has changed then, as far as anybody can see.
    pub fn grow(&mut self, wanted: u32) -> Result<(), GrowError> {
        if wanted > self.limit {
            return Err(GrowError::Limit(self.limit));
        }
        if self.version == Version::V2 {
            self.grow_status(wanted)?;
        }
        self.shared.grow(wanted);
        Ok(())
    }

    /// Makes status words for `shared` frames of entries. Too many are harmless: what is not in use is not shown.
    fn grow_status(&mut self, shared: u32) -> Result<(), OutOfFrames> {
        while count(&self.status) < shared.div_ceil(SHARED_PER_STATUS) {
            let block = self.frames.allocate_zeroed(Owner::Hypervisor, Order::FRAME)?;
            self.status.push(block.keep());
        }
        Ok(())
    }

    /// Shows the guest one of the table's frames, growing the table for it if need be.
    ///
    /// # Errors
    /// Nothing has changed then, but that the table may have grown.
    pub fn show(
        &mut self,
        which: TableFrame,
        at: Gfn,
        memory: &DomainMemory,
        leaving: &mut Leaving<'_>,
    ) -> Result<(), ShowError> {
        let mfn = self.frame(which).ok_or(ShowError::NoSuchFrame(which))?;
        Ok(memory.place(mfn, at, leaving)?)
    }

    fn frame(&mut self, which: TableFrame) -> Option<Mfn> {
        match which {
            TableFrame::Shared(index) => {
                let _ = self.grow(index.checked_add(1)?);
                self.shared.make(index).ok()?
            }
            TableFrame::Status(index) if self.version == Version::V2 => {
                if index >= self.status_size() {
                    // As Xen does: to as many entries as the frame has status words for.
                    let _ = self.grow(index.checked_add(1)?.checked_mul(SHARED_PER_STATUS)?);
                }
                let used = index < self.status_size();
                used.then(|| self.status.get(usize::try_from(index).ok()?).copied())?
            }
            TableFrame::Status(_) => None,
        }
    }

    /// The guest frame at which the guest sees a frame of shared entries; `None` for one it does not see.
    #[must_use]
    pub fn seen_at(&self, index: u32) -> Option<Gfn> {
        self.frames.place(self.shared.get(index)?)
    }

    /// What it takes of the machine.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let status = Cost {
            frames: self.status.len() as u64,
            heap: self.status.capacity().saturating_mul(size_of::<Mfn>()) as u64,
        };
        Cost::frames(self.active.table_frames()) + self.shared.cost() + status
    }

    /// Changes the version of the entries. All offers vanish but the reserved ones.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn set_version(
        &mut self,
        version: Version,
        memory: &DomainMemory,
        leaving: &mut Leaving<'_>,
    ) -> Result<(), VersionError> {
        if version == self.version {
            return Ok(());
        }
        if self.busy > 0 {
            return Err(VersionError::InUse(self.busy));
        }
        let kept = self.reserved_in(version)?;
        if version == Version::V2 {
            self.grow_status(self.size())?;
        }
        for mfn in &self.status {
            memory.unplace(*mfn, leaving);
        }
        let status = self.status.iter().copied();
        let all = self.shared.all_made().chain(status);
        for at in all.filter_map(Mfn::address) {
            self.memory.zero(at, FRAME_SIZE);
        }
        self.version = version;
        for (reference, (words, status)) in (0..RESERVED).map(GrantRef::new).zip(kept) {
            self.write(reference, words, status);
        }
        Ok(())
    }

    /// The reserved entries in the words of another version than theirs, each with its status bits.
    fn reserved_in(&self, version: Version) -> Result<[([u64; 2], u16); RESERVED as usize], VersionError> {
        let mut all = [([0; 2], 0); RESERVED as usize];
        for (reference, converted) in (0..RESERVED).map(GrantRef::new).zip(&mut all) {
            if let Some(words) = self.words(reference) {
                let lost = |_| VersionError::NoCounterpart(reference);
                *converted = match version {
                    Version::V1 => {
                        let status = self.status(reference);
                        ([entry::narrowed(words, status).map_err(lost)?, 0], 0)
                    }
                    Version::V2 => entry::widened(words[0]),
                };
            }
        }
        Ok(all)
    }

    /// Writes an offer as the granter itself would: for the domain builder.
    ///
    /// # Errors
    /// When the table has no such entry and no frame for it, or its version cannot say it.
    pub fn offer(&mut self, reference: GrantRef, grantee: DomainId, frame: Gfn) -> Result<(), NoSuchEntry> {
        let refused = NoSuchEntry(reference);
        if reference.raw() >= self.entries() {
            return Err(refused);
        }
        let header = u64::from(xenvisor_abi::grant_table::GTF_permit_access) | u64::from(grantee.raw()) << 16;
        let words = match self.version {
            Version::V1 => {
                let frame = u32::try_from(frame.raw()).map_err(|_| refused)?;
                [header | u64::from(frame) << 32, 0]
            }
            Version::V2 => [header, frame.raw()],
        };
        self.make_frame(reference).map_err(|_| refused)?;
        self.write(reference, words, 0);
        Ok(())
    }

    /// Makes the frame with an entry, unless it is there.
    fn make_frame(&mut self, reference: GrantRef) -> Result<(), OutOfFrames> {
        let index = reference.raw() / self.version.entries();
        self.shared.make(index).map(|_| ())
    }

    /// Exchanges two offers that are not in use, with all that is in them.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn swap(&mut self, one: GrantRef, two: GrantRef) -> Result<(), SwapError> {
        let words = |reference| self.words(reference).ok_or(SwapError::NoSuchEntry(reference));
        let (first, second) = (words(one)?, words(two)?);
        if one == two {
            return Ok(());
        }
        for reference in [one, two] {
            if self.is_pinned(reference) {
                return Err(SwapError::InUse(reference));
            }
        }
        let (of_one, of_two) = (self.status(one), self.status(two));
        for reference in [one, two] {
            self.make_frame(reference)?;
        }
        self.write(one, second, of_two);
        self.write(two, first, of_one);
        Ok(())
    }

    /// Where an entry lies, if the table has it and its frame has been made.
    pub(super) fn entry_at(&self, reference: GrantRef) -> Option<MachineAddr> {
        let per_frame = self.version.entries();
        let frame = self.shared.get(reference.raw() / per_frame)?;
        let offset = reference.raw() % per_frame * self.version.entry_bytes();
        frame.address()?.checked_add(u64::from(offset))
    }

    /// Where the status word of an entry lies: the aligned 64-bit word, and the shift of the 16 bits in it.
    pub(super) fn status_at(&self, reference: GrantRef) -> Option<(MachineAddr, u32)> {
        match self.version {
            Version::V1 => Some((self.entry_at(reference)?, 0)),
            Version::V2 => {
                let per_frame = SHARED_PER_STATUS * Version::V2.entries();
                let frame = self
                    .status
                    .get(usize::try_from(reference.raw() / per_frame).ok()?)?;
                let within = reference.raw() % per_frame;
                let word = frame.address()?.checked_add(u64::from(within / 4) * 8)?;
                Some((word, within % 4 * 16))
            }
        }
    }

    /// The words of an entry as they are now, each read at once.
    pub(super) fn words(&self, reference: GrantRef) -> Option<[u64; 2]> {
        let Some(at) = self.entry_at(reference) else {
            return (reference.raw() < self.entries()).then_some([0; 2]);
        };
        let second = match self.version {
            Version::V1 => 0,
            Version::V2 => self.word(at.checked_add(8)?),
        };
        Some([self.word(at), second])
    }

    pub(super) fn word(&self, at: MachineAddr) -> u64 {
        let mut bytes = [0; 8];
        self.memory.read(at, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// The status word of a version 2 entry. In version 1 it is part of the entry: 0.
    fn status(&self, reference: GrantRef) -> u16 {
        let (Version::V2, Some((at, shift))) = (self.version, self.status_at(reference)) else {
            return 0;
        };
        let [low, high, ..] = (self.word(at) >> shift).to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Writes an entry, and in version 2 its status word. In a frame that has not been made, there is nothing to write:
    /// whoever writes an offer makes its frame before.
    fn write(&self, reference: GrantRef, words: [u64; 2], status: u16) {
        let Some(at) = self.entry_at(reference) else {
            return;
        };
        let [first, second] = words;
        if self.version == Version::V2
            && let (Some(behind), Some((word, shift))) = (at.checked_add(8), self.status_at(reference))
        {
            self.memory.write(behind, &second.to_le_bytes());
            // The word has the status of neighbours in it.
            self.memory.fetch_and(word, !(u64::from(u16::MAX) << shift));
            self.memory.fetch_or(word, u64::from(status) << shift);
        }
        // Last, because it is what makes the offer.
        self.memory.write(at, &first.to_le_bytes());
    }
}

impl Drop for GrantTable {
    fn drop(&mut self) {
        // Frames with entries go by themselves.
        self.status.iter().for_each(|mfn| self.frames.release(*mfn));
    }
}

fn count(frames: &[Mfn]) -> u32 {
    u32::try_from(frames.len()).unwrap_or(u32::MAX)
}

/// Why a table could not grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GrowError {
    /// It may have this many frames, and no more.
    Limit(u32),
    /// There is no frame.
    OutOfFrames,
}

impl From<OutOfFrames> for GrowError {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}

/// Why a frame could not be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShowError {
    /// The table has no such frame, and cannot have it.
    NoSuchFrame(TableFrame),
    /// It cannot be where the guest wants it.
    Place(PlaceError),
}

impl From<PlaceError> for ShowError {
    fn from(error: PlaceError) -> Self {
        Self::Place(error)
    }
}

/// Why the version stayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionError {
    /// This many offers are in use.
    InUse(u32),
    /// A reserved offer is one that version 1 cannot say.
    NoCounterpart(GrantRef),
    /// There is no frame for the status words.
    OutOfFrames,
}

impl From<OutOfFrames> for VersionError {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}

/// The table has no such entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSuchEntry(pub GrantRef);

/// Why two offers were not exchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SwapError {
    /// The table has no such entry.
    NoSuchEntry(GrantRef),
    /// It is in use.
    InUse(GrantRef),
    /// There is no frame for one of them.
    OutOfFrames,
}

impl From<OutOfFrames> for SwapError {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}
