//! What the door lets through, and what it does not.

use super::*;
use crate::lock::Rank;
use crate::memory::frames::Owner;
use crate::number::{DomainId, Gfn, Mfn, Order};
use crate::p2m::plain::Plain;
use crate::p2m::walker::P2m;
use crate::p2m::{Level, Rights, Target};
use crate::testing::FlatMemory;
use alloc::sync::Arc;
use std::vec::Vec;

struct World {
    memory: Arc<FlatMemory>,
    frames: Arc<Frames>,
    stage: Ranked<Box<dyn SecondStage>>,
}

impl World {
    /// Guest frames 1 and 2 are writable, 3 may be read, 5 is a device's; neighbours lie apart in the machine.
    fn new() -> Self {
        let memory = Arc::new(FlatMemory::new(512 * FRAME_SIZE));
        let frames = Arc::new(Frames::new(memory.clone(), &[Mfn::new(0)..Mfn::new(512)]).unwrap());
        let format = Plain {
            highest_leaf: Level(2),
        };
        let mut stage = P2m::new(format, memory.clone(), frames.clone()).unwrap();
        for (gfn, rights, kind) in [
            (2, Rights::ReadWrite, Kind::Ram),
            (1, Rights::ReadWrite, Kind::Ram),
            (3, Rights::Read, Kind::Ram),
            (5, Rights::ReadWrite, Kind::Device),
        ] {
            let mfn = frames.allocate_zeroed(OWNER, Order::FRAME).unwrap().keep();
            let to = Target { mfn, rights, kind };
            assert!(stage.map(Gfn::new(gfn), Order::FRAME, to).is_ok());
        }
        Self {
            memory,
            frames,
            stage: Ranked::new(Rank::SecondStage, Box::new(stage)),
        }
    }

    fn guest(&self) -> GuestMemory<'_> {
        GuestMemory::new(&*self.memory, &self.frames, &self.stage)
    }

    fn mfn(&self, gfn: u64) -> Mfn {
        self.stage.lock().translate(Gfn::new(gfn)).unwrap().target.mfn
    }

    fn references(&self, mfn: Mfn) -> u32 {
        self.frames.usage(mfn).unwrap().1
    }
}

const OWNER: Owner = Owner::Domain(DomainId::new(1));

fn at(raw: u64) -> GuestAddr {
    GuestAddr::new(raw)
}

#[test]
fn bytes_across_frames_arrive_in_order() {
    let world = World::new();
    let bytes: Vec<u8> = (0..=255).collect();
    world.guest().write(at(0x1f80), &bytes).unwrap();
    let mut back = [0; 256];
    world.guest().read(at(0x1f80), &mut back).unwrap();
    assert_eq!(bytes, back);
    assert_eq!(world.guest().read_value::<u8>(at(0x2000)), Ok(0x80));
}

#[test]
fn the_first_address_without_memory_is_named() {
    let world = World::new();
    let mut byte = [0];
    assert_eq!(world.guest().read(at(0x4000), &mut byte), Err(NotRam(at(0x4000))));
    assert_eq!(world.guest().write(at(0x2ffc), &[0; 8]), Err(NotRam(at(0x3000))));
    assert_eq!(world.guest().read(at(0x5000), &mut byte), Err(NotRam(at(0x5000))));
    assert!(world.guest().read(at(u64::MAX), &mut [0; 2]).is_err());
    assert!(world.guest().compare_exchange(at(0x1004), 0, 1).is_err());
}

#[test]
fn a_reserved_answer_arrives_even_if_its_frames_are_unmapped_meanwhile() {
    let world = World::new();
    let (first, second) = (world.mfn(1), world.mfn(2));
    let reserved = world.guest().reserve(at(0x1ffe), 4).unwrap();
    for gfn in [1, 2] {
        assert!(world.stage.lock().unmap(Gfn::new(gfn), Order::FRAME).is_ok());
    }
    world.frames.release(first);
    world.frames.release(second);
    assert_eq!((world.references(first), world.references(second)), (1, 1));
    assert_eq!(reserved.bytes(), 4);
    reserved.send(&[1, 2, 3, 4]);
    let mut tail = [0; 2];
    let end = MachineAddr::new(first.address().unwrap().raw() + 0xffe);
    world.memory.read(end, &mut tail);
    assert_eq!(tail, [1, 2]);
    world.memory.read(second.address().unwrap(), &mut tail);
    assert_eq!(tail, [3, 4]);
    assert_eq!(world.frames.usage(first), None, "and then they are free");
}

#[test]
fn no_answer_is_reserved_where_it_could_not_be_sent() {
    let world = World::new();
    let refused = |from, bytes| world.guest().reserve(at(from), bytes).err();
    assert_eq!(refused(0x3000, 1), Some(NotRam(at(0x3000))));
    assert_eq!(refused(0x2ff8, 16), Some(NotRam(at(0x3000))));
    assert_eq!(refused(0x1000, LONGEST_ANSWER + 1), Some(NotRam(at(0x1000))));
    assert_eq!(refused(0x1001, LONGEST_ANSWER), None);
    let pinned = [1, 2, 3].map(|gfn| world.references(world.mfn(gfn)));
    assert_eq!(pinned, [1, 1, 1], "nothing stays pinned");
}
