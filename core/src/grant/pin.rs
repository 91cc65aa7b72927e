//! Offers in use: the records behind a table's entries.
//!
//! An offer that is in use is *pinned*: its record says which frame, for whom, and by how many readers and writers;
//! what the granter writes into the entry meanwhile changes nothing for them. The entry's status bits tell the granter
//! that it is in use. Record, status bits and the frame's reference change together, under the table's lock.
//!
//! Entries are memory the granter can write: they are changed by compare-and-exchange, tried a bounded number of times.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::entry::{self, Offer, Part, READING, Version, WRITING};
use super::table::{GrantTable, RESERVED};
use crate::machine::Access;
use crate::memory::domain_memory::DomainMemory;
use crate::number::{DomainId, GrantRef, Mfn};

/// How often a granter may change an entry under our hands before we give up.
const TRIES: u32 = 4;
/// Most readers, and most writers, of one offer.
const MOST: u16 = 0x7fff;

/// The record of one entry. All zeros: not in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Active {
    mfn: u64,
    grantee: u16,
    readers: u16,
    writers: u16,
    offset: u16,
    bytes: u16,
    padding: [u16; 3],
}

impl Active {
    const fn is_used(self) -> bool {
        self.readers > 0 || self.writers > 0
    }
}

/// What a grantee wants to do with an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// Which offer.
    pub reference: GrantRef,
    /// Who uses it.
    pub grantee: DomainId,
    /// Whether it will be written.
    pub access: Access,
    /// What for.
    pub purpose: Purpose,
}

/// What an offer is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To be mapped: only whole frames can be.
    Map,
    /// To be copied from or to.
    Copy,
}

/// A pinned offer. One reference of the frame is the holder's to give back, and one unpin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pinned {
    /// The frame.
    pub mfn: Mfn,
    /// The bytes of it that may be used.
    pub part: Part,
}

/// Why an offer cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinError {
    /// The table has no such entry.
    NoSuchEntry(GrantRef),
    /// It offers nothing to this domain, or not for this purpose.
    NotOffered(GrantRef),
    /// It may only be read.
    ReadOnly(GrantRef),
    /// It is in use by another domain, for part of the frame, or by too many.
    InUse(GrantRef),
    /// The granter keeps changing it.
    Unstable(GrantRef),
    /// There is no frame of the granter's own behind it.
    NoFrame(GrantRef),
    /// It passes on what another domain granted: to be copied only, through that domain's table.
    Transitive {
        /// Who made that grant.
        via: DomainId,
        /// Which it is.
        reference: GrantRef,
    },
}

impl GrantTable {
    /// Pins an offer for one use. `memory` is the granter's.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn pin(&mut self, memory: &DomainMemory, wanted: Use) -> Result<Pinned, PinError> {
        let reference = wanted.reference;
        if reference.raw() >= self.entries() {
            return Err(PinError::NoSuchEntry(reference));
        }
        let old = self
            .active
            .get(reference.raw())
            .ok_or(PinError::NoSuchEntry(reference))?;
        let new = if old.is_used() {
            self.join(memory, wanted, old)?
        } else {
            self.begin(memory, wanted)?
        };
        self.active.set(reference.raw(), &new);
        if !old.is_used() && reference.raw() >= RESERVED {
            self.busy = self.busy.saturating_add(1);
        }
        Ok(Pinned {
            mfn: Mfn::new(new.mfn),
            part: Part {
                offset: new.offset,
                bytes: new.bytes,
            },
        })
    }

    /// The record after one use more of an offer that is in use.
    fn join(&self, memory: &DomainMemory, wanted: Use, old: Active) -> Result<Active, PinError> {
        let reference = wanted.reference;
        let busy = PinError::InUse(reference);
        let partial = old.offset != Part::WHOLE.offset || old.bytes != Part::WHOLE.bytes;
        if old.grantee != wanted.grantee.raw() || (partial && wanted.purpose == Purpose::Map) {
            return Err(busy);
        }
        let new = counted(old, wanted.access).ok_or(busy)?;
        let pin = memory
            .frames()
            .pin(
                Mfn::new(old.mfn),
                crate::memory::frames::Owner::Domain(memory.owner()),
            )
            .ok_or(PinError::NoFrame(reference))?;
        if wanted.access == Access::ReadWrite && old.writers == 0 {
            // The first writer: the entry itself must allow it, now.
            self.claim(wanted)?;
        }
        pin.keep();
        Ok(new)
    }

    /// The record after the first use.
    fn begin(&self, memory: &DomainMemory, wanted: Use) -> Result<Active, PinError> {
        let offer = self.claim(wanted)?;
        let Some(pin) = memory.ram(offer.frame, wanted.access) else {
            self.clear(wanted.reference, READING | WRITING);
            return Err(PinError::NoFrame(wanted.reference));
        };
        let first = Active {
            mfn: pin.keep().raw(),
            grantee: wanted.grantee.raw(),
            offset: offer.part.offset,
            bytes: offer.part.bytes,
            ..Active::default()
        };
        Ok(counted(first, wanted.access).unwrap_or(first))
    }

    /// Sets the status bits of an entry that offers what is wanted, in one step with looking at it.
    fn claim(&self, wanted: Use) -> Result<entry::Access, PinError> {
        let reference = wanted.reference;
        let none = PinError::NoSuchEntry(reference);
        let at = self.entry_at(reference).ok_or(none)?;
        let bits = match wanted.access {
            Access::Read => READING,
            Access::ReadWrite => READING | WRITING,
        };
        for _ in 0..TRIES {
            let words = self.words(reference).ok_or(none)?;
            let offer = allowed(entry::decode(self.version, words), wanted)?;
            match self.version {
                // The whole entry is one word: it is still what was looked at when the bits are set.
                Version::V1 => {
                    let new = words[0] | u64::from(bits);
                    if self.memory.compare_exchange(at, words[0], new).is_ok() {
                        return Ok(offer);
                    }
                }
                // The bits are elsewhere: set them first, then see that the entry is still what was looked at.
                Version::V2 => {
                    let (word, shift) = self.status_at(reference).ok_or(none)?;
                    let before = self.memory.fetch_or(word, u64::from(bits) << shift);
                    if self.words(reference) == Some(words) {
                        return Ok(offer);
                    }
                    let set = u64::from(bits) << shift & !before;
                    self.memory.fetch_and(word, !set);
                }
            }
        }
        Err(PinError::Unstable(reference))
    }

    /// Ends one use of an offer. The reference of its frame is the caller's to give back.
    pub fn unpin(&mut self, reference: GrantRef, access: Access) {
        let Some(old) = self.active.get(reference.raw()) else {
            return;
        };
        let mut new = old;
        let uses = match access {
            Access::Read => &mut new.readers,
            Access::ReadWrite => &mut new.writers,
        };
        let Some(left) = uses.checked_sub(1) else {
            return;
        };
        *uses = left;
        let mut ended = 0;
        if new.writers == 0 && old.writers > 0 {
            ended |= WRITING;
        }
        if !new.is_used() {
            ended |= READING;
            new = Active::default();
            if reference.raw() >= RESERVED {
                self.busy = self.busy.saturating_sub(1);
            }
        }
        self.active.set(reference.raw(), &new);
        self.clear(reference, ended);
    }

    /// Whether an offer is in use.
    #[must_use]
    pub fn is_pinned(&self, reference: GrantRef) -> bool {
        self.active.get(reference.raw()).is_some_and(Active::is_used)
    }

    fn clear(&self, reference: GrantRef, bits: u16) {
        if bits != 0
            && let Some((word, shift)) = self.status_at(reference)
        {
            self.memory.fetch_and(word, !(u64::from(bits) << shift));
        }
    }
}

/// The record with one use more, if there can be one.
fn counted(mut record: Active, access: Access) -> Option<Active> {
    let uses = match access {
        Access::Read => &mut record.readers,
        Access::ReadWrite => &mut record.writers,
    };
    if *uses >= MOST {
        return None;
    }
    *uses += 1;
    Some(record)
}

/// What the entry offers, if it is what is wanted.
fn allowed(offer: Offer, wanted: Use) -> Result<entry::Access, PinError> {
    let reference = wanted.reference;
    let (grantee, read_only) = match offer {
        Offer::Access(access) => (access.grantee, access.read_only),
        Offer::Transitive {
            grantee, read_only, ..
        } => (grantee, read_only),
        Offer::Nothing => return Err(PinError::NotOffered(reference)),
    };
    if grantee != wanted.grantee {
        return Err(PinError::NotOffered(reference));
    }
    if read_only && wanted.access == Access::ReadWrite {
        return Err(PinError::ReadOnly(reference));
    }
    match (offer, wanted.purpose) {
        (Offer::Access(access), Purpose::Copy) => Ok(access),
        (Offer::Access(access), Purpose::Map) if access.part == Part::WHOLE && !access.uncommon_cache => {
            Ok(access)
        }
        (Offer::Transitive { via, reference, .. }, Purpose::Copy) => {
            Err(PinError::Transitive { via, reference })
        }
        _ => Err(PinError::NotOffered(reference)),
    }
}
