//! A window of guest frames, each of them looked at after each change: against a plain map of what should be there.
//!
//! The window straddles a boundary of 1 GiB, so that changes of every size split what a larger one left behind, and
//! fill again what smaller ones split. Each change is tried with one request for a frame granted more than before,
//! until it succeeds: a change that fails must leave each frame of the window as it was, and owes nothing.

use std::collections::BTreeMap;

use super::{KINDS, RIGHTS, World, all_leaves, apply, further};
use crate::memory::room::starve;
use crate::number::{Gfn, Mfn, Order};
use crate::p2m::walker::P2m;
use crate::p2m::{EntryFormat, Flush, Kind, Leaf, MapError, Rights, SecondStage, Target};

/// Two blocks of 2 MiB on either side of the end of the first gibibyte.
const WINDOW: core::ops::Range<u64> = (1 << 18) - (2 << 9)..(1 << 18) + (2 << 9);
/// What lies before and behind the window is changed by blocks of 1 GiB alone, so one frame speaks for all there.
const OUTSIDE: [u64; 2] = [0, (2 << 18) - 1];
/// Changes in a sequence.
const CHANGES: usize = 80;

/// What each guest frame of the window maps to.
type Map = BTreeMap<u64, Target>;

/// The whole window agrees with the map after every change, failed ones included; a flush is owed exactly when
/// something is taken away from the guest; no frame is lost.
pub fn every_frame_agrees_with_the_map<F: EntryFormat + Clone>(format: &F, seed: u64) {
    let (mut world, mut stage) = World::new(format, seed + 3000, 4096);
    let mut map = Map::new();
    let mut failures = 0;
    for step in 0..CHANGES {
        let (gfn, order, to) = change(&mut world, &map);
        let owed = takes_something_away(&map, gfn, order, to);
        let flush = loop_until_fed(|granted| {
            starve::all_after(granted);
            let answer = apply(&mut stage, (gfn, order, to));
            starve::feed();
            if answer == Err(MapError::OutOfFrames) {
                failures += 1;
                assert_eq!(in_window(&stage), map, "seed {seed} step {step}: a failure shows");
                return None;
            }
            Some(answer.unwrap())
        });
        assert_eq!(flush == Flush::Domain, owed, "seed {seed} step {step}");
        for gfn in touched(gfn, order) {
            map.remove(&gfn);
        }
        if let Some(to) = to {
            map.extend(touched(gfn, order).map(|at| (at, further(to, at - gfn))));
        }
        assert_eq!(in_window(&stage), map, "seed {seed} step {step}");
        if step % 8 == 0 {
            for gfn in WINDOW.chain(OUTSIDE) {
                let leaf = world.look(&stage, gfn);
                assert_eq!(leaf, stage.translate(Gfn::new(gfn)));
                assert_eq!(leaf.map(|leaf| leaf.target), map.get(&gfn).copied());
            }
        }
    }
    assert!(failures > 5, "frames were hardly ever short");
    assert_eq!(stage.table_frames(), world.free - world.frames.free());
    drop(stage);
    assert_eq!(world.frames.free(), world.free, "seed {seed}: a table was lost");
}

/// A large leaf that is split by a small change, and asked for again: every frame of it maps as before the split.
pub fn what_was_split_can_be_whole_again<F: EntryFormat + Clone>(format: &F) {
    for order in [Order::LARGE, Order::HUGE] {
        let (world, mut stage) = World::new(format, 0, 4096);
        let gfn = Gfn::new(order.frames());
        let whole = Target {
            mfn: Mfn::new(order.frames() * 3),
            rights: Rights::ReadWriteExecute,
            kind: Kind::Ram,
        };
        assert_eq!(stage.map(gfn, order, whole), Ok(Flush::None));
        let hole = Gfn::new(gfn.raw() + 5);
        assert_eq!(stage.unmap(hole, Order::FRAME), Ok(Flush::Domain));
        assert_eq!(stage.translate(hole), None);
        assert_eq!(
            stage.map(gfn, order, whole),
            Ok(Flush::None),
            "the hole is filled, no more"
        );
        for frame in [0, 4, 5, 6, 511, order.frames() - 1] {
            let leaf = world.look(&stage, gfn.raw() + frame);
            assert_eq!(leaf.map(|leaf| leaf.target), Some(further(whole, frame)));
        }
        assert_eq!(stage.unmap(gfn, order), Ok(Flush::Domain));
        assert_eq!(all_leaves(&stage).len(), 0);
    }
}

fn loop_until_fed<R>(mut attempt: impl FnMut(u32) -> Option<R>) -> R {
    (0..).find_map(&mut attempt).unwrap()
}

/// The frames of a block that are looked at.
fn touched(gfn: u64, order: Order) -> impl Iterator<Item = u64> {
    let block = gfn..gfn + order.frames();
    let within = gfn.max(WINDOW.start)..block.end.min(WINDOW.end);
    within.chain(OUTSIDE.into_iter().filter(move |at| block.contains(at)))
}

/// An aligned block that touches the window: mapped anew, mapped again, with other rights, or taken away.
fn change<F: EntryFormat + Clone>(world: &mut World<F>, map: &Map) -> (u64, Order, Option<Target>) {
    let random = &mut world.random;
    let order = Order::new(*random.pick(&[0, 0, 0, 1, 3, 8, 9, 9, 9, 10, 18])).unwrap();
    let at = WINDOW.start + random.below(WINDOW.end - WINDOW.start);
    let gfn = at & !(order.frames() - 1);
    let fresh = Target {
        mfn: Mfn::new(random.below(1 << 30) & !(order.frames() - 1)),
        rights: *random.pick(&RIGHTS),
        kind: *random.pick(&KINDS),
    };
    let there = map.get(&gfn.max(WINDOW.start)).copied();
    let there = there.filter(|there| there.mfn.raw().is_multiple_of(order.frames()));
    let to = match random.below(8) {
        0 | 1 => None,
        2 => Some(there.unwrap_or(fresh)),
        3..=5 => Some(there.map_or(fresh, |there| Target {
            rights: fresh.rights,
            ..there
        })),
        _ => Some(fresh),
    };
    (gfn, order, to)
}

/// Whether the guest could do something before that it cannot do, or that means something else, afterwards.
fn takes_something_away(map: &Map, gfn: u64, order: Order, to: Option<Target>) -> bool {
    touched(gfn, order).any(|at| {
        let new = to.map(|to| further(to, at - gfn));
        map.get(&at).is_some_and(|old| {
            new.is_none_or(|new| {
                (new.mfn, new.kind) != (old.mfn, old.kind) || !new.rights.include(old.rights)
            })
        })
    })
}

fn in_window<F: EntryFormat>(stage: &P2m<F>) -> Map {
    let mut map = Map::new();
    stage.leaves(Gfn::new(WINDOW.start), &mut |gfn, Leaf { target, order }| {
        map.extend(touched(gfn.raw(), order).map(|at| (at, further(target, at - gfn.raw()))));
        gfn.raw() < WINDOW.end
    });
    for at in OUTSIDE {
        map.extend(stage.translate(Gfn::new(at)).map(|leaf| (at, leaf.target)));
    }
    map
}
