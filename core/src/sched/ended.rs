//! Domains that have ended, until somebody looks after them; and whether all is over.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use super::OutOfMemory;
use crate::lock::{Rank, Ranked};
use crate::number::DomainId;

/// The list. It has room for every domain there is.
pub(super) struct Ended {
    list: Ranked<List>,
    /// There is somebody on it: what is asked often, without the lock.
    some: AtomicBool,
    finished: AtomicBool,
}

struct List {
    ended: Vec<DomainId>,
    domains: usize,
}

impl Ended {
    pub(super) const fn new() -> Self {
        let list = List {
            ended: Vec::new(),
            domains: 0,
        };
        Self {
            list: Ranked::new(Rank::Scheduler, list),
            some: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        }
    }

    pub(super) fn add_domain(&self) -> Result<(), OutOfMemory> {
        let mut list = self.list.lock();
        let domains = list.domains.saturating_add(1);
        let missing = domains.saturating_sub(list.ended.len());
        list.ended.try_reserve(missing).map_err(|_| OutOfMemory)?;
        list.domains = domains;
        Ok(())
    }

    pub(super) fn remove_domain(&self, id: DomainId) {
        let mut list = self.list.lock();
        list.domains = list.domains.saturating_sub(1);
        list.ended.retain(|ended| *ended != id);
    }

    pub(super) fn note(&self, id: DomainId) {
        let mut list = self.list.lock();
        if !list.ended.contains(&id) && list.ended.len() < list.ended.capacity() {
            list.ended.push(id);
        }
        drop(list);
        self.some.store(true, Ordering::SeqCst);
    }

    pub(super) fn take(&self) -> Option<DomainId> {
        if !self.is_some() {
            return None;
        }
        let mut list = self.list.lock();
        let id = list.ended.pop();
        self.some.store(!list.ended.is_empty(), Ordering::SeqCst);
        id
    }

    pub(super) fn is_some(&self) -> bool {
        self.some.load(Ordering::SeqCst)
    }

    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::SeqCst)
    }
}
