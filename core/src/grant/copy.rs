//! Copying between a domain's own memory and what others granted: no mapping, no flush.

use super::entry::Part;
use super::map::{Party, Pin};
use super::pin::{PinError, Purpose, Use};
use crate::machine::{Access, MachineMemory};
use crate::memory::domain_memory::DomainMemory;
use crate::memory::frames;
use crate::number::{DomainId, FRAME_BYTES, Gfn, GrantRef, MachineAddr, Mfn};

/// Bytes copied at a time where the two ends may overlap.
const PIECE: usize = 256;

/// One end of a copy, held until dropped.
pub struct End<'a> {
    held: Held<'a>,
    part: Part,
}

enum Held<'a> {
    Own(frames::Pin<'a>),
    Granted(Pin<'a>),
}

impl<'a> End<'a> {
    /// A frame of the caller's own.
    ///
    /// # Errors
    /// When there is no RAM that allows the access.
    pub fn own(memory: &'a DomainMemory, frame: Gfn, access: Access) -> Result<Self, NoFrame> {
        let pin = memory.ram(frame, access).ok_or(NoFrame(frame))?;
        Ok(Self {
            held: Held::Own(pin),
            part: Part::WHOLE,
        })
    }

    /// A frame that `granter` offers to `grantee`.
    ///
    /// # Errors
    /// Why the offer cannot be used.
    pub fn granted(
        granter: Party<'a>,
        reference: GrantRef,
        grantee: DomainId,
        access: Access,
    ) -> Result<Self, PinError> {
        let wanted = Use {
            reference,
            grantee,
            access,
            purpose: Purpose::Copy,
        };
        let pin = Pin::take(granter, wanted)?;
        Ok(Self {
            part: pin.pinned.part,
            held: Held::Granted(pin),
        })
    }

    fn mfn(&self) -> Mfn {
        match &self.held {
            Held::Own(pin) => pin.mfn(),
            Held::Granted(pin) => pin.pinned.mfn,
        }
    }

    fn at(&self, offset: u16, bytes: u16) -> Result<MachineAddr, CopyError> {
        if usize::from(offset).saturating_add(usize::from(bytes)) > FRAME_BYTES {
            return Err(CopyError::CrossesFrame);
        }
        if !self.part.holds(offset, bytes) {
            return Err(CopyError::OutsideOffer);
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
