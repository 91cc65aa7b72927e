//! The one door to a guest's memory.
//!
//! A guest address is an allegation: it becomes bytes, or a [`NotRam`]. Nobody holds a reference into guest memory;
//! what was read is a copy, so what was checked is what is used. An answer is *reserved* before the work it reports:
//! [`GuestMemory::reserve`] finds and pins the frames, and [`Reserved::send`] cannot fail.
//!
//! Locks: each access takes the domain's second stage, frame by frame, for as long as it touches the frame: what is
//! mapped cannot be given away meanwhile. It must never be used with a lock of that rank or higher held.

use alloc::boxed::Box;
use core::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::lock::Ranked;
use crate::machine::{Access, GuestRam, MachineMemory, NotRam};
use crate::memory::frames::{Frames, Pin};
use crate::number::{FRAME_BYTES, FRAME_SIZE, GuestAddr, MachineAddr, Mfn};
use crate::p2m::{Kind, SecondStage};

/// The longest answer that can be reserved, in bytes. It lies in two frames at most.
pub const LONGEST_ANSWER: usize = FRAME_BYTES;

/// The memory of one domain, by guest-physical address.
#[derive(Clone, Copy)]
pub struct GuestMemory<'a> {
    memory: &'a dyn MachineMemory,
    frames: &'a Frames,
    stage: &'a Ranked<Box<dyn SecondStage>>,
}

impl<'a> GuestMemory<'a> {
    /// The memory behind this second stage.
    pub const fn new(
        memory: &'a dyn MachineMemory,
        frames: &'a Frames,
        stage: &'a Ranked<Box<dyn SecondStage>>,
    ) -> Self {
        Self {
            memory,
            frames,
            stage,
        }
    }

    /// Finds the frame behind an address and pins it against being given away.
    ///
    /// # Errors
    /// When nothing that allows the access is mapped there.
    pub fn pin(&self, at: GuestAddr, access: Access) -> Result<Place<'a>, NotRam> {
        let stage = self.stage.lock();
        let mfn = frame_behind(stage.as_ref(), at, access)?;
        // The entry holds a reference while the lock is held, so the frame is in use by whoever owns it.
        let (owner, _) = self.frames.usage(mfn).ok_or(NotRam(at))?;
        let pin = self.frames.pin(mfn, owner).ok_or(NotRam(at))?;
        drop(stage);
        let base = mfn.address().ok_or(NotRam(at))?;
        Ok(Place {
            at: MachineAddr::new(base.raw() | at.offset()),
            _pin: pin,
        })
    }

    /// Calls `each` with the machine address and the position of each piece of `bytes` bytes that lies in one frame,
    /// while the second stage is held.
    fn touch(
        &self,
        at: GuestAddr,
        bytes: usize,
        access: Access,
        mut each: impl FnMut(MachineAddr, Range<usize>),
    ) -> Result<(), NotRam> {
        pieces(at, bytes, |here, range| {
            let stage = self.stage.lock();
            let base = frame_behind(stage.as_ref(), here, access)?.address();
            let at = base.ok_or(NotRam(here))?.raw() | here.offset();
            each(MachineAddr::new(at), range);
            Ok(())
        })
    }

    /// Finds and pins room for an answer of `bytes` bytes, so that sending it cannot fail.
    ///
    /// # Errors
    /// The address where there is no writable memory, or the first one of an answer longer than [`LONGEST_ANSWER`].
    pub fn reserve(&self, at: GuestAddr, bytes: usize) -> Result<Reserved<'a>, NotRam> {
        let mut reserved = self.nothing_reserved();
        self.reserve_more(&mut reserved, at, bytes)?;
        Ok(reserved)
    }

    /// Room for no answer yet, to be extended by [`GuestMemory::reserve_more`].
    pub const fn nothing_reserved(&self) -> Reserved<'a> {
        Reserved {
            memory: self.memory,
            pieces: heapless::Vec::new(),
        }
    }

    /// Extends the room for an answer, for one whose pages do not follow each other in guest-physical memory.
    ///
    /// # Errors
    /// As [`GuestMemory::reserve`]; then the room is of no use.
    pub fn reserve_more(
        &self,
        reserved: &mut Reserved<'a>,
        at: GuestAddr,
        bytes: usize,
    ) -> Result<(), NotRam> {
        let before = reserved.bytes();
        if bytes > LONGEST_ANSWER.saturating_sub(before) {
            return Err(NotRam(at));
        }
        let mut fits = true;
        pieces(at, bytes, |here, range| {
            let place = self.pin(here, Access::ReadWrite)?;
            let range = range.start.saturating_add(before)..range.end.saturating_add(before);
            fits &= reserved.pieces.push((place, range)).is_ok();
            Ok(())
        })?;
        if fits { Ok(()) } else { Err(NotRam(at)) }
    }

    /// Reads a value, once.
    ///
    /// # Errors
    /// The address where there is no memory.
    pub fn read_value<T: FromBytes + IntoBytes>(&self, at: GuestAddr) -> Result<T, NotRam> {
        let mut value = T::new_zeroed();
        GuestRam::read(self, at, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a value.
    ///
    /// # Errors
    /// The address where there is no writable memory.
    pub fn write_value<T: IntoBytes + Immutable>(&self, at: GuestAddr, value: &T) -> Result<(), NotRam> {
        GuestRam::write(self, at, value.as_bytes())
    }
}

impl GuestRam for GuestMemory<'_> {
    fn read(&self, at: GuestAddr, into: &mut [u8]) -> Result<(), NotRam> {
        self.touch(at, into.len(), Access::Read, |at, range| {
            if let Some(piece) = into.get_mut(range) {
                self.memory.read(at, piece);
            }
        })
    }

    fn write(&self, at: GuestAddr, from: &[u8]) -> Result<(), NotRam> {
        self.touch(at, from.len(), Access::ReadWrite, |at, range| {
            if let Some(piece) = from.get(range) {
                self.memory.write(at, piece);
            }
        })
    }

    fn compare_exchange(&self, at: GuestAddr, old: u64, new: u64) -> Result<bool, NotRam> {
        if !at.raw().is_multiple_of(8) {
            return Err(NotRam(at));
        }
        let mut done = false;
        self.touch(at, 8, Access::ReadWrite, |at, _| {
            done = self.memory.compare_exchange(at, old, new).is_ok();
        })?;
        Ok(done)
    }
}

/// Calls `each` with the address and the position of each piece of `bytes` bytes that lies in one frame.
fn pieces(
    at: GuestAddr,
    bytes: usize,
    mut each: impl FnMut(GuestAddr, Range<usize>) -> Result<(), NotRam>,
) -> Result<(), NotRam> {
    let mut done = 0;
    while done < bytes {
        let here = at.checked_add(done as u64).ok_or(NotRam(at))?;
        let left = usize::try_from(FRAME_SIZE - here.offset()).unwrap_or(0);
        let end = bytes.min(done + left);
        each(here, done..end)?;
        done = end;
    }
    Ok(())
}

/// The frame behind an address, if what is mapped there allows the access. It is the guest's for as long as the second
/// stage is held.
fn frame_behind(stage: &dyn SecondStage, at: GuestAddr, access: Access) -> Result<Mfn, NotRam> {
    let target = stage.translate(at.frame()).ok_or(NotRam(at))?.target;
    if !target.rights.allow(access) || target.kind == Kind::Device {
        return Err(NotRam(at));
    }
    Ok(target.mfn)
}

/// A place in a guest's memory whose frame is pinned.
pub struct Place<'a> {
    at: MachineAddr,
    _pin: Pin<'a>,
}

impl Place<'_> {
    /// Where it is. Valid up to the end of its frame, as long as the place is held.
    #[must_use]
    pub const fn address(&self) -> MachineAddr {
        self.at
    }
}

/// Room for an answer: its frames are pinned, whatever becomes of the guest addresses meanwhile.
#[must_use = "an answer is reserved in order to be sent"]
pub struct Reserved<'a> {
    memory: &'a dyn MachineMemory,
    pieces: heapless::Vec<(Place<'a>, Range<usize>), 2>,
}

impl Reserved<'_> {
    /// How many bytes were reserved.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pieces.last().map_or(0, |(_, range)| range.end)
    }

    /// Writes the answer. What is longer than was reserved is cut off.
    pub fn send(self, answer: &[u8]) {
        for (place, range) in &self.pieces {
            let end = range.end.min(answer.len());
            if let Some(piece) = answer.get(range.start..end) {
                self.memory.write(place.at, piece);
            }
        }
    }

    /// Writes a value as the answer.
    pub fn send_value<T: IntoBytes + Immutable>(self, answer: &T) {
        self.send(answer.as_bytes());
    }
}

#[cfg(test)]
mod tests;
