//! The tests that every [`EntryFormat`] and the walker must pass together, callable from the crate that has the format.
//!
//! The hardware is played by [`hardware`], which knows nothing of the walker. The truth is a [`Model`]: the list of
//! what was asked for, read backwards.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "it is only ever used by tests, which may fail loudly"
)]

mod every_frame;

pub use every_frame::{every_frame_agrees_with_the_map, what_was_split_can_be_whole_again};

use alloc::sync::Arc;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use crate::memory::frames::{Frames, Owner};
use crate::number::{Gfn, Mfn, Order};
use crate::p2m::walker::P2m;
use crate::p2m::{Entry, EntryFormat, Flush, Kind, Leaf, Level, MapError, Rights, SecondStage, Target};
use crate::testing::{FlatMemory, History, Random};

const RIGHTS: [Rights; 4] = [
    Rights::Read,
    Rights::ReadExecute,
    Rights::ReadWrite,
    Rights::ReadWriteExecute,
];
const KINDS: [Kind; 5] = [Kind::Ram, Kind::Special, Kind::Grant, Kind::Foreign, Kind::Device];
/// Guest frames the tests play in: 16 GiB, which is 16 entries of level 2.
const REACH: u64 = 16 << 18;

/// Everything below, for one format.
pub fn all<F: EntryFormat + Clone>(format: F) {
    every_entry_survives_its_encoding(&format);
    for seed in 0..4 {
        random_changes_agree_with_the_model(&format, seed);
        each_instant_shows_the_old_or_the_new_mapping(&format, seed);
        without_frames_nothing_changes_for_the_guest(&format, seed);
        every_frame_agrees_with_the_map(&format, seed);
    }
    what_was_split_can_be_whole_again(&format);
    a_change_inside_what_already_holds_splits_nothing(&format);
    blocks_that_cannot_be_are_refused(&format);
    tables_stay_within_their_limit(&format);
}

/// What was asked for, in order; the last word about a guest frame counts.
#[derive(Default)]
struct Model(Vec<(u64, u64, Option<Target>)>);

impl Model {
    fn at(&self, gfn: u64) -> Option<Target> {
        let covers =
            |(first, frames, _): &&(u64, u64, Option<Target>)| (*first..first + frames).contains(&gfn);
        let (first, _, to) = self.0.iter().rev().find(covers)?;
        to.map(|to| further(to, gfn - first))
    }
}

fn further(target: Target, frames: u64) -> Target {
    let mfn = Mfn::new(target.mfn.raw() + frames);
    Target { mfn, ..target }
}

struct World<F: EntryFormat> {
    format: F,
    memory: Arc<History>,
    frames: Arc<Frames>,
    random: Random,
    free: u64,
}

impl<F: EntryFormat + Clone> World<F> {
    fn new(format: &F, seed: u64, frames: u64) -> (Self, P2m<F>) {
        let memory = Arc::new(History::new(FlatMemory::new(frames << 12)));
        let ranges = [Mfn::new(1)..Mfn::new(frames)];
        let frames = Arc::new(Frames::new(memory.clone(), &ranges).unwrap());
        let world = Self {
            format: format.clone(),
            memory: memory.clone(),
            free: frames.free(),
            frames: frames.clone(),
            random: Random::new(seed),
        };
        let stage = P2m::new(format.clone(), memory, frames).unwrap();
        (world, stage)
    }

    /// An aligned block and what to put there. Often close to, or the same as, something that is there already.
    fn change(&mut self, model: &Model) -> (u64, Order, Option<Target>) {
        let order = Order::new(*self.random.pick(&[0, 0, 0, 1, 3, 8, 9, 9, 10, 12, 17, 18])).unwrap();
        let near = match self.random.below(3) {
            0 => self.random.below(REACH),
            1 => self.random.below(1 << 10),
            _ => model
                .0
                .last()
                .map_or(0, |(first, frames, _)| first + self.random.below(frames + 1)),
        };
        let gfn = near.min(REACH - 1) & !(order.frames() - 1);
        let fresh = Target {
            mfn: Mfn::new(self.random.below(1 << 40) & !(order.frames() - 1)),
            rights: *self.random.pick(&RIGHTS),
            kind: *self.random.pick(&KINDS),
        };
        let aligned = |target: &Target| target.mfn.raw().is_multiple_of(order.frames());
        let to = match self.random.below(8) {
            0 | 1 => None,
            2 => Some(model.at(gfn).filter(aligned).unwrap_or(fresh)),
            3 => Some(model.at(gfn & !0x3ffff).filter(aligned).unwrap_or(fresh)),
            _ => Some(fresh),
        };
        (gfn, order, to)
    }

    /// Guest frames worth a look after a change: its ends, its middle, its neighbours, and some others.
    fn probes(&mut self, gfn: u64, order: Order) -> Vec<u64> {
        let end = gfn + order.frames();
        let mut probes = vec![
            gfn,
            end - 1,
            gfn + order.frames() / 2,
            end,
            gfn & !0x1ff,
            gfn & !0x3ffff,
        ];
        probes.extend(gfn.checked_sub(1));
        for _ in 0..3 {
            probes.push(gfn + self.random.below(order.frames()));
            probes.push(self.random.below(REACH));
        }
        probes
    }

    fn look(&self, stage: &P2m<F>, gfn: u64) -> Option<Leaf> {
        hardware(&self.memory, &self.format, stage.root(), gfn)
    }
}

/// Walks as a processor does: from the root, by bits.
fn hardware<F: EntryFormat>(memory: &History, format: &F, root: Mfn, gfn: u64) -> Option<Leaf> {
    let mut table = root.raw();
    for level in (0..4_u8).rev() {
        let index = gfn >> (9 * level) & 0x1ff;
        let bits = memory.word(table * 4096 + index * 8);
        match format.decode(bits, Level(level)) {
            Entry::Absent => return None,
            Entry::Table(below) => table = below.raw(),
            Entry::Leaf(target) => {
                assert!(Level(level) <= format.highest_leaf());
                let target = further(target, gfn & ((1 << (9 * level)) - 1));
                let order = Order::new(9 * level).unwrap();
                return Some(Leaf { target, order });
            }
        }
    }
    panic!("a table below level 0");
}

fn apply<F: EntryFormat>(
    stage: &mut P2m<F>,
    (gfn, order, to): (u64, Order, Option<Target>),
) -> Result<Flush, MapError> {
    match to {
        Some(to) => stage.map(Gfn::new(gfn), order, to),
        None => stage.unmap(Gfn::new(gfn), order),
    }
}

fn all_leaves<F: EntryFormat>(stage: &P2m<F>) -> BTreeMap<u64, Leaf> {
    let mut all = BTreeMap::new();
    stage.leaves(Gfn::new(0), &mut |gfn, leaf| {
        all.insert(gfn.raw(), leaf).is_none()
    });
    all
}

/// Whether some guest frame of the block is mapped, and to something else, or with more rights, than it shall be.
fn something_is_taken_away<F: EntryFormat>(
    stage: &P2m<F>,
    (gfn, order, to): (u64, Order, Option<Target>),
) -> bool {
    let mut found = false;
    stage.leaves(Gfn::new(gfn), &mut |first, leaf| {
        let common = gfn.max(first.raw());
        let old = further(leaf.target, common - first.raw());
        let same = |to| {
            let new = further(to, common - gfn);
            (new.mfn, new.kind) == (old.mfn, old.kind) && new.rights.include(old.rights)
        };
        let within = first.raw() < gfn + order.frames();
        found |= within && !to.is_some_and(same);
        within && !found
    });
    found
}

/// `decode(encode(entry)) == entry`, at each level, for each kind of entry, and no bits are those of another entry.
pub fn every_entry_survives_its_encoding<F: EntryFormat>(format: &F) {
    for level in (0..4).map(Level) {
        let mut entries = vec![Entry::Absent];
        for order in (0..40).step_by(3) {
            let mfn = Mfn::new(1 << order);
            if level > Level(0) {
                entries.push(Entry::Table(mfn));
            }
            if level <= format.highest_leaf() && u32::from(level.0) * 9 <= order {
                entries.extend(
                    RIGHTS
                        .iter()
                        .flat_map(|&rights| KINDS.map(|kind| Entry::Leaf(Target { mfn, rights, kind }))),
                );
            }
        }
        let mut bits: Vec<u64> = entries.iter().map(|entry| format.encode(*entry, level)).collect();
        for (entry, bits) in entries.iter().zip(&bits) {
            assert_eq!(format.decode(*bits, level), *entry, "{bits:#x} at {level:?}");
        }
        bits.sort_unstable();
        bits.dedup();
        assert_eq!(
            bits.len(),
            entries.len(),
            "two entries share their bits at {level:?}"
        );
    }
}

/// A long random sequence: every probe agrees with the model, every flush is owed exactly when it is claimed, the
/// list of leaves is in order and complete, and dropping the second stage gives each frame back.
pub fn random_changes_agree_with_the_model<F: EntryFormat + Clone>(format: &F, seed: u64) {
    let (mut world, mut stage) = World::new(format, seed, 16384);
    let mut model = Model::default();
    for step in 0..300 {
        let (gfn, order, to) = world.change(&model);
        let owed = something_is_taken_away(&stage, (gfn, order, to));
        let flush = apply(&mut stage, (gfn, order, to)).unwrap();
        assert_eq!(flush == Flush::Domain, owed, "seed {seed} step {step}");
        model.0.push((gfn, order.frames(), to));
        for probe in world.probes(gfn, order) {
            let seen = world.look(&stage, probe);
            assert_eq!(seen, stage.translate(Gfn::new(probe)));
            let target = seen.map(|leaf| leaf.target);
            assert_eq!(target, model.at(probe), "seed {seed} step {step} gfn {probe:#x}");
        }
    }
    let leaves = all_leaves(&stage);
    let mut end = 0;
    for (first, leaf) in &leaves {
        assert!(*first >= end, "leaves overlap");
        end = first + leaf.order.frames();
        for gfn in [*first, end - 1] {
            assert_eq!(model.at(gfn), Some(further(leaf.target, gfn - first)));
        }
    }
    let from = world.random.below(REACH);
    let mut first = None;
    stage.leaves(Gfn::new(from), &mut |gfn, _| {
        first = Some(gfn.raw());
        false
    });
    let reaching = leaves
        .iter()
        .find(|(first, leaf)| **first + leaf.order.frames() > from);
    assert_eq!(first, reaching.map(|(first, _)| *first));
    assert_eq!(stage.table_frames(), world.free - world.frames.free());
    drop(stage);
    assert_eq!(world.frames.free(), world.free, "seed {seed}: a table was lost");
}

/// Takes each change back write by write: at each instant, a walk gives what was there before or what is there after.
pub fn each_instant_shows_the_old_or_the_new_mapping<F: EntryFormat + Clone>(format: &F, seed: u64) {
    let (mut world, mut stage) = World::new(format, seed + 1000, 16384);
    let mut model = Model::default();
    for step in 0..40 {
        let (gfn, order, to) = world.change(&model);
        // Filling a gibibyte of small pages is the same write over and over.
        let order = order.min(Order::new(12).unwrap());
        let probes = world.probes(gfn, order);
        let look = |world: &World<F>, stage: &P2m<F>| -> Vec<Option<Target>> {
            let target = |probe: &u64| world.look(stage, *probe).map(|leaf| leaf.target);
            probes.iter().map(target).collect()
        };
        let old = look(&world, &stage);
        world.memory.record();
        let _ = apply(&mut stage, (gfn, order, to)).unwrap();
        let writes = world.memory.stop();
        model.0.push((gfn, order.frames(), to));
        let new = look(&world, &stage);
        for write in writes.iter().rev() {
            write.undo(&world.memory);
            for ((seen, old), new) in look(&world, &stage).iter().zip(&old).zip(&new) {
                assert!(seen == old || seen == new, "seed {seed} step {step}: {seen:?}");
            }
        }
        assert_eq!(look(&world, &stage), old);
        writes.iter().for_each(|write| write.redo(&world.memory));
        assert_eq!(look(&world, &stage), new);
    }
}

/// With n frames left, for each n: a change either succeeds or leaves every translation as it was.
pub fn without_frames_nothing_changes_for_the_guest<F: EntryFormat + Clone>(format: &F, seed: u64) {
    let (mut world, mut stage) = World::new(format, seed + 2000, 512);
    let mut model = Model::default();
    let mut failures = 0;
    for _ in 0..60 {
        let (gfn, order, to) = world.change(&model);
        let order = order.min(Order::new(10).unwrap());
        for left in 0..512 {
            let mut taken = Vec::new();
            while world.frames.free() > left {
                let block = world.frames.allocate(Owner::Hypervisor, Order::FRAME);
                taken.push(block.unwrap().keep());
            }
            let answer = apply(&mut stage, (gfn, order, to));
            taken.iter().for_each(|mfn| world.frames.release(*mfn));
            if answer.is_ok() {
                model.0.push((gfn, order.frames(), to));
                break;
            }
            assert_eq!(answer, Err(MapError::OutOfFrames));
            failures += 1;
            for probe in world.probes(gfn, order) {
                assert_eq!(world.look(&stage, probe).map(|leaf| leaf.target), model.at(probe));
            }
        }
        for probe in world.probes(gfn, order) {
            assert_eq!(world.look(&stage, probe).map(|leaf| leaf.target), model.at(probe));
        }
    }
    assert!(failures > 10, "the frames were never short");
}

/// Mapping what is mapped already, by a larger leaf, costs neither a table nor a flush.
pub fn a_change_inside_what_already_holds_splits_nothing<F: EntryFormat + Clone>(format: &F) {
    let (_, mut stage) = World::new(format, 0, 1024);
    let whole = Target {
        mfn: Mfn::new(0x40000),
        rights: Rights::ReadWriteExecute,
        kind: Kind::Ram,
    };
    assert_eq!(stage.map(Gfn::new(0x200), Order::LARGE, whole), Ok(Flush::None));
    let tables = stage.table_frames();
    assert_eq!(
        stage.map(Gfn::new(0x205), Order::FRAME, further(whole, 5)),
        Ok(Flush::None)
    );
    assert_eq!(stage.unmap(Gfn::new(0x8000), Order::FRAME), Ok(Flush::None));
    assert_eq!(stage.table_frames(), tables);
    assert_eq!(stage.map(Gfn::new(0x205), Order::FRAME, whole), Ok(Flush::Domain));
    let left = stage.translate(Gfn::new(0x206)).map(|leaf| leaf.target);
    assert_eq!(left, Some(further(whole, 6)));
}

/// Misaligned blocks, blocks beyond four levels, and blocks larger than any leaf.
pub fn blocks_that_cannot_be_are_refused<F: EntryFormat + Clone>(format: &F) {
    let (_, mut stage) = World::new(format, 0, 1024);
    let target = |mfn| Target {
        mfn: Mfn::new(mfn),
        rights: Rights::Read,
        kind: Kind::Ram,
    };
    let order = |raw| Order::new(raw).unwrap();
    let misaligned = Err(MapError::Misaligned);
    let beyond = Err(MapError::OutOfRange);
    assert_eq!(stage.map(Gfn::new(1), order(1), target(2)), misaligned);
    assert_eq!(stage.map(Gfn::new(2), order(1), target(1)), misaligned);
    assert_eq!(stage.unmap(Gfn::new(0x100), Order::LARGE), misaligned);
    assert_eq!(stage.map(Gfn::new(1 << 36), Order::FRAME, target(1)), beyond);
    assert_eq!(stage.unmap(Gfn::new(u64::MAX), Order::FRAME), beyond);
    assert_eq!(stage.unmap(Gfn::new(0), order(19)), beyond);
    assert_eq!(stage.map(Gfn::new(0), Order::FRAME, target(1 << 40)), beyond);
    assert_eq!(stage.translate(Gfn::new(1 << 36)), None);
    let last = Gfn::new((1 << 36) - 1);
    assert_eq!(
        stage.map(last, Order::FRAME, target((1 << 40) - 1)),
        Ok(Flush::None)
    );
    assert!(stage.translate(last).is_some());
}

/// A guest that scatters its mappings runs into its own limit, not into the machine's.
pub fn tables_stay_within_their_limit<F: EntryFormat + Clone>(format: &F) {
    let (world, mut stage) = World::new(format, 0, 1024);
    let target = Target {
        mfn: Mfn::new(7),
        rights: Rights::Read,
        kind: Kind::Special,
    };
    stage.limit_tables(9);
    let made = (0..512).take_while(|&n| stage.map(Gfn::new(n << 18), Order::FRAME, target).is_ok());
    let made = made.count();
    assert!((1..6).contains(&made), "{made}");
    assert!(stage.table_frames() <= 9);
    assert!(
        stage.map(Gfn::new(1), Order::FRAME, target).is_ok(),
        "what needs no table works"
    );
    assert_eq!(world.free - world.frames.free(), stage.table_frames());
}
