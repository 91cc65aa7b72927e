//! Copying between a domain's own memory and what others granted: no mapping, no flush.

use super::entry::Part;
use super::map::{Party, Pin};
use super::pin::{PinError, Pinned, Purpose, Use};
use crate::machine::{Access, MachineMemory};
use crate::memory::domain_memory::DomainMemory;
use crate::memory::frames::{self, Owner};
use crate::number::{DomainId, FRAME_BYTES, Gfn, GrantRef, MachineAddr, Mfn};
use crate::p2m::Kind;

/// Bytes copied at a time where the two ends may overlap.
const PIECE: usize = 256;

/// One end of a copy, held until dropped.
pub struct End<'a> {
    held: Held<'a>,
    part: Part,
}

/// Pins are given back in the order of fields: the offer that passes on outlasts the one it passes on.
enum Held<'a> {
    Own(frames::Pin<'a>),
    Granted {
        mfn: Mfn,
        _pin: Pin<'a>,
    },
    PassedOn {
        mfn: Mfn,
        _inner: Pin<'a>,
        _outer: Pin<'a>,
    },
}

/// What a granted end of a copy turns out to be.
pub enum Reached<'a> {
    /// A frame.
    End(End<'a>),
    /// What yet another domain granted.
    Onward(Onward<'a>),
}

/// An offer that passes on another, pinned: the other is still to be found.
pub struct Onward<'a> {
    pin: Pin<'a>,
    via: DomainId,
    reference: GrantRef,
}

impl<'a> Onward<'a> {
    /// Who made the grant that is passed on.
    #[must_use]
    pub const fn via(&self) -> DomainId {
        self.via
    }

    /// Finds the other in the table of `granter`, who is [`Onward::via`].
    ///
    /// # Errors
    /// Why that offer cannot be used. The one that passes it on is given back.
    pub fn through(self, granter: Party<'a>) -> Result<End<'a>, PinError> {
        let wanted = Use {
            reference: self.reference,
            grantee: self.pin.granter(),
            access: self.pin.access(),
            purpose: Purpose::PassOn,
        };
        let inner = Pin::take(granter, wanted)?;
        match inner.pinned {
            Pinned::Frame { mfn, part, .. } => Ok(End {
                held: Held::PassedOn {
                    mfn,
                    _inner: inner,
                    _outer: self.pin,
                },
                part,
            }),
            Pinned::Onward { .. } => Err(PinError::PassedOn(self.reference)),
        }
    }
}

impl<'a> End<'a> {
    /// A frame that the caller sees at one of its guest frames: its own, one of the hypervisor, or one that it has mapped
    /// by a grant.
    ///
    /// # Errors
    /// When there is none that allows the access.
    pub fn own(memory: &'a DomainMemory, frame: Gfn, access: Access) -> Result<Self, NoFrame> {
        let none = NoFrame(frame);
        let stage = memory.stage().lock();
        let target = stage.translate(frame).ok_or(none)?.target;
        let owner = match target.kind {
            Kind::Ram => Owner::Domain(memory.owner()),
            Kind::Special => Owner::Hypervisor,
            // Its receipt has a reference for as long as it is mapped.
            Kind::Grant => memory.frames().usage(target.mfn).ok_or(none)?.0,
            Kind::Foreign | Kind::Device => return Err(none),
        };
        if !target.rights.allow(access) {
            return Err(none);
        }
        let pin = memory.frames().pin(target.mfn, owner);
        // A granter may have let go of it in between: then it is nobody's.
        let pin = pin.or_else(|| memory.frames().pin(target.mfn, Owner::Hypervisor));
        Ok(Self {
            held: Held::Own(pin.ok_or(none)?),
            part: Part::WHOLE,
        })
    }

    /// What `granter` offers to `grantee`.
    ///
    /// # Errors
    /// Why the offer cannot be used.
    pub fn granted(
        granter: Party<'a>,
        reference: GrantRef,
        grantee: DomainId,
        access: Access,
    ) -> Result<Reached<'a>, PinError> {
        let wanted = Use {
            reference,
            grantee,
            access,
            purpose: Purpose::Copy,
        };
        let pin = Pin::take(granter, wanted)?;
        Ok(match pin.pinned {
            Pinned::Frame { mfn, part, .. } => Reached::End(Self {
                part,
                held: Held::Granted { mfn, _pin: pin },
            }),
            Pinned::Onward { via, reference } => Reached::Onward(Onward { pin, via, reference }),
        })
    }

    fn mfn(&self) -> Mfn {
        match &self.held {
            Held::Own(pin) => pin.mfn(),
            Held::Granted { mfn, .. } | Held::PassedOn { mfn, .. } => *mfn,
        }
    }

    /// Where bytes of the frame are, if they are within it.
    fn at(&self, offset: u16, bytes: u16) -> Result<MachineAddr, CopyError> {
        if usize::from(offset).saturating_add(usize::from(bytes)) > FRAME_BYTES {
            return Err(CopyError::CrossesFrame);
        }
        let at = self
            .mfn()
            .address()
            .and_then(|at| at.checked_add(u64::from(offset)));
        at.ok_or(CopyError::CrossesFrame)
    }
}

/// Copies bytes from one frame to another.
///
/// # Errors
/// Nothing has been copied then.
pub fn copy(
    memory: &dyn MachineMemory,
    (source, from): (&End<'_>, u16),
    (destination, to): (&End<'_>, u16),
    bytes: u16,
) -> Result<(), CopyError> {
    let source_at = source.at(from, bytes)?;
    let destination_at = destination.at(to, bytes)?;
    if !source.part.holds(from, bytes) || !destination.part.holds(to, bytes) {
        return Err(CopyError::OutsideOffer);
    }
    if source.mfn() != destination.mfn() {
        memory.copy(source_at, destination_at, u64::from(bytes));
        return Ok(());
    }
    // Within one frame the two may overlap: in pieces, from the end that is not overwritten first.
    let mut pieces = (0..bytes).step_by(PIECE);
    let copy_piece = |offset: u16| {
        let mut buffer = [0; PIECE];
        let left = usize::from(bytes.saturating_sub(offset)).min(PIECE);
        if let (Some(buffer), Some(from), Some(to)) = (
            buffer.get_mut(..left),
            source_at.checked_add(offset.into()),
            destination_at.checked_add(offset.into()),
        ) {
            memory.read(from, buffer);
            memory.write(to, buffer);
        }
    };
    if source_at < destination_at {
        while let Some(offset) = pieces.next_back() {
            copy_piece(offset);
        }
    } else {
        pieces.for_each(copy_piece);
    }
    Ok(())
}

/// There is no RAM of the domain there that allows the access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoFrame(pub Gfn);

/// Why nothing was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyError {
    /// An end reaches beyond its frame.
    CrossesFrame,
    /// An end reaches beyond the part of the frame that is offered.
    OutsideOffer,
}
