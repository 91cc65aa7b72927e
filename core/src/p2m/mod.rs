//! The second stage of a domain: which machine frame stands behind each guest frame.
//!
//! [`SecondStage`] is what a domain holds; [`walker::P2m`] is the one walker behind it, generic over the
//! [`EntryFormat`] of the hardware (EPT, NPT), which turns an [`Entry`] into bits and back. The walker never sees
//! bits; a format never walks.
//!
//! References: a RAM or foreign entry owns one reference of its frame, which the *caller* took before it maps and
//! gives back after it has unmapped **and** flushed. The walker moves entries, never references.

#[cfg(any(test, feature = "testing"))]
pub mod battery;
pub mod plain;
mod recent;
pub mod walker;

use crate::machine::Access;
use crate::memory::frames::OutOfFrames;
use crate::number::{Gfn, Mfn, Order};

/// The second stage of one domain.
pub trait SecondStage: Send {
    /// The frame the hardware starts its walk at.
    fn root(&self) -> Mfn;

    /// What is behind a guest frame; `None` for nothing.
    fn translate(&self, gfn: Gfn) -> Option<Leaf>;

    /// Maps an aligned block. Replaces what was there (its references are the caller's to give back: look first).
    /// Larger leaves are split as needed; each instant shows the old or the new mapping, nothing else.
    ///
    /// # Errors
    /// When there is no frame for a table, or the block is not aligned or beyond what the format addresses;
    /// then nothing has changed for the guest.
    fn map(&mut self, gfn: Gfn, order: Order, to: Target) -> Result<Flush, MapError>;

    /// Takes an aligned block away. What was mapped there is gone, larger leaves are split.
    ///
    /// # Errors
    /// As [`SecondStage::map`].
    fn unmap(&mut self, gfn: Gfn, order: Order) -> Result<Flush, MapError>;

    /// Calls `each` for every leaf that reaches to `from` or beyond, in order of guest frames, with its first guest
    /// frame; stops when it says `false`.
    fn leaves(&self, from: Gfn, each: &mut dyn FnMut(Gfn, Leaf) -> bool);

    /// How many frames its tables take, the root included.
    fn table_frames(&self) -> u64;

    /// From now on, its tables take no more than this many frames: what would need more is [`MapError::OutOfFrames`].
    fn limit_tables(&mut self, frames: u64);
}

/// What one leaf maps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The first machine frame.
    pub mfn: Mfn,
    /// What the guest may do there.
    pub rights: Rights,
    /// What kind of memory it is to the hypervisor.
    pub kind: Kind,
}

/// The answer of a translation: the leaf that covers a guest frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// What stands behind the guest frame asked for (not behind the start of the leaf).
    pub target: Target,
    /// The size of the leaf.
    pub order: Order,
}

/// What a guest may do with a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Read.
    Read,
    /// Read and execute.
    ReadExecute,
    /// Read and write.
    ReadWrite,
    /// Read, write and execute.
    ReadWriteExecute,
}

impl Rights {
    /// Whether an access is allowed.
    #[must_use]
    pub const fn allow(self, access: Access) -> bool {
        match access {
            Access::Read => true,
            Access::ReadWrite => matches!(self, Self::ReadWrite | Self::ReadWriteExecute),
        }
    }

    /// Whether they allow all that `other` allows.
    #[must_use]
    pub const fn include(self, other: Self) -> bool {
        match (self, other) {
            (Self::ReadWriteExecute, _) | (_, Self::Read) => true,
            (Self::ReadWrite, Self::ReadWrite) | (Self::ReadExecute, Self::ReadExecute) => true,
            (Self::Read | Self::ReadWrite | Self::ReadExecute, _) => false,
        }
    }
}

/// What a mapped frame is to the hypervisor. Kept in bits of the entry that the hardware ignores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The domain's own memory. Owns a reference.
    Ram,
    /// A page of the hypervisor shown to the guest: shared info, grant frames. The domain's object owns the frame;
    /// unmapping merely unhooks it.
    Special,
    /// Another domain's frame through a grant. Owned by the receipt that mapped it.
    Grant,
    /// Another domain's frame, mapped by a privileged domain. Owns a reference.
    Foreign,
    /// Memory of a device.
    Device,
}

/// Cached translations may now be wrong: whoever changed the second stage owes a flush before frames are freed.
#[must_use = "stale translations must be flushed before the frames behind them are given back"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// Nothing that could be cached has changed.
    None,
    /// All vcpus of the domain must forget their translations.
    Domain,
}

impl Flush {
    /// Both obligations in one.
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, Self::None) => Self::None,
            _ => Self::Domain,
        }
    }
}

/// Why the second stage could not be changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No frame for a table.
    OutOfFrames,
    /// The block is not aligned to its size, or the machine frame is not.
    Misaligned,
    /// The block is larger than 1 GiB, or one of its ends is beyond what tables can address.
    OutOfRange,
}

impl From<OutOfFrames> for MapError {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}

/// A level of the tables: 0 holds 4 KiB leaves, 1 holds 2 MiB, 2 holds 1 GiB, 3 is the root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Level(pub u8);

/// One entry of a table, as a meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing.
    Absent,
    /// A table of the next lower level.
    Table(Mfn),
    /// A mapping of the level's size.
    Leaf(Target),
}

/// How a kind of hardware writes entries. Pure: bits in, meaning out.
pub trait EntryFormat: Send {
    /// The bits of an entry at a level.
    fn encode(&self, entry: Entry, level: Level) -> u64;

    /// The meaning of bits at a level. `decode(encode(e)) == e` for every entry that can be encoded.
    fn decode(&self, bits: u64, level: Level) -> Entry;

    /// The highest level that may hold leaves (0, 1 or 2).
    fn highest_leaf(&self) -> Level;
}

#[cfg(test)]
mod tests;
