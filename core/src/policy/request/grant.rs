//! Requests about grants.
//!
//! Giving up a mapping is not asked about: what one may not keep one must be able to return.

use crate::machine::Access;
use crate::number::{DomainId, GrantRef};

/// A domain wants to map what another granted to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrantMap {
    /// Who asks, and maps.
    pub grantee: DomainId,
    /// Whose frame it is.
    pub granter: DomainId,
    /// Under which reference it was offered.
    pub reference: GrantRef,
    /// What the mapping allows.
    pub access: Access,
}

/// A domain wants to copy between its memory and what others granted (or between the grants of two others).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrantCopy {
    /// Who asks.
    pub caller: DomainId,
    /// Whose frame is read. May be the caller.
    pub source: DomainId,
    /// Whose frame is written. May be the caller.
    pub destination: DomainId,
}

/// A domain wants to give a frame of its own to another that has offered to take one.
///
/// No guest here can make the call: Xen offers it to paravirtualised guests alone. The question is here so that
/// policies answer it before there is anybody to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrantTransfer {
    /// Who asks, and gives.
    pub caller: DomainId,
    /// Who gets the frame.
    pub recipient: DomainId,
    /// Under which reference the recipient offered to take it.
    pub reference: GrantRef,
}

/// A domain wants to know the size or the version of a grant table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrantQuery {
    /// Who asks.
    pub caller: DomainId,
    /// Whose table it is. May be the caller.
    pub owner: DomainId,
}

/// A domain wants a grant table to grow, and to know where its frames are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrantSetup {
    /// Who asks.
    pub caller: DomainId,
    /// Whose table it is. May be the caller.
    pub owner: DomainId,
    /// How many frames it is to have.
    pub frames: u32,
}
