//! Accounts: how many frames each domain has, and how many it may have.
//!
//! Kept by [`super::frames::Frames`] under its own lock, in the same step that allocates or frees, so that the number
//! is exact at any time: a frame counts for its owner until its last reference is gone, whoever holds that one.

use alloc::vec::Vec;

use crate::number::DomainId;

/// How much a domain has, and may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// Frames it has.
    pub used: u64,
    /// Frames it may have.
    pub limit: u64,
}

/// The account could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The domain has one.
    AlreadyOpen,
    /// There is no memory for the list.
    OutOfMemory,
}

/// An account, and whether it is open. One that is closed with frames in use stays until they are given back, and a
/// new domain of the same number takes it over with what is in it.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    domain: DomainId,
    account: Account,
    open: bool,
}

/// All accounts, by domain. What a domain without an account gets is not counted.
#[derive(Default)]
pub(super) struct Accounts(Vec<Entry>);

impl Accounts {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Opens an account. The list moves to `room` if it needs more; `false` if `room` has none either.
    pub(super) fn open(
        &mut self,
        domain: DomainId,
        limit: u64,
        room: &mut Vec<Entry>,
    ) -> Result<bool, OpenError> {
        if let Some(entry) = self.find(domain) {
            if entry.open {
                return Err(OpenError::AlreadyOpen);
            }
            entry.open = true;
            entry.account.limit = limit;
            return Ok(true);
        }
        let at = self.0.partition_point(|entry| entry.domain < domain);
        if self.0.capacity() == self.0.len() {
            if room.capacity() <= self.0.len() {
                return Ok(false);
            }
            room.append(&mut self.0);
            core::mem::swap(&mut self.0, room);
        }
        let entry = Entry {
            domain,
            account: Account { used: 0, limit },
            open: true,
        };
        self.0.insert(at, entry);
        Ok(true)
    }

    pub(super) fn close(&mut self, domain: DomainId) {
        if let Some(entry) = self.find(domain) {
            entry.open = false;
        }
        self.forget_empty(domain);
    }

    pub(super) fn get(&mut self, domain: DomainId) -> Option<Account> {
        self.find(domain)
            .filter(|entry| entry.open)
            .map(|entry| entry.account)
    }

    pub(super) fn set_limit(&mut self, domain: DomainId, limit: u64) {
        if let Some(entry) = self.find(domain) {
            entry.account.limit = limit;
        }
    }

    /// Whether the frames are within the limit; if so, they count from now on.
    pub(super) fn charge(&mut self, domain: DomainId, frames: u64) -> bool {
        let Some(entry) = self.find(domain) else {
            return true;
        };
        match entry.account.used.checked_add(frames) {
            Some(used) if used <= entry.account.limit => {
                entry.account.used = used;
                true
            }
            _ => false,
        }
    }

    pub(super) fn refund(&mut self, domain: DomainId, frames: u64) {
        if let Some(entry) = self.find(domain) {
            entry.account.used = entry.account.used.saturating_sub(frames);
            if !entry.open {
                self.forget_empty(domain);
            }
        }
    }

    fn forget_empty(&mut self, domain: DomainId) {
        self.0
            .retain(|entry| entry.domain != domain || entry.open || entry.account.used > 0);
    }

    fn find(&mut self, domain: DomainId) -> Option<&mut Entry> {
        let at = self.0.binary_search_by_key(&domain, |entry| entry.domain).ok()?;
        self.0.get_mut(at)
    }
}
