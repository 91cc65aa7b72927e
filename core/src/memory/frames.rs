//! The frames of the machine: a buddy allocator, and for each frame who owns it and how often it is in use.
//!
//! Invariant: a frame is either free (and then on exactly one list, as part of exactly one block) or used, with an
//! owner and at least one reference. The last reference frees it; a freed frame forgets its owner. Whoever maps a
//! frame, writes to it later, or shows it to another domain holds a reference meanwhile, so that a frame never
//! changes owner under anybody's feet.
//!
//! What a domain has is counted, and limited, in the same step that allocates or frees: see [`super::accounts`].
//!
//! The records live in frames of their own, reached through [`MachineMemory`] like everything else: the heap holds
//! nothing that grows with the machine. Lock: [`Rank::Frames`], for the free lists; references are counted without it.
//!
//! It must never hand out a frame that is not in the memory it was given, whatever numbers come in.

mod held;
mod record;
mod run;

pub use held::{Block, Pin};
pub use record::Owner;
use record::{Record, State};

use alloc::sync::Arc;
use core::ops::Range;

use super::accounts::{Account, Accounts, OpenError};
use super::room;
use crate::lock::{Rank, Ranked};
use crate::machine::MachineMemory;
use crate::number::{DomainId, FRAME_SIZE, Gfn, MachineAddr, Mfn, Order};

/// Largest block the allocator keeps: 1 GiB.
const LARGEST: u8 = Order::HUGE.raw();
const LISTS: usize = LARGEST as usize + 1;
/// No frame: the end of a list.
const NONE: u32 = u32::MAX;
const RECORD_BYTES: u64 = 16;
/// No place, in the record of a frame in use. No frame has this number.
const NOWHERE: u64 = u64::MAX;

/// There is no block of the wanted size, or it would be more than its owner may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfFrames {
    /// The size that was wanted.
    pub order: Order,
}

struct Lists {
    heads: [u32; LISTS],
    free: u64,
    accounts: Accounts,
}

/// All frames of the machine that may be handed out.
pub struct Frames {
    memory: Arc<dyn MachineMemory>,
    table: MachineAddr,
    first: u64,
    count: u32,
    total: u64,
    lists: Ranked<Lists>,
}

impl Frames {
    /// Takes over the given memory. The records are put at the end of the largest range.
    ///
    /// Ranges that overlap are the caller's mistake; ranges beyond 16 TiB above the lowest frame are left out.
    ///
    /// # Errors
    /// When no range is large enough for the records.
    pub fn new(memory: Arc<dyn MachineMemory>, available: &[Range<Mfn>]) -> Result<Self, OutOfFrames> {
        let failed = OutOfFrames { order: Order::FRAME };
        let first = available.iter().map(|r| r.start.raw()).min().ok_or(failed)?;
        let end = available.iter().map(|r| r.end.raw()).max().ok_or(failed)?;
        let count = u32::try_from(end.saturating_sub(first)).unwrap_or(NONE - 1);
        let table_frames = (u64::from(count) * RECORD_BYTES).div_ceil(FRAME_SIZE);
        let length = |r: &Range<Mfn>| r.end.raw().saturating_sub(r.start.raw());
        let home = available.iter().max_by_key(|r| length(r)).ok_or(failed)?;
        if length(home) < table_frames {
            return Err(failed);
        }
        let table_frame = Mfn::new(home.end.raw() - table_frames);
        let table = table_frame.address().ok_or(failed)?;
        memory.zero(table, table_frames * FRAME_SIZE);
        let lists = Ranked::new(
            Rank::Frames,
            Lists {
                heads: [NONE; LISTS],
                free: 0,
                accounts: Accounts::default(),
            },
        );
        let mut frames = Self {
            memory,
            table,
            first,
            count,
            total: 0,
            lists,
        };
        for range in available {
            let end = if range == home {
                table_frame.raw()
            } else {
                range.end.raw()
            };
            frames.add(range.start.raw(), end);
        }
        frames.total = frames.free();
        Ok(frames)
    }

    /// Puts the frames `start..end` on the lists, as the largest aligned blocks that fit.
    fn add(&self, start: u64, end: u64) {
        let at = start.saturating_sub(self.first);
        let end = end.saturating_sub(self.first).min(u64::from(self.count));
        self.put(&mut self.lists.lock(), at, end);
    }

    /// Puts the frames with the indices `at..end` on the lists.
    fn put(&self, lists: &mut Lists, mut at: u64, end: u64) {
        while at < end {
            // Blocks are aligned in machine frames, not in table indices: large pages need that.
            let aligned = (at + self.first).trailing_zeros().min(u32::from(LARGEST));
            let fits = (end - at).ilog2();
            let order = u8::try_from(aligned.min(fits)).unwrap_or(0);
            if let Ok(index) = u32::try_from(at) {
                self.push(lists, index, order);
            }
            at += 1 << order;
        }
    }

    /// How many frames are free now.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.lists.lock().free
    }

    /// How many frames there are to hand out in all.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The first frame there may be: none below it is ever handed out.
    #[must_use]
    pub const fn start(&self) -> Mfn {
        Mfn::new(self.first)
    }

    /// The frame behind the last one.
    #[must_use]
    pub fn end(&self) -> Mfn {
        self.mfn(self.count)
    }

    /// A block for `owner`, one reference on each of its frames. What is in it is what its last user left:
    /// see [`Frames::allocate_zeroed`].
    ///
    /// # Errors
    /// When there is no such block, or the owner may not have as much.
    pub fn allocate(&self, owner: Owner, order: Order) -> Result<Block<'_>, OutOfFrames> {
        let index = self.pop(owner, order).ok_or(OutOfFrames { order })?;
        self.hand_out(owner, index, order.frames());
        Ok(Block {
            frames: self,
            mfn: self.mfn(index),
            count: order.frames(),
        })
    }

    /// Marks frames that came off the lists as the owner's.
    fn hand_out(&self, owner: Owner, index: u32, count: u64) {
        let used = Record {
            state: State::Used,
            order: 0,
            owner: owner.raw(),
            references: 1,
        };
        for frame in 0..count {
            if let Ok(frame) = u32::try_from(frame) {
                let index = index.saturating_add(frame);
                self.set_place(self.mfn(index), None);
                self.set(index, used);
            }
        }
    }

    /// As [`Frames::allocate`], with zeros in it. Everything a guest gets comes from here.
    ///
    /// # Errors
    /// As [`Frames::allocate`].
    pub fn allocate_zeroed(&self, owner: Owner, order: Order) -> Result<Block<'_>, OutOfFrames> {
        let block = self.allocate(owner, order)?;
        if let Some(at) = block.mfn.address() {
            self.memory.zero(at, order.bytes());
        }
        Ok(block)
    }

    /// One more reference to a frame that `owner` owns; `None` if that is not so.
    #[must_use]
    pub fn pin(&self, mfn: Mfn, owner: Owner) -> Option<Pin<'_>> {
        // Only then: a pin that is dropped gives a reference back.
        self.reference(mfn, owner).then(|| Pin { frames: self, mfn })
    }

    /// As [`Frames::pin`], without the guard: the caller owes a [`Frames::release`].
    #[must_use]
    pub fn reference(&self, mfn: Mfn, owner: Owner) -> bool {
        self.change(mfn, |record| {
            let fits = record.state == State::Used && record.owner == owner.raw() && record.references > 0;
            let references = record.references.checked_add(1)?;
            fits.then_some(Record { references, ..record })
        })
        .is_some()
    }

    /// Gives back one reference. The last one frees the frame. A frame that is not in use is left alone.
    pub fn release(&self, mfn: Mfn) {
        let after = self.change(mfn, |record| {
            let references = record.references.checked_sub(1)?;
            // From here to the free list the frame is nobody's: nothing can refer to it any more.
            let state = if references == 0 {
                State::Inside
            } else {
                record.state
            };
            (record.state == State::Used).then_some(Record {
                state,
                references,
                ..record
            })
        });
        if let (
            Some(Record {
                references: 0, owner, ..
            }),
            Some(index),
        ) = (after, self.index(mfn))
        {
            self.merge(Owner::from_raw(owner), index);
        }
    }

    /// Gives back one reference of each of `count` frames from `first` on.
    pub fn release_all(&self, first: Mfn, count: u64) {
        for further in 0..count {
            if let Some(mfn) = first.checked_add(further) {
                self.release(mfn);
            }
        }
    }

    /// The guest frame at which its owner sees a frame that it can see at one place only: [`Frames::set_place`].
    #[must_use]
    pub fn place(&self, mfn: Mfn) -> Option<Gfn> {
        let word = self.word(self.links_at(self.index(mfn)?));
        (word != NOWHERE).then(|| Gfn::new(word))
    }

    /// Notes where a frame is seen. For a frame in use, by who holds the lock of the second stage where that is.
    pub fn set_place(&self, mfn: Mfn, place: Option<Gfn>) {
        if let Some(index) = self.index(mfn) {
            let word = place.map_or(NOWHERE, Gfn::raw);
            self.memory.write(self.links_at(index), &word.to_le_bytes());
        }
    }

    /// From now on the domain's frames are counted, and no more than `limit`.
    ///
    /// # Errors
    /// When that is so already, or there is no memory for the account.
    pub fn open_account(&self, domain: DomainId, limit: u64) -> Result<(), OpenError> {
        loop {
            // Memory is taken with no lock held.
            let wanted = self.lists.lock().accounts.len().saturating_add(1);
            let mut room = room::vec(wanted).map_err(|_| OpenError::OutOfMemory)?;
            if self.lists.lock().accounts.open(domain, limit, &mut room)? {
                return Ok(());
            }
        }
    }

    /// The domain has ended. Frames of it that others still use go on to count for its number.
    pub fn close_account(&self, domain: DomainId) {
        self.lists.lock().accounts.close(domain);
    }

    /// How many frames a domain has and may have.
    #[must_use]
    pub fn account(&self, domain: DomainId) -> Option<Account> {
        self.lists.lock().accounts.get(domain)
    }

    /// Changes how many frames a domain may have. It keeps what it has.
    pub fn set_limit(&self, domain: DomainId, limit: u64) {
        self.lists.lock().accounts.set_limit(domain, limit);
    }

    /// Counts frames that are not there: what a domain has reserved without a place for it. `false` if it may not.
    #[must_use]
    pub fn charge(&self, domain: DomainId, frames: u64) -> bool {
        self.lists.lock().accounts.charge(domain, frames)
    }

    /// Lets a frame of a domain be nobody's, while whoever uses it goes on to. It counts for the domain as before, and
    /// does so when it has long been freed: from now on it is one of those that are not there.
    #[must_use]
    pub fn disown(&self, mfn: Mfn, domain: DomainId) -> bool {
        let owner = Owner::Hypervisor.raw();
        let disown = |record: Record| {
            let owned = record.state == State::Used && record.owner == domain.raw();
            owned.then_some(Record { owner, ..record })
        };
        self.change(mfn, disown).is_some()
    }

    /// Counts frames no longer that are not there.
    pub fn uncharge(&self, domain: DomainId, frames: u64) {
        self.lists.lock().accounts.refund(domain, frames);
    }

    /// Whose the frame is and how many references there are; `None` for a frame that is not in use.
    #[must_use]
    pub fn usage(&self, mfn: Mfn) -> Option<(Owner, u32)> {
        let record = self.get(self.index(mfn)?);
        (record.state == State::Used).then_some((Owner::from_raw(record.owner), record.references))
    }

    /// Applies `to` to a frame's record, atomically; the record afterwards, or `None` if `to` declined.
    fn change(&self, mfn: Mfn, to: impl Fn(Record) -> Option<Record>) -> Option<Record> {
        let at = self.record_at(self.index(mfn)?);
        let mut word = self.word(at);
        // Contention is among processors of the host that all make progress, so this ends.
        loop {
            let new = to(Record::unpack(word))?;
            match self.memory.compare_exchange(at, word, new.pack()) {
                Ok(_) => return Some(new),
                Err(now) => word = now,
            }
        }
    }

    fn index(&self, mfn: Mfn) -> Option<u32> {
        let index = u32::try_from(mfn.raw().checked_sub(self.first)?).ok()?;
        (index < self.count).then_some(index)
    }

    fn mfn(&self, index: u32) -> Mfn {
        Mfn::new(self.first + u64::from(index))
    }

    fn record_at(&self, index: u32) -> MachineAddr {
        MachineAddr::new(self.table.raw() + u64::from(index) * RECORD_BYTES)
    }

    fn links_at(&self, index: u32) -> MachineAddr {
        MachineAddr::new(self.record_at(index).raw() + 8)
    }

    fn word(&self, at: MachineAddr) -> u64 {
        let mut bytes = [0; 8];
        self.memory.read(at, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn get(&self, index: u32) -> Record {
        Record::unpack(self.word(self.record_at(index)))
    }

    fn set(&self, index: u32, record: Record) {
        self.memory
            .write(self.record_at(index), &record.pack().to_le_bytes());
    }

    /// The neighbours of a block on its list: next, previous.
    fn links(&self, index: u32) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = self.word(self.links_at(index)).to_le_bytes();
        (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
    }

    fn set_links(&self, index: u32, next: u32, previous: u32) {
        let word = u64::from(next) | u64::from(previous) << 32;
        self.memory.write(self.links_at(index), &word.to_le_bytes());
    }

    fn push(&self, lists: &mut Lists, index: u32, order: u8) {
        self.set(
            index,
            Record {
                state: State::Free,
                order,
                ..Record::INSIDE
            },
        );
        if let Some(head) = lists.heads.get_mut(usize::from(order)) {
            self.set_links(index, *head, NONE);
            if *head != NONE {
                self.set_links(*head, self.links(*head).0, index);
            }
            *head = index;
            lists.free += 1 << order;
        }
    }

    fn unlink(&self, lists: &mut Lists, index: u32, order: u8) {
        let (next, previous) = self.links(index);
        if next != NONE {
            self.set_links(next, self.links(next).0, previous);
        }
        if previous != NONE {
            self.set_links(previous, next, self.links(previous).1);
        } else if let Some(head) = lists.heads.get_mut(usize::from(order)) {
            *head = next;
        }
        self.set(index, Record::INSIDE);
        lists.free -= 1 << order;
    }

    /// Takes a block of `order` off the lists, splitting a larger one if need be.
    fn pop(&self, owner: Owner, order: Order) -> Option<u32> {
        if room::refuses_frames() {
            return None;
        }
        let mut lists = self.lists.lock();
        let (index, mut has) = (order.raw()..=LARGEST).find_map(|larger| {
            let head = *lists.heads.get(usize::from(larger))?;
            (head != NONE).then_some((head, larger))
        })?;
        if let Owner::Domain(domain) = owner
            && !lists.accounts.charge(domain, order.frames())
        {
            return None;
        }
        self.unlink(&mut lists, index, has);
        while has > order.raw() {
            has -= 1;
            self.push(&mut lists, index + (1 << has), has);
        }
        Some(index)
    }

    /// Puts a frame on the lists, joined with its free buddies.
    fn merge(&self, owner: Owner, index: u32) {
        let mut lists = self.lists.lock();
        if let Owner::Domain(domain) = owner {
            lists.accounts.refund(domain, 1);
        }
        let (mut index, mut order) = (index, 0);
        while order < LARGEST {
            let Some(buddy) = self.index(Mfn::new(self.mfn(index).raw() ^ (1 << order))) else {
                break;
            };
            let record = self.get(buddy);
            if record.state != State::Free || record.order != order {
                break;
            }
            self.unlink(&mut lists, buddy, order);
            index = index.min(buddy);
            order += 1;
        }
        self.push(&mut lists, index, order);
    }
}

#[cfg(test)]
mod tests;
