//! Frames come and go by the rules, and none is lost or shared.

use std::cell::RefCell;
use std::vec::Vec;

use super::*;
use crate::number::FRAME_SIZE;
use crate::p2m::Rights;
use crate::p2m::plain::Plain;
use crate::p2m::walker::P2m;
use crate::p2m::{Flush, Level};
use crate::testing::{FlatMemory, Random};

const ID: DomainId = DomainId::new(3);

struct World {
    frames: Arc<Frames>,
    memory: Arc<FlatMemory>,
    /// The frames there were before the domain.
    free: u64,
}

impl World {
    fn new(frames: u64, limit: u64) -> (Self, DomainMemory) {
        let memory = Arc::new(FlatMemory::new(frames * FRAME_SIZE));
        let frames = Arc::new(Frames::new(memory.clone(), &[Mfn::new(0)..Mfn::new(frames)]).unwrap());
        let free = frames.free();
        let format = Plain {
            highest_leaf: Level(2),
        };
        let stage = Box::new(P2m::new(format, memory.clone(), frames.clone()).unwrap());
        let domain = DomainMemory::new(ID, limit, stage, frames.clone(), memory.clone()).unwrap();
        let world = Self { frames, memory, free };
        (world, domain)
    }

    fn special(&self) -> Mfn {
        let block = self.frames.allocate_zeroed(Owner::Hypervisor, Order::FRAME);
        block.unwrap().keep()
    }
}

fn gfn(raw: u64) -> Gfn {
    Gfn::new(raw)
}

fn behind(domain: &DomainMemory, at: u64) -> Option<(Mfn, Kind)> {
    let leaf = domain.stage().lock().translate(gfn(at))?;
    Some((leaf.target.mfn, leaf.target.kind))
}

/// Does something with a domain's memory when no vcpu has run.
fn quietly<R>(domain: &DomainMemory, act: impl FnOnce(&mut Leaving<'_>) -> R) -> R {
    act(&mut Leaving::new(domain.frames(), &|_| ()))
}

#[test]
fn a_range_is_populated_in_blocks_as_large_as_may_be() {
    let (world, domain) = World::new(4096, 2000);
    quietly(&domain, |leaving| {
        domain
            .populate_range(gfn(0x100)..gfn(0x100 + 1300), leaving)
            .unwrap();
        let order = |at| domain.stage().lock().translate(gfn(at)).unwrap().order;
        assert_eq!(
            (order(0x1ff), order(0x200), order(0x400)),
            (Order::FRAME, Order::LARGE, Order::LARGE)
        );
        assert_eq!(
            domain.account(),
            Account {
                used: 1300,
                limit: 2000
            }
        );
        assert_eq!(domain.highest(), gfn(0x100 + 1299));
        let beyond = domain.populate_range(gfn(0x1000)..gfn(0x1000 + 701), leaving);
        assert_eq!(beyond, Err(PopulateError::OutOfFrames));
        assert_eq!(domain.account().used, 2000, "the last frame it may have is used");
        let occupied = domain.populate(gfn(0x200), Order::LARGE, leaving);
        assert_eq!(occupied, Err(PopulateError::OutOfFrames));
    });
    drop(domain);
    assert_eq!(world.frames.free(), world.free);
    assert_eq!(world.frames.account(ID), None);
}

#[test]
fn what_is_populated_replaces_ram_which_goes_on_to_count() {
    let (_, domain) = World::new(4096, 2000);
    quietly(&domain, |leaving| {
        domain.populate(gfn(0x2ff), Order::FRAME, leaving).unwrap();
        let old = behind(&domain, 0x2ff);
        domain.populate(gfn(0x200), Order::LARGE, leaving).unwrap();
        assert_ne!(behind(&domain, 0x2ff), old);
        assert!(
            domain.populate(gfn(0x400), Order::LARGE, leaving).is_ok(),
            "what is before does not matter"
        );
        assert!(
            domain.populate(gfn(0), Order::LARGE, leaving).is_ok(),
            "nor what is behind"
        );
        let old = behind(&domain, 0x2ff);
        domain.populate(gfn(0x2ff), Order::FRAME, leaving).unwrap();
        assert_ne!(behind(&domain, 0x2ff), old);
    });
    assert_eq!((domain.account().used, domain.unplaced()), (1538, 2));
}

#[test]
fn a_block_is_not_placed_where_others_are() {
    let (world, domain) = World::new(4096, 2000);
    quietly(&domain, |leaving| {
        let frame = world.special();
        domain
            .map_grant(gfn(0x2ff), frame, Access::Read, leaving)
            .unwrap();
        for (at, order) in [(0x200, Order::LARGE), (0x2f9, Order::new(3).unwrap())] {
            let block = domain.populate(gfn(at), order, leaving);
            assert_eq!(block, Err(PopulateError::Occupied(gfn(0x2ff))));
        }
        domain
            .unmap_grant(gfn(0x2ff), frame, Access::Read, leaving)
            .unwrap();
    });
    assert_eq!(domain.account().used, 0);
}

#[test]
fn a_frame_goes_back_after_the_flush_and_not_before() {
    let (world, domain) = World::new(2048, 600);
    quietly(&domain, |leaving| {
        domain.populate(gfn(0), Order::LARGE, leaving).unwrap()
    });
    let seen = RefCell::new(Vec::new());
    let flush = |owed| seen.borrow_mut().push((owed, domain.account().used));
    let mut leaving = Leaving::new(&world.frames, &flush);
    for at in 0..40 {
        domain.take(gfn(at), &mut leaving).unwrap();
    }
    drop(leaving);
    // The first flush came when 32 frames were on their way out, and all of them were still the domain's.
    assert_eq!(*seen.borrow(), [(Flush::Domain, 512), (Flush::Domain, 480)]);
    assert_eq!(domain.account().used, 472);
    assert_eq!(behind(&domain, 39), None);
    assert!(behind(&domain, 40).is_some());
}

#[test]
fn what_is_not_there_or_not_the_domains_cannot_be_taken() {
    let (world, domain) = World::new(2048, 600);
    let foreign = world.special();
    quietly(&domain, |leaving| {
        domain
            .map_grant(gfn(5), foreign, Access::ReadWrite, leaving)
            .unwrap();
        let device = Target {
            mfn: Mfn::new(0xfee00),
            rights: Rights::ReadWrite,
            kind: Kind::Device,
        };
        assert_eq!(
            domain.stage().lock().map(gfn(6), Order::FRAME, device),
            Ok(Flush::None)
        );
        for take in [DomainMemory::take, DomainMemory::remove] {
            assert_eq!(take(&domain, gfn(4), leaving), Err(TakeError::NotMapped(gfn(4))));
            assert_eq!(take(&domain, gfn(5), leaving), Err(TakeError::NotOwn(gfn(5))));
            assert_eq!(take(&domain, gfn(6), leaving), Err(TakeError::Device(gfn(6))));
        }
        let own = world.special();
        assert_eq!(
            domain.place(own, gfn(5), leaving),
            Err(PlaceError::NotOwn(gfn(5)))
        );
        assert_eq!(
            domain.place(own, gfn(6), leaving),
            Err(PlaceError::Device(gfn(6)))
        );
        assert_eq!(world.frames.place(own), None);
        let beyond = domain.place(own, gfn(1 << 40), leaving);
        assert_eq!(beyond, Err(PlaceError::Map(MapError::OutOfRange)));
        assert_eq!(
            domain.populate(gfn(5), Order::FRAME, leaving),
            Err(PopulateError::Occupied(gfn(5)))
        );
    });
    assert_eq!(domain.account().used, 0);
}

#[test]
fn a_special_frame_is_seen_at_one_place_only() {
    let (world, domain) = World::new(2048, 600);
    let (one, two) = (world.special(), world.special());
    quietly(&domain, |leaving| {
        domain.populate(gfn(0), Order::LARGE, leaving).unwrap();
        domain.place(one, gfn(1), leaving).unwrap();
        domain.place(one, gfn(2), leaving).unwrap();
        assert_eq!(behind(&domain, 1), None);
        assert_eq!(behind(&domain, 2), Some((one, Kind::Special)));
        domain.place(two, gfn(2), leaving).unwrap();
        assert_eq!(
            (world.frames.place(one), world.frames.place(two)),
            (None, Some(gfn(2)))
        );
        domain.place(two, gfn(2), leaving).unwrap();
        domain.relocate(gfn(2), gfn(3), leaving).unwrap();
        assert_eq!(world.frames.place(two), Some(gfn(3)));
        domain.take(gfn(3), leaving).unwrap();
        assert_eq!((behind(&domain, 3), world.frames.place(two)), (None, None));
        domain.place(two, gfn(9), leaving).unwrap();
        domain.unplace(two, leaving);
        domain.unplace(two, leaving);
        assert_eq!((behind(&domain, 9), world.frames.place(two)), (None, None));
    });
    assert_eq!(
        domain.account().used,
        508,
        "RAM under special frames is given back"
    );
    assert_eq!(world.frames.usage(one), Some((Owner::Hypervisor, 1)));
}

#[test]
fn a_moved_frame_keeps_its_contents_and_leaves_a_hole() {
    let (world, domain) = World::new(2048, 600);
    quietly(&domain, |leaving| {
        domain.populate(gfn(0), Order::LARGE, leaving).unwrap();
        let address = crate::number::GuestAddr::new(7 << 12);
        domain.guest().write_value(address, &0x1234_u32).unwrap();
        let moved = behind(&domain, 7);
        domain.relocate(gfn(7), gfn(9), leaving).unwrap();
        assert_eq!((behind(&domain, 7), behind(&domain, 9)), (None, moved));
        assert_eq!(
            domain.relocate(gfn(7), gfn(9), leaving),
            Err(MoveError::Source(gfn(7)))
        );
        domain.relocate(gfn(9), gfn(9), leaving).unwrap();
        let nowhere = domain.relocate(gfn(9), gfn(1 << 40), leaving);
        assert!(matches!(nowhere, Err(MoveError::Place(PlaceError::Map(_)))));
        assert_eq!(behind(&domain, 9), moved, "a move that fails moves nothing");
        domain
            .map_grant(gfn(600), world.special(), Access::Read, leaving)
            .unwrap();
        assert_eq!(
            domain.relocate(gfn(600), gfn(601), leaving),
            Err(MoveError::Source(gfn(600)))
        );
        assert_eq!(
            domain.relocate(gfn(9), gfn(600), leaving),
            Err(MoveError::Place(PlaceError::NotOwn(gfn(600))))
        );
        assert_eq!(behind(&domain, 9), moved);
        let mut bytes = [0; 4];
        let at = moved.unwrap().0.address().unwrap();
        crate::machine::MachineMemory::read(&*world.memory, at, &mut bytes);
        assert_eq!(bytes, 0x1234_u32.to_le_bytes());
    });
    assert_eq!(domain.account().used, 511);
}

#[test]
fn a_grant_is_unmapped_only_where_and_how_it_was_mapped() {
    let (world, domain) = World::new(2048, 600);
    let frame = world.special();
    quietly(&domain, |leaving| {
        domain.map_grant(gfn(5), frame, Access::Read, leaving).unwrap();
        let mut unmap = |at, mfn, access| domain.unmap_grant(gfn(at), mfn, access, leaving);
        assert_eq!(unmap(6, frame, Access::Read), Err(NotThatGrant(gfn(6))));
        assert_eq!(unmap(5, frame, Access::ReadWrite), Err(NotThatGrant(gfn(5))));
        assert_eq!(unmap(5, Mfn::new(1), Access::Read), Err(NotThatGrant(gfn(5))));
        assert_eq!(unmap(5, frame, Access::Read), Ok(()));
        assert_eq!(unmap(5, frame, Access::Read), Err(NotThatGrant(gfn(5))));
    });
    let usage = world.frames.usage(frame);
    assert_eq!(
        usage,
        Some((Owner::Hypervisor, 1)),
        "its reference is the caller's to give back"
    );
}

/// Whatever a guest asks for: each frame it has is behind exactly one guest frame, and all come back in the end.
#[test]
fn no_sequence_of_requests_loses_or_shares_a_frame() {
    for seed in 0..6 {
        let (world, domain) = World::new(1200, 300);
        let mut random = Random::new(seed);
        let specials = [world.special(), world.special(), world.special()];
        for _ in 0..400 {
            let at = gfn(random.below(40) * 17);
            let to = gfn(random.below(40) * 17);
            let special = *random.pick(&specials);
            quietly(&domain, |leaving| match random.below(7) {
                0 | 1 => _ = domain.populate(at, Order::FRAME, leaving),
                2 => _ = domain.populate(gfn(at.raw() & !7), Order::new(3).unwrap(), leaving),
                3 => _ = domain.take(at, leaving),
                4 => _ = domain.remove(at, leaving),
                5 => _ = domain.relocate(at, to, leaving),
                _ => _ = domain.place(special, at, leaving),
            });
            let mut ram = 0;
            let mut seen = std::collections::HashSet::new();
            domain.stage().lock().leaves(gfn(0), &mut |at, leaf| {
                assert!(seen.insert(leaf.target.mfn), "seed {seed}: a frame at two places");
                match leaf.target.kind {
                    Kind::Ram => {
                        ram += leaf.order.frames();
                        assert_eq!(world.frames.usage(leaf.target.mfn), Some((Owner::Domain(ID), 1)));
                    }
                    _ => assert_eq!(world.frames.place(leaf.target.mfn), Some(at)),
                }
                true
            });
            let counted = ram + domain.unplaced();
            assert_eq!(
                domain.account().used,
                counted,
                "seed {seed}: a frame that is nowhere"
            );
        }
        drop(domain);
        assert_eq!(world.frames.free() + 3, world.free);
    }
}

#[test]
fn running_out_of_frames_at_any_point_changes_nothing() {
    let acts: [fn(&DomainMemory, Mfn, &mut Leaving<'_>) -> bool; 4] = [
        |domain, _, leaving| domain.populate(gfn(0x4_0000), Order::FRAME, leaving).is_ok(),
        |domain, special, leaving| domain.place(special, gfn(0x8_0000), leaving).is_ok(),
        |domain, _, leaving| domain.relocate(gfn(3), gfn(0xc_0000), leaving).is_ok(),
        |domain, _, leaving| domain.take(gfn(0x208), leaving).is_ok(),
    ];
    let (world, domain) = World::new(4096, 3000);
    let special = world.special();
    quietly(&domain, |leaving| {
        domain.populate_range(gfn(0)..gfn(1024), leaving).unwrap()
    });
    let picture = || {
        let mut all = Vec::new();
        for at in (0..1100).chain([0x4_0000, 0x8_0000, 0xc_0000]) {
            all.push(behind(&domain, at));
        }
        (all, domain.account(), world.frames.place(special))
    };
    for act in acts {
        let before = picture();
        let mut left = 0;
        loop {
            let mut taken = Vec::new();
            while world.frames.free() > left {
                let block = world.frames.allocate(Owner::Hypervisor, Order::FRAME);
                taken.push(block.unwrap().keep());
            }
            let done = quietly(&domain, |leaving| act(&domain, special, leaving));
            taken.iter().for_each(|mfn| world.frames.release(*mfn));
            if done {
                break;
            }
            assert_eq!(picture(), before);
            left += 1;
            assert!(left < 10);
        }
        assert!(left > 0, "it needed no frame");
    }
}
