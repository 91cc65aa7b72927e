//! Offers in use: the records behind a table's entries.
//!
//! An offer that is in use is *pinned*: its record says what it offers, to whom, and by how many readers and writers it
//! is used; what the granter writes into the entry meanwhile changes nothing for them, but that an entry that has become
//! read-only gets no first writer. The entry's status bits tell the granter that it is in use. Record, status bits and
//! the frame's reference change together, under the table's lock.
//!
//! Entries are memory the granter can write: they are changed by compare-and-exchange, tried a bounded number of times.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::entry::{self, Offer, Part, READING, Version, WRITING};
use super::table::{GrantTable, RESERVED};
use crate::machine::Access;
use crate::memory::domain_memory::DomainMemory;
use crate::memory::frames::{self, Owner};
use crate::number::{DomainId, Gfn, GrantRef, Mfn};
use crate::p2m::Kind;

/// How often a granter may change an entry under our hands before we give up.
const TRIES: u32 = 5;
/// Most readers, and most writers, of one offer: as many as Xen counts.
const MOST: u8 = 128;

/// The record of one entry. All zeros: not in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Active {
    /// The frame; of an offer that passes on, the number of the domain above that of the offer there. The top bits are
    /// marks: frames have numbers of 40 bits.
    what: u64,
    grantee: u16,
    offset: u16,
    bytes: u16,
    readers: u8,
    writers: u8,
}

/// Mark of a record: it may only be copied from or to.
const COPY_ONLY: u64 = 1 << 63;
/// Mark of a record: it passes on what another domain granted.
const ONWARD: u64 = 1 << 62;

impl Active {
    const fn is_used(self) -> bool {
        self.readers > 0 || self.writers > 0
    }

    const fn has(self, mark: u64) -> bool {
        self.what & mark != 0
    }

    fn pinned(self) -> Pinned {
        if self.has(ONWARD) {
            let [r0, r1, r2, r3, d0, d1, ..] = self.what.to_le_bytes();
            return Pinned::Onward {
                via: DomainId::new(u16::from_le_bytes([d0, d1])),
                reference: GrantRef::new(u32::from_le_bytes([r0, r1, r2, r3])),
            };
        }
        Pinned::Frame {
            mfn: Mfn::new(self.what & !(COPY_ONLY | ONWARD)),
            part: Part {
                offset: self.offset,
                bytes: self.bytes,
            },
            from: None,
        }
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
    /// As [`Purpose::Copy`], for somebody to whom the grantee passes it on: no further.
    PassOn,
}

/// A pinned offer. Its holder owes an unpin, and gives back one reference of the frame if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pinned {
    /// The use of a frame.
    Frame {
        /// Which.
        mfn: Mfn,
        /// The bytes of it that may be used.
        part: Part,
        /// Where its granter saw it, if this is the first use of the offer.
        from: Option<Gfn>,
    },
    /// What another domain granted to the granter: to be pinned there too.
    Onward {
        /// Who made that grant.
        via: DomainId,
        /// Which it is.
        reference: GrantRef,
    },
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
    /// There is no frame behind it that allows this.
    NoFrame(GrantRef),
    /// The frame behind it is one that another domain granted to the granter.
    NotOwn(GrantRef),
    /// It passes on what is passed on already, or to the one who passes it on.
    PassedOn(GrantRef),
    /// There is no memory to keep a record of its use.
    NoRecord(GrantRef),
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
        let old = match self.active.get(reference.raw()) {
            Some(old) => old,
            None => self.first_record(wanted)?,
        };
        let (new, first_seen) = if old.is_used() {
            (self.join(memory, wanted, old)?, None)
        } else {
            self.begin(memory, wanted)?
        };
        self.active.set(reference.raw(), &new);
        if !old.is_used() && reference.raw() >= RESERVED {
            self.busy = self.busy.saturating_add(1);
        }
        Ok(match new.pinned() {
            Pinned::Frame { mfn, part, .. } => Pinned::Frame {
                mfn,
                part,
                from: first_seen,
            },
            onward @ Pinned::Onward { .. } => onward,
        })
    }

    /// Makes records up to that of an entry, if what it offers is what is wanted: asking in vain costs its granter
    /// nothing.
    fn first_record(&mut self, wanted: Use) -> Result<Active, PinError> {
        let reference = wanted.reference;
        let words = self.words(reference).ok_or(PinError::NoSuchEntry(reference))?;
        allowed(entry::decode(self.version, words), wanted)?;
        let count = reference.raw().saturating_add(1);
        let grown = self.active.grow_to(count);
        grown.map_err(|_| PinError::NoRecord(reference))?;
        Ok(Active::default())
    }

    /// The record after one use more of an offer that is in use.
    fn join(&self, memory: &DomainMemory, wanted: Use, old: Active) -> Result<Active, PinError> {
        let reference = wanted.reference;
        let busy = PinError::InUse(reference);
        if old.grantee != wanted.grantee.raw() {
            return Err(busy);
        }
        match wanted.purpose {
            Purpose::Map if old.has(COPY_ONLY | ONWARD) => return Err(busy),
            Purpose::PassOn if old.has(ONWARD) => return Err(PinError::PassedOn(reference)),
            Purpose::Map | Purpose::Copy | Purpose::PassOn => {}
        }
        let new = counted(old, wanted.access).ok_or(busy)?;
        let pin = match old.pinned() {
            Pinned::Frame { mfn, .. } => {
                // It is in use, so it still is the frame that was offered; but it may have become nobody's, if the
                // granter has let go of it.
                let pin = memory.frames().pin(mfn, Owner::Domain(memory.owner()));
                let pin = pin.or_else(|| memory.frames().pin(mfn, Owner::Hypervisor));
                Some(pin.ok_or(PinError::NoFrame(reference))?)
            }
            Pinned::Onward { .. } => None,
        };
        if wanted.access == Access::ReadWrite && old.writers == 0 {
            self.claim_for_writer(reference)?;
        }
        if let Some(pin) = pin {
            pin.keep();
        }
        Ok(new)
    }

    /// The record after the first use, and where the granter sees the frame.
    fn begin(&self, memory: &DomainMemory, wanted: Use) -> Result<(Active, Option<Gfn>), PinError> {
        let (offer, bits) = self.claim(wanted)?;
        let first = match record(memory, wanted, offer) {
            Ok(first) => first,
            Err(error) => {
                self.clear(wanted.reference, bits);
                return Err(error);
            }
        };
        let seen = match offer {
            Offer::Access(access) => Some(access.frame),
            _ => None,
        };
        Ok((counted(first, wanted.access).unwrap_or(first), seen))
    }

    /// Sets the status bits of an entry that offers what is wanted, in one step with looking at it; the offer, and the
    /// bits.
    fn claim(&self, wanted: Use) -> Result<(Offer, u16), PinError> {
        let reference = wanted.reference;
        let none = PinError::NoSuchEntry(reference);
        let bits = match wanted.access {
            Access::Read => READING,
            Access::ReadWrite => READING | WRITING,
        };
        for _ in 0..TRIES {
            let words = self.words(reference).ok_or(none)?;
            let offer = entry::decode(self.version, words);
            allowed(offer, wanted)?;
            if self.mark(reference, words, bits)? {
                return Ok((offer, bits));
            }
        }
        Err(PinError::Unstable(reference))
    }

    /// Says that an offer that is in use is being written too, unless its granter has made it read-only since.
    fn claim_for_writer(&self, reference: GrantRef) -> Result<(), PinError> {
        for _ in 0..TRIES {
            let words = self.words(reference).ok_or(PinError::NoSuchEntry(reference))?;
            if entry::is_read_only(words) {
                return Err(PinError::ReadOnly(reference));
            }
            if self.mark(reference, words, READING | WRITING)? {
                return Ok(());
            }
        }
        Err(PinError::Unstable(reference))
    }

    /// Sets status bits of an entry if it still is what was read: `false` if not, with the bits as they were.
    fn mark(&self, reference: GrantRef, words: [u64; 2], bits: u16) -> Result<bool, PinError> {
        let none = PinError::NoSuchEntry(reference);
        match self.version {
            // The whole entry is one word: it is still what was looked at when the bits are set.
            Version::V1 => {
                let at = self.entry_at(reference).ok_or(none)?;
                let new = words[0] | u64::from(bits);
                Ok(self.memory.compare_exchange(at, words[0], new).is_ok())
            }
            // The bits are elsewhere: set them first, then see that the entry is still what was looked at.
            Version::V2 => {
                let (word, shift) = self.status_at(reference).ok_or(none)?;
                let before = self.memory.fetch_or(word, u64::from(bits) << shift);
                if self.words(reference) == Some(words) {
                    return Ok(true);
                }
                let set = u64::from(bits) << shift & !before;
                self.memory.fetch_and(word, !set);
                Ok(false)
            }
        }
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

/// Whether the entry offers what is wanted.
fn allowed(offer: Offer, wanted: Use) -> Result<(), PinError> {
    let reference = wanted.reference;
    let (grantee, read_only, fits) = match offer {
        Offer::Access(access) => (
            access.grantee,
            access.read_only,
            !access.copy_only || wanted.purpose != Purpose::Map,
        ),
        Offer::Onward {
            grantee, read_only, ..
        } => (grantee, read_only, wanted.purpose != Purpose::Map),
        Offer::Nothing => return Err(PinError::NotOffered(reference)),
    };
    if grantee != wanted.grantee || !fits {
        return Err(PinError::NotOffered(reference));
    }
    if read_only && wanted.access == Access::ReadWrite {
        return Err(PinError::ReadOnly(reference));
    }
    Ok(())
}

/// The record of an offer that nobody uses yet.
fn record(memory: &DomainMemory, wanted: Use, offer: Offer) -> Result<Active, PinError> {
    let reference = wanted.reference;
    let nobody = Active {
        grantee: wanted.grantee.raw(),
        ..Active::default()
    };
    match offer {
        Offer::Nothing => Err(PinError::NotOffered(reference)),
        Offer::Access(access) => {
            let pin = frame(memory, reference, access.frame, wanted.access)?;
            let mark = if access.copy_only { COPY_ONLY } else { 0 };
            Ok(Active {
                what: pin.keep().raw() | mark,
                offset: access.part.offset,
                bytes: access.part.bytes,
                ..nobody
            })
        }
        Offer::Onward { via, .. } if wanted.purpose == Purpose::PassOn || via == memory.owner() => {
            Err(PinError::PassedOn(reference))
        }
        Offer::Onward { via, reference, .. } => Ok(Active {
            what: u64::from(via.raw()) << 32 | u64::from(reference.raw()) | ONWARD,
            ..nobody
        }),
    }
}

/// The frame that a granter offers: its own, or one of the hypervisor that it sees.
fn frame(
    memory: &DomainMemory,
    reference: GrantRef,
    at: Gfn,
    access: Access,
) -> Result<frames::Pin<'_>, PinError> {
    let none = PinError::NoFrame(reference);
    let stage = memory.stage().lock();
    let target = stage.translate(at).ok_or(none)?.target;
    let owner = match target.kind {
        Kind::Ram => Owner::Domain(memory.owner()),
        Kind::Special => Owner::Hypervisor,
        Kind::Grant => return Err(PinError::NotOwn(reference)),
        Kind::Foreign | Kind::Device => return Err(none),
    };
    if !target.rights.allow(access) {
        return Err(none);
    }
    memory.frames().pin(target.mfn, owner).ok_or(none)
}
