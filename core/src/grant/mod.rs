//! Grants: how a domain lets another use a frame of its memory.
//!
//! The *granter* writes offers into shared entries ([`entry`]) of its [`table::GrantTable`]. The *grantee* names an
//! offer by its [`crate::number::GrantRef`]. While an offer is in use, the table has it pinned ([`pin`]) and says so in
//! status bits that the granter sees. A mapping gives the grantee a receipt, the [`crate::number::GrantHandle`], which
//! its [`handles::Handles`] keep. [`map`] and [`copy`] are what a grantee does.
//!
//! Locks: the granter's table ([`crate::lock::Rank::Grants`]), then the grantee's receipts
//! ([`crate::lock::Rank::Handles`]), then a second stage. No two tables are ever held together: a pin stands by itself
//! once it is made. So an offer that passes on what another domain granted is pinned first, then let go of, and only then
//! is the other looked for; both stay pinned until the copy is done.

pub mod copy;
pub mod entry;
mod entry_frames;
pub mod handles;
pub mod map;
pub mod pin;
pub mod table;

#[cfg(test)]
mod tests;
