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

/// All accounts, by domain. What a domain without an account gets is not counted.
#[derive(Default)]
pub(super) struct Accounts(Vec<(DomainId, Account)>);

impl Accounts {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Opens an account. The list moves to `room` if it needs more; `false` if `room` has none either.
    pub(super) fn open(
        &mut self,
        domain: DomainId,
        limit: u64,
        room: &mut Vec<(DomainId, Account)>,
    ) -> Result<bool, OpenError> {
        let at = match self.position(domain) {
            Ok(_) => return Err(OpenError::AlreadyOpen),
            Err(at) => at,
        };
        if self.0.capacity() == self.0.len() {
            if room.capacity() <= self.0.len() {
                return Ok(false);
            }
            room.append(&mut self.0);
            core::mem::swap(&mut self.0, room);
        }
        self.0.insert(at, (domain, Account { used: 0, limit }));
        Ok(true)
    }

    pub(super) fn close(&mut self, domain: DomainId) {
        if let Ok(at) = self.position(domain) {
            self.0.remove(at);
        }
    }

    pub(super) fn get(&self, domain: DomainId) -> Option<Account> {
        let at = self.position(domain).ok()?;
        self.0.get(at).map(|(_, account)| *account)
    }

    pub(super) fn set_limit(&mut self, domain: DomainId, limit: u64) {
        if let Some(account) = self.find(domain) {
            account.limit = limit;
        }
    }

    /// Whether the frames are within the limit; if so, they count from now on.
    pub(super) fn charge(&mut self, domain: DomainId, frames: u64) -> bool {
        let Some(account) = self.find(domain) else {
            return true;
        };
        match account.used.checked_add(frames) {
            Some(used) if used <= account.limit => {
                account.used = used;
                true
            }
            _ => false,
        }
    }

    pub(super) fn refund(&mut self, domain: DomainId, frames: u64) {
        if let Some(account) = self.find(domain) {
            account.used = account.used.saturating_sub(frames);
        }
    }

    fn position(&self, domain: DomainId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&domain, |(owner, _)| *owner)
    }

    fn find(&mut self, domain: DomainId) -> Option<&mut Account> {
        let at = self.position(domain).ok()?;
        self.0.get_mut(at).map(|(_, account)| account)
    }
}
