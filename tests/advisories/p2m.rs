//! The second stage: what is behind guest frames, and when a frame that is no longer there is free.

use std::cell::RefCell;
use std::sync::Barrier;

use xenvisor::abi::grant_table::{GNTTABOP_unmap_grant_ref, UnmapGrantRef};
use xenvisor::abi::memory::{AddToPhysmap, XENMAPSPACE_gmfn_range, XENMEM_add_to_physmap};
use xenvisor::abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op, HYPERVISOR_memory_op};
use xenvisor::model::domain::Domain;
use xenvisor::model::memory::leaving::Leaving;
use xenvisor::model::number::{Gfn, Order};
use xenvisor::prelude::*;
use xenvisor::sim::starve;

use crate::world::{ARGUMENTS, FAR, FREE, World};

/// Takes frames from a domain, so that it may have as many elsewhere.
fn make_room(domain: &Domain) {
    for frame in 0..Order::LARGE.frames() - 1 {
        let gfn = Gfn::new(FREE + frame);
        domain
            .change(|leaving| domain.memory.take(gfn, leaving).map(drop))
            .unwrap();
    }
}

#[test]
fn xsa_321_328_346_480_a_frame_is_free_only_after_the_flush_of_what_could_reach_it() {
    let world = World::new(1, XenDefault::default());
    let domain = world.domain(1);
    let frames = domain.memory.frames();
    // The first one may split a larger leaf, which takes tables.
    domain
        .change(|leaving| domain.memory.take(Gfn::new(FREE + 100), leaving).map(drop))
        .unwrap();
    let at_flush = RefCell::new(Vec::new());
    let flush = |owed| at_flush.borrow_mut().push((owed, frames.free()));
    let before = frames.free();
    {
        let mut leaving = Leaving::new(frames, &flush);
        for frame in 0..70 {
            leaving.make_room();
            domain.memory.take(Gfn::new(FREE + frame), &mut leaving).unwrap();
            // Until it is full, nothing of what has left is free.
            assert!(frames.free() - before <= frame / 32 * 32, "after {frame}");
        }
    }
    assert_eq!(frames.free() - before, 70);
    let at_flush = at_flush.into_inner();
    assert!(at_flush.len() >= 3, "{at_flush:?}");
    for (n, (owed, free)) in at_flush.iter().enumerate() {
        let earlier = n as u64 * 32;
        assert_eq!(
            free - before,
            earlier,
            "{owed:?}: a frame was free before its flush"
        );
    }
}

#[test]
fn xsa_222_247_389_a_large_page_that_cannot_be_split_stays_whole() {
    let world = World::new(1, XenDefault::default());
    let domain = world.domain(1);
    let large = Gfn::new(FAR);
    make_room(&domain);
    domain
        .change(|leaving| domain.memory.populate(large, Order::LARGE, leaving).map(drop))
        .unwrap();
    let whole = world.state();
    for granted in 0.. {
        let middle = large.checked_add(100).unwrap();
        let taken = starve::after(granted, || {
            domain.change(|leaving| domain.memory.take(middle, leaving).map(drop))
        });
        if taken.is_ok() {
            assert!(
                granted > 0,
                "splitting takes a table, and there was no memory for one"
            );
            break;
        }
        assert_eq!(world.state(), whole, "after {granted} requests");
    }
    let stage = domain.memory.stage().lock();
    let there = |frame| stage.translate(large.checked_add(frame).unwrap()).is_some();
    assert!(
        there(99) && !there(100) && there(101),
        "the one frame is gone, and no other"
    );
}

#[test]
fn xsa_27_89_125_a_long_list_is_served_in_turns_and_others_run_between() {
    let world = World::new(1, XenDefault::default());
    let move_away = AddToPhysmap {
        domid: DOMID_SELF,
        size: 200,
        space: XENMAPSPACE_gmfn_range,
        idx: FREE + 20,
        gpfn: FAR,
    };
    world.put(1, ARGUMENTS, &move_away);
    let moved = world.call_in_turns(
        1,
        HYPERVISOR_memory_op,
        &[XENMEM_add_to_physmap.into(), ARGUMENTS],
    );
    assert!(moved.0 == 0 && moved.1 > 2, "{moved:?}");
    let unmap = [UnmapGrantRef::default(); 40];
    for (n, element) in unmap.iter().enumerate() {
        world.put(1, ARGUMENTS + (n * size_of::<UnmapGrantRef>()) as u64, element);
    }
    let unmap = [GNTTABOP_unmap_grant_ref.into(), ARGUMENTS, 40];
    let unmapped = world.call_in_turns(1, HYPERVISOR_grant_table_op, &unmap);
    assert!(unmapped.0 == 0 && unmapped.1 > 1, "{unmapped:?}");
}

#[test]
fn xsa_410_a_domain_that_is_gone_leaves_nothing_behind() {
    let world = World::empty(1, XenDefault::default());
    let free = world.free_before();
    for _ in 0..3 {
        world.create(1).unwrap();
        let domain = world.domain(1);
        make_room(&domain);
        domain
            .change(|leaving| {
                domain
                    .memory
                    .populate(Gfn::new(FAR), Order::LARGE, leaving)
                    .map(drop)
            })
            .unwrap();
        world.destroy(1);
        // Somebody still holds it: nobody finds it any more, and its ports open no more.
        assert!(world.hypervisor.domain(domain.id).is_none());
        assert!(xenvisor::model::event::allocate_unbound(&*domain, domain.id).is_err());
        drop(domain);
        assert_eq!(world.hypervisor.frames.free(), free);
    }
}

#[test]
fn xsa_287_a_frame_that_two_take_at_once_is_taken_once() {
    const ROUNDS: u64 = 2000;
    let world = World::new(1, XenDefault::default());
    let domain = world.domain(1);
    let gfn = Gfn::new(FREE);
    let end = gfn.checked_add(1).unwrap();
    let frames = domain.memory.frames();
    let before = frames.free();
    let start = Barrier::new(2);
    let taker = || {
        let mut taken = 0;
        for _ in 0..ROUNDS {
            start.wait();
            let took = domain.change(|leaving| domain.memory.take(gfn, leaving));
            taken += u64::from(took.is_ok());
            // Only when both have tried is it put back, by whoever took it.
            start.wait();
            if took.is_ok() {
                domain
                    .change(|leaving| domain.memory.populate_range(gfn..end, leaving).map(drop))
                    .unwrap();
            }
        }
        taken
    };
    let (one, other) = std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(taker), scope.spawn(taker));
        (one.join().unwrap(), other.join().unwrap())
    });
    assert_eq!(one + other, ROUNDS, "{one} and {other}");
    // A table may have been made to split a larger leaf.
    assert!(before - frames.free() <= 1);
}
