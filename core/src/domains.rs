//! The list of all domains: one slot a number, each with a lock of its own, so that two domains that have nothing to do
//! with each other never wait for each other here.
//!
//! Slots come in chunks, made when the first of them is needed; a chunk stays until the end.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Once;

use crate::domain::Domain;
use crate::lock::{Rank, Ranked};
use crate::memory::room;
use crate::number::DomainId;
use crate::sched::OutOfMemory;

/// Slots in a chunk.
const SLOTS: usize = 64;
/// Chunks: enough for every number a domain can have.
const CHUNKS: usize = (1 << 15) / SLOTS;

/// On a cache line of its own.
#[repr(align(64))]
struct Slot(Ranked<Option<Arc<Domain>>>);

/// All domains.
pub struct Domains {
    chunks: Vec<Once<Box<[Slot]>>>,
}

impl Default for Domains {
    fn default() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| Once::new()).collect(),
        }
    }
}

impl Domains {
    fn place(id: DomainId) -> (usize, usize) {
        let id = usize::from(id.raw());
        (id / SLOTS, id % SLOTS)
    }

    fn slot(&self, id: DomainId) -> Option<&Slot> {
        let (chunk, slot) = Self::place(id);
        self.chunks.get(chunk)?.get()?.get(slot)
    }

    /// The domain with this number.
    #[must_use]
    pub fn get(&self, id: DomainId) -> Option<Arc<Domain>> {
        self.slot(id)?.0.lock().clone()
    }

    /// Lists a domain.
    ///
    /// # Errors
    /// When there is no memory, or the number is taken or beyond what domains can have; then nothing has changed.
    pub fn insert(&self, domain: Arc<Domain>) -> Result<(), OutOfMemory> {
        let (chunk, slot) = Self::place(domain.id);
        let chunk = self.chunks.get(chunk).ok_or(OutOfMemory)?;
        let empty = || Slot(Ranked::new(Rank::DomainList, None));
        let make = || room::filled(SLOTS, empty).map(Vec::into_boxed_slice);
        let chunk = chunk.try_call_once(make).map_err(|_| OutOfMemory)?;
        let mut slot = chunk.get(slot).ok_or(OutOfMemory)?.0.lock();
        if slot.is_some() {
            return Err(OutOfMemory);
        }
        *slot = Some(domain);
        Ok(())
    }

    /// Takes a domain off the list.
    pub fn remove(&self, id: DomainId) -> Option<Arc<Domain>> {
        self.slot(id)?.0.lock().take()
    }

    /// Calls `each` with every domain, in the order of their numbers; with no lock held.
    pub fn for_each(&self, mut each: impl FnMut(Arc<Domain>)) {
        for chunk in self.chunks.iter().filter_map(Once::get) {
            for slot in chunk {
                let domain = slot.0.lock().clone();
                if let Some(domain) = domain {
                    each(domain);
                }
            }
        }
    }
}
