//! Requests about a domain's memory: how much there is, and what is where.

use crate::number::{DomainId, Gfn};

/// A domain wants to change how many frames a domain has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryReserve {
    /// Who asks.
    pub caller: DomainId,
    /// Whose memory it is. May be the caller.
    pub target: DomainId,
    /// In which direction.
    pub change: Change,
    /// Runs of frames.
    pub extents: u64,
    /// The binary logarithm of the frames in each, not checked yet.
    pub order: u32,
}

/// How a reservation changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// More frames, nowhere in particular.
    Increase,
    /// Fewer frames.
    Decrease,
    /// More frames, at places of the caller's choice.
    Populate,
    /// Some frames for others.
    Exchange,
}

/// A domain wants to know how much memory a domain has, how it is laid out, or what is at a guest frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryQuery {
    /// Who asks.
    pub caller: DomainId,
    /// Whose memory it is. May be the caller.
    pub target: DomainId,
}

/// A domain wants a domain to find another memory map (e820).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryMapSet {
    /// Who asks.
    pub caller: DomainId,
    /// Whose map it is. May be the caller.
    pub target: DomainId,
    /// Entries of the new map.
    pub entries: u32,
}

/// A domain wants what only the builder of a domain does with memory: claim it beforehand, or have it populated on
/// demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBuild {
    /// Who asks.
    pub caller: DomainId,
    /// For whom. May be the caller.
    pub target: DomainId,
}

/// A domain wants one of a domain's own frames (shared info, grant table, memory) behind a guest frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhysmapAdd {
    /// Who asks.
    pub caller: DomainId,
    /// Whose memory changes. May be the caller.
    pub target: DomainId,
}

/// A domain wants frames of one domain behind guest frames of another, without a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhysmapForeign {
    /// Who asks.
    pub caller: DomainId,
    /// Whose memory changes. May be the caller.
    pub target: DomainId,
    /// Whose frames they are. Need not exist.
    pub owner: DomainId,
}

/// A domain wants nothing behind a guest frame any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhysmapRemove {
    /// Who asks.
    pub caller: DomainId,
    /// Whose memory changes. May be the caller.
    pub target: DomainId,
    /// Which guest frame.
    pub at: Gfn,
}
