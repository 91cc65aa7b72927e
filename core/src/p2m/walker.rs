//! The one walker of second stages: four levels of tables, in whatever format the hardware reads them.
//!
//! Invariants:
//! * The hardware may walk at any instant. Each change of what a guest frame maps to is one 64-bit write, and a table
//!   is complete before it is linked, so that a walk sees the old mapping or the new one.
//! * A change first makes the tables it needs, which alters no translation, and then writes leaves, which cannot
//!   fail. When there is no frame for a table, the guest sees nothing; tables made until then stay, and are used later.
//! * A table, once linked, stays until the second stage is dropped: no cached pointer to a table ever goes stale,
//!   and a block mapped over a table fills it rather than replacing it. [`SecondStage::limit_tables`] bounds what a
//!   guest can make the hypervisor spend on tables.
//!
//! It moves entries, never references to the frames behind them, and knows no bit of any format.
//! It must not be dropped while a vcpu can still walk its tables.

use alloc::sync::Arc;

use crate::machine::MachineMemory;
use crate::memory::frames::{Frames, OutOfFrames, Owner};
use crate::number::{FRAME_BYTES, Gfn, MachineAddr, Mfn, Order};
use crate::p2m::recent::Recent;
use crate::p2m::{Entry, EntryFormat, Flush, Leaf, Level, MapError, SecondStage, Target};

/// The level the hardware begins at.
const ROOT: Level = Level(3);
/// log2 of the entries in a table.
const INDEX_BITS: u32 = 9;
/// Entries in a table.
const ENTRIES: u64 = 1 << INDEX_BITS;
/// Guest frames that four levels address: 2^36, which is 48 bits of address.
const GFN_LIMIT: u64 = 1 << (INDEX_BITS * 4);
/// Machine frames that an entry of any format can name: 52 bits of address.
const MFN_LIMIT: u64 = 1 << 40;

/// The tables of one second stage.
pub struct P2m<F: EntryFormat> {
    format: F,
    memory: Arc<dyn MachineMemory>,
    frames: Arc<Frames>,
    root: Mfn,
    tables: u64,
    limit: u64,
    recent: Recent,
}

impl<F: EntryFormat> P2m<F> {
    /// A second stage that maps nothing. Its tables come from `frames` and go back there when it is dropped.
    ///
    /// # Errors
    /// When there is no frame for the root.
    pub fn new(format: F, memory: Arc<dyn MachineMemory>, frames: Arc<Frames>) -> Result<Self, OutOfFrames> {
        let root = frames.allocate(Owner::Hypervisor, Order::FRAME)?.keep();
        let made = Self {
            format,
            memory,
            frames,
            root,
            tables: 1,
            limit: u64::MAX,
            recent: Recent::new(),
        };
        made.fill(root, ROOT, |_| Entry::Absent);
        Ok(made)
    }

    fn apply(&mut self, change: &Change) -> Result<Flush, MapError> {
        self.recent.forget();
        let root = Table::root(self.root);
        self.prepare(root, change)?;
        Ok(self.commit(root, change))
    }

    /// Makes every table that the change needs. No translation differs afterwards.
    fn prepare(&mut self, table: Table, change: &Change) -> Result<(), MapError> {
        if table.level <= change.level {
            return Ok(());
        }
        for index in table.overlap(change) {
            let below = match self.entry(table, index) {
                Entry::Table(mfn) => mfn,
                old if change.holds(table.gfn(index), old) => continue,
                old => {
                    let mfn = self.new_table(table.level, old)?;
                    self.set(table, index, Entry::Table(mfn));
                    mfn
                }
            };
            self.prepare(table.below(index, below), change)?;
        }
        Ok(())
    }

    /// Writes the leaves. Every table it meets is filled; none is made or replaced.
    fn commit(&self, table: Table, change: &Change) -> Flush {
        let mut flush = Flush::None;
        for index in table.overlap(change) {
            let old = self.entry(table, index);
            if let Entry::Table(mfn) = old {
                flush = flush.and(self.commit(table.below(index, mfn), change));
                continue;
            }
            // Above the block's level, `prepare` left no other entry than tables and what holds already.
            if change.holds(table.gfn(index), old) || table.level > change.level {
                continue;
            }
            let new = change.entry(table.gfn(index));
            self.set(table, index, new);
            if takes_away(old, new) {
                flush = Flush::Domain;
            }
        }
        flush
    }

    /// A complete table that says the same as `entry`, one level below it.
    fn new_table(&mut self, level: Level, entry: Entry) -> Result<Mfn, OutOfFrames> {
        if self.tables >= self.limit {
            return Err(OutOfFrames { order: Order::FRAME });
        }
        let mfn = self.frames.allocate(Owner::Hypervisor, Order::FRAME)?.keep();
        self.tables += 1;
        let below = level.below();
        self.fill(mfn, below, |index| match entry {
            Entry::Leaf(target) => Entry::Leaf(target.further(index << below.gfn_shift())),
            _ => Entry::Absent,
        });
        Ok(mfn)
    }

    fn fill(&self, table: Mfn, level: Level, entry: impl Fn(u64) -> Entry) {
        // In pieces, for the sake of the stack and of the calls.
        const PIECE: usize = FRAME_BYTES / 16;
        let mut at = Table::at(table, 0);
        let mut indices = 0..ENTRIES;
        while !indices.is_empty() {
            let mut piece = [0; PIECE];
            for (word, index) in piece.as_chunks_mut::<8>().0.iter_mut().zip(&mut indices) {
                *word = self.format.encode(entry(index), level).to_le_bytes();
            }
            self.memory.write(at, &piece);
            at = MachineAddr::new(at.raw() + PIECE as u64);
        }
    }

    fn entry(&self, table: Table, index: u64) -> Entry {
        let mut bytes = [0; 8];
        self.memory.read(Table::at(table.mfn, index), &mut bytes);
        self.format.decode(u64::from_le_bytes(bytes), table.level)
    }

    /// One aligned 64-bit write: the only way a linked table ever changes.
    fn set(&self, table: Table, index: u64, entry: Entry) {
        let bits = self.format.encode(entry, table.level);
        self.memory
            .write(Table::at(table.mfn, index), &bits.to_le_bytes());
    }

    /// What the tables say of a frame.
    fn look_up(&self, gfn: Gfn) -> Option<Leaf> {
        if gfn.raw() >= GFN_LIMIT {
            return None;
        }
        let mut table = Table::root(self.root);
        loop {
            let index = (gfn.raw() - table.base) >> table.level.gfn_shift();
            match self.entry(table, index) {
                Entry::Absent => return None,
                Entry::Table(mfn) => table = table.below(index, mfn),
                Entry::Leaf(target) => {
                    let target = target.further(gfn.raw() - table.gfn(index));
                    let order = table.level.order();
                    return Some(Leaf { target, order });
                }
            }
        }
    }

    /// Calls `each` with the entries of a table from index `first` on, for as long as it says `true`; whether it did to
    /// the last.
    fn all_entries(&self, table: Table, first: u64, mut each: impl FnMut(u64, Entry) -> bool) -> bool {
        // In pieces: most entries of most tables are absent, and a call for each of them adds up.
        const PIECE: usize = FRAME_BYTES / 16;
        let mut indices = first..ENTRIES;
        while !indices.is_empty() {
            let mut piece = [0; PIECE];
            let left = usize::try_from(indices.end - indices.start).unwrap_or(0) * 8;
            let piece = piece.get_mut(..left.min(PIECE)).unwrap_or_default();
            self.memory.read(Table::at(table.mfn, indices.start), piece);
            for (word, index) in piece.as_chunks::<8>().0.iter().zip(&mut indices) {
                if !each(index, self.format.decode(u64::from_le_bytes(*word), table.level)) {
                    return false;
                }
            }
        }
        true
    }

    fn each_leaf(&self, table: Table, from: u64, each: &mut dyn FnMut(Gfn, Leaf) -> bool) -> bool {
        let first = from.saturating_sub(table.base) >> table.level.gfn_shift();
        self.all_entries(table, first, |index, entry| match entry {
            Entry::Absent => true,
            Entry::Table(mfn) => self.each_leaf(table.below(index, mfn), from, each),
            Entry::Leaf(target) => {
                let order = table.level.order();
                each(Gfn::new(table.gfn(index)), Leaf { target, order })
            }
        })
    }

    fn release_tables(&self, table: Table) {
        if table.level > Level(0) {
            self.all_entries(table, 0, |index, entry| {
                if let Entry::Table(mfn) = entry {
                    self.release_tables(table.below(index, mfn));
                }
                true
            });
        }
        self.frames.release(table.mfn);
    }
}

impl<F: EntryFormat> SecondStage for P2m<F> {
    fn root(&self) -> Mfn {
        self.root
    }

    fn translate(&self, gfn: Gfn) -> Option<Leaf> {
        if let Some(leaf) = self.recent.find(gfn) {
            return Some(leaf);
        }
        let leaf = self.look_up(gfn)?;
        self.recent.note(gfn, leaf);
        Some(leaf)
    }

    fn map(&mut self, gfn: Gfn, order: Order, to: Target) -> Result<Flush, MapError> {
        if !to.mfn.raw().is_multiple_of(order.frames()) {
            return Err(MapError::Misaligned);
        }
        if to.mfn.raw() >= MFN_LIMIT {
            return Err(MapError::OutOfRange);
        }
        let change = Change::new(gfn, order, self.format.highest_leaf(), Some(to))?;
        self.apply(&change)
    }

    fn unmap(&mut self, gfn: Gfn, order: Order) -> Result<Flush, MapError> {
        let change = Change::new(gfn, order, self.format.highest_leaf(), None)?;
        self.apply(&change)
    }

    fn leaves(&self, from: Gfn, each: &mut dyn FnMut(Gfn, Leaf) -> bool) {
        if from.raw() < GFN_LIMIT {
            self.each_leaf(Table::root(self.root), from.raw(), each);
        }
    }

    fn table_frames(&self) -> u64 {
        self.tables
    }

    fn limit_tables(&mut self, frames: u64) {
        self.limit = frames;
    }
}

impl<F: EntryFormat> Drop for P2m<F> {
    fn drop(&mut self) {
        self.release_tables(Table::root(self.root));
    }
}

/// Whether a processor that still goes by the old entry could do what the new one does not mean.
///
/// The hardware caches no absence, and an access that a cached entry refuses is looked up anew before it becomes an
/// exit or, where the processor does not look, is tried again by whoever serves that exit (SDM vol. 3 §29.4.2, §29.4.3.1;
/// APM vol. 2 §15.25.6). So only what is taken away is owed.
fn takes_away(old: Entry, new: Entry) -> bool {
    match (old, new) {
        (Entry::Leaf(old), Entry::Leaf(new)) => {
            (old.mfn, old.kind) != (new.mfn, new.kind) || !new.rights.include(old.rights)
        }
        (old, _) => old != Entry::Absent,
    }
}

/// What is asked for: a block of guest frames, and what stands behind it afterwards.
struct Change {
    first: u64,
    end: u64,
    /// The level whose entries the block consists of.
    level: Level,
    to: Option<Target>,
}

impl Change {
    fn new(gfn: Gfn, order: Order, highest: Level, to: Option<Target>) -> Result<Self, MapError> {
        if !gfn.raw().is_multiple_of(order.frames()) {
            return Err(MapError::Misaligned);
        }
        if gfn.raw() >= GFN_LIMIT || order > Order::HUGE {
            return Err(MapError::OutOfRange);
        }
        let level = match order {
            Order::HUGE => Level(2),
            order if order >= Order::LARGE => Level(1),
            _ => Level(0),
        };
        Ok(Self {
            first: gfn.raw(),
            // No overflow: an aligned block below the limit ends at or below it.
            end: gfn.raw() + order.frames(),
            level: level.min(highest),
            to,
        })
    }

    /// Whether an entry that begins at `gfn`, and may cover more than the block, already says what is asked for.
    fn holds(&self, gfn: u64, entry: Entry) -> bool {
        let common = gfn.max(self.first);
        match (self.to, entry) {
            (None, entry) => entry == Entry::Absent,
            (Some(to), Entry::Leaf(target)) => {
                target.further(common - gfn) == to.further(common - self.first)
            }
            (Some(_), _) => false,
        }
    }

    /// The new entry of a table of the block's level or below, where entries lie within the block.
    fn entry(&self, gfn: u64) -> Entry {
        self.to.map_or(Entry::Absent, |to| {
            Entry::Leaf(to.further(gfn.saturating_sub(self.first)))
        })
    }
}

/// A table in its place in the tree.
#[derive(Clone, Copy)]
struct Table {
    mfn: Mfn,
    level: Level,
    /// The first guest frame it translates.
    base: u64,
}

impl Table {
    const fn root(mfn: Mfn) -> Self {
        Self {
            mfn,
            level: ROOT,
            base: 0,
        }
    }

    const fn below(self, index: u64, mfn: Mfn) -> Self {
        Self {
            mfn,
            level: self.level.below(),
            base: self.gfn(index),
        }
    }

    /// The first guest frame of an entry.
    const fn gfn(self, index: u64) -> u64 {
        self.base + (index << self.level.gfn_shift())
    }

    /// Where an entry lies. The frame allocator gives no frame beyond what has an address.
    const fn at(table: Mfn, index: u64) -> MachineAddr {
        MachineAddr::new((table.raw() << crate::number::FRAME_SHIFT) | (index * 8))
    }

    /// The entries that the change concerns.
    fn overlap(self, change: &Change) -> core::ops::Range<u64> {
        let shift = self.level.gfn_shift();
        let first = change.first.saturating_sub(self.base) >> shift;
        let end = change.end.saturating_sub(self.base).div_ceil(1 << shift);
        first..end.min(ENTRIES)
    }
}

impl Level {
    /// The next lower level. Level 0 has none; it stands for itself.
    const fn below(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// log2 of the guest frames that one entry covers.
    const fn gfn_shift(self) -> u32 {
        INDEX_BITS * self.0 as u32
    }

    /// The size of a leaf. The root has none.
    const fn order(self) -> Order {
        match self.0 {
            0 => Order::FRAME,
            1 => Order::LARGE,
            _ => Order::HUGE,
        }
    }
}

impl Target {
    /// The same, `frames` further on.
    const fn further(self, frames: u64) -> Self {
        Self {
            mfn: Mfn::new(self.mfn.raw() + frames),
            ..self
        }
    }
}
