//! Two domains that grant each other frames, and what must hold whatever they do.

mod meddling;
mod sequences;
mod uses;

use alloc::boxed::Box;
use alloc::sync::Arc;
use std::vec::Vec;

use super::copy::{CopyError, End, NoFrame, Reached, copy};
use super::entry::{READING, Version, WRITING};
use super::handles::Handles;
use super::map::{MapError, MapRequest, Party, UnmapError, finish, map, unmap};
use super::pin::PinError;
use super::table::{GrantTable, ShowError, SwapError, TableFrame, VersionError};
use crate::lock::{Rank, Ranked};
use crate::machine::{Access, MachineMemory};
use crate::memory::domain_memory::DomainMemory;
use crate::memory::frames::{Frames, Owner};
use crate::memory::leaving::Leaving;
use crate::number::{DomainId, FRAME_SIZE, Gfn, GrantHandle, GrantRef, GuestAddr, Mfn, Order};
use crate::p2m::Level;
use crate::p2m::plain::Plain;
use crate::p2m::walker::P2m;
use crate::testing::FlatMemory;

const A: DomainId = DomainId::new(1);
const B: DomainId = DomainId::new(2);
/// Where each domain sees the frames of its table.
const TABLE: u64 = 0x1000;
const STATUS: u64 = 0x1800;

struct Domain {
    memory: DomainMemory,
    table: Ranked<GrantTable>,
    handles: Ranked<Handles>,
}

impl Domain {
    /// 64 frames of RAM at 0, and a table of up to 4 frames, the first of which it sees.
    fn new(id: DomainId, memory: Arc<dyn MachineMemory>, frames: &Arc<Frames>) -> Self {
        let format = Plain {
            highest_leaf: Level(2),
        };
        let stage = Box::new(P2m::new(format, memory.clone(), frames.clone()).unwrap());
        let table = GrantTable::new(4, 7, memory.clone(), frames.clone()).unwrap();
        let handles = Handles::new(100, memory.clone(), frames.clone());
        let domain = Self {
            memory: DomainMemory::new(id, 200, stage, frames.clone(), memory).unwrap(),
            table: Ranked::new(Rank::Grants, table),
            handles: Ranked::new(Rank::Handles, handles),
        };
        domain.quietly(|leaving| {
            domain.memory.populate_range(gfn(0)..gfn(64), leaving).unwrap();
            domain.show(TableFrame::Shared(0), TABLE).unwrap();
        });
        domain
    }

    const fn party(&self) -> Party<'_> {
        Party {
            memory: &self.memory,
            table: &self.table,
            handles: &self.handles,
        }
    }

    fn quietly<R>(&self, act: impl FnOnce(&mut Leaving<'_>) -> R) -> R {
        act(&mut Leaving::new(self.memory.frames(), &|_| ()))
    }

    fn show(&self, which: TableFrame, at: u64) -> Result<(), ShowError> {
        self.quietly(|leaving| self.table.lock().show(which, gfn(at), &self.memory, leaving))
    }

    fn set_version(&self, version: Version) -> Result<(), VersionError> {
        self.quietly(|leaving| self.table.lock().set_version(version, &self.memory, leaving))
    }

    /// Writes an entry as a guest does: through its own memory.
    fn offer(&self, reference: u32, grantee: DomainId, frame: u64, flags: u16) {
        let header = u64::from(flags) | u64::from(grantee.raw()) << 16;
        let guest = self.memory.guest();
        let at = |bytes: u64| GuestAddr::new((TABLE << 12) + u64::from(reference) * bytes);
        let version = self.table.lock().version();
        match version {
            Version::V1 => guest.write_value(at(8), &(header | frame << 32)).unwrap(),
            Version::V2 => guest.write_value(at(16), &[header, frame]).unwrap(),
        }
    }

    /// The status bits of an entry, as its granter sees them.
    fn status(&self, reference: u32) -> u16 {
        let guest = self.memory.guest();
        let version = self.table.lock().version();
        let at = match version {
            Version::V1 => (TABLE << 12) + u64::from(reference) * 8,
            Version::V2 => (STATUS << 12) + u64::from(reference) * 2,
        };
        guest.read_value::<u16>(GuestAddr::new(at)).unwrap() & (READING | WRITING)
    }

    fn map(&self, granter: &Self, reference: u32, at: u64, access: Access) -> Result<GrantHandle, MapError> {
        let request = MapRequest {
            reference: GrantRef::new(reference),
            at: Some(gfn(at)),
            access,
        };
        self.quietly(|leaving| map(self.party(), granter.party(), &request, leaving))
    }

    fn unmap(&self, granter: &Self, handle: GrantHandle, at: u64) -> Result<(), UnmapError> {
        let mapping = self.quietly(|leaving| unmap(self.party(), handle, gfn(at), leaving))?;
        finish(self.party(), handle, &mapping, Some(&granter.table));
        Ok(())
    }

    fn mfn(&self, at: u64) -> Option<Mfn> {
        let leaf = self.memory.stage().lock().translate(gfn(at))?;
        Some(leaf.target.mfn)
    }
}

fn gfn(raw: u64) -> Gfn {
    Gfn::new(raw)
}

struct World {
    frames: Arc<Frames>,
    free: u64,
    a: Domain,
    b: Domain,
}

impl World {
    fn new() -> Self {
        Self::on(Arc::new(FlatMemory::new(1024 * FRAME_SIZE)))
    }

    fn on(memory: Arc<dyn MachineMemory>) -> Self {
        let frames = Arc::new(Frames::new(memory.clone(), &[Mfn::new(0)..Mfn::new(1024)]).unwrap());
        Self {
            free: frames.free(),
            a: Domain::new(A, memory.clone(), &frames),
            b: Domain::new(B, memory, &frames),
            frames,
        }
    }

    fn in_version(version: Version) -> Self {
        let world = Self::new();
        for domain in [&world.a, &world.b] {
            domain.set_version(version).unwrap();
            if version == Version::V2 {
                domain.show(TableFrame::Status(0), STATUS).unwrap();
            }
        }
        world
    }
}

#[test]
fn a_table_grows_by_being_looked_at_up_to_its_limit() {
    let world = World::new();
    let size = || world.a.table.lock().size();
    assert_eq!((size(), world.a.table.lock().limit()), (1, 4));
    world.a.show(TableFrame::Shared(2), TABLE + 2).unwrap();
    assert_eq!(size(), 3);
    assert_eq!(world.a.table.lock().entries(), 3 * 512);
    assert_eq!(
        world.a.show(TableFrame::Shared(4), TABLE + 4),
        Err(ShowError::NoSuchFrame(TableFrame::Shared(4)))
    );
    assert!(world.a.show(TableFrame::Shared(u32::MAX), TABLE).is_err());
    assert!(
        world.a.show(TableFrame::Status(0), TABLE).is_err(),
        "version 1 has no status frames"
    );
    let table = world.a.table.lock();
    assert_eq!((table.seen_at(0), table.seen_at(1)), (Some(gfn(TABLE)), None));
    assert_eq!(table.seen_at(2), Some(gfn(TABLE + 2)));
}

#[test]
fn a_table_frame_moves_when_it_is_shown_elsewhere() {
    let world = World::new();
    world.a.show(TableFrame::Shared(0), 5).unwrap();
    assert_eq!(world.a.mfn(TABLE), None);
    assert_eq!(world.a.table.lock().seen_at(0), Some(gfn(5)));
    assert_eq!(
        world.a.memory.account().used,
        63,
        "the RAM that was there is given back"
    );
}

#[test]
fn a_frame_that_cannot_be_made_is_not_shown_and_can_be_later() {
    for version in [Version::V1, Version::V2] {
        let world = World::in_version(version);
        let mut failures = 0;
        for left in 0.. {
            let mut taken = Vec::new();
            while world.frames.free() > left {
                let block = world.frames.allocate(Owner::Hypervisor, Order::FRAME);
                taken.push(block.unwrap().keep());
            }
            let shown = world.a.show(TableFrame::Shared(3), TABLE + 3);
            taken.iter().for_each(|mfn| world.frames.release(*mfn));
            if shown.is_ok() {
                break;
            }
            failures += 1;
            assert_eq!(world.a.table.lock().seen_at(3), None);
        }
        assert!(failures > 0);
        assert_eq!(world.a.table.lock().seen_at(3), Some(gfn(TABLE + 3)));
    }
}

#[test]
fn what_is_not_used_takes_no_frames() {
    let world = World::new();
    let frames = || world.a.table.lock().cost().frames;
    assert_eq!(frames(), 1, "the frame that its granter sees");
    world.a.table.lock().grow(4).unwrap();
    assert_eq!(frames(), 1);
    // Asking for what is not offered makes no record of it.
    assert!(world.b.map(&world.a, 100, 0x2000, Access::Read).is_err());
    assert_eq!(frames(), 1);
    world.a.offer(100, B, 3, 1);
    let handle = world.b.map(&world.a, 100, 0x2000, Access::Read).unwrap();
    assert_eq!(frames(), 2);
    world.b.unmap(&world.a, handle, 0x2000).unwrap();
    assert_eq!(frames(), 2, "it stays for the next use");
}

#[test]
fn a_change_of_version_clears_all_offers_but_the_reserved_ones() {
    let world = World::new();
    world.a.offer(1, B, 3, 1);
    world.a.offer(2, B, 4, 2);
    world.a.offer(8, B, 5, 1);
    let handle = world.b.map(&world.a, 1, 0x200, Access::ReadWrite).unwrap();
    world.a.set_version(Version::V2).unwrap();
    world.a.show(TableFrame::Status(0), STATUS).unwrap();
    let words = |reference| world.a.table.lock().words(GrantRef::new(reference)).unwrap();
    assert_eq!(words(1), [1 | 2 << 16, 3]);
    assert_eq!(words(2), [2 | 2 << 16, 4], "whatever it means");
    assert_eq!(words(8), [0; 2]);
    assert_eq!(world.a.status(1), READING | WRITING, "it is still mapped");
    world.a.set_version(Version::V1).unwrap();
    assert_eq!(world.a.mfn(STATUS), None, "the status words are hidden");
    assert_eq!(words(1)[0] & 0xffff, u64::from(1 | READING | WRITING));
    assert_eq!(words(2), [0; 2], "what is no access is forgotten");
    world.b.unmap(&world.a, handle, 0x200).unwrap();
    assert_eq!(world.a.status(1), 0);
    world.a.set_version(Version::V1).unwrap();
    assert_eq!(words(1)[0], 1 | 2 << 16 | 3 << 32, "no change is no change");
}

#[test]
fn the_version_stays_while_an_offer_is_in_use() {
    let world = World::new();
    world.a.offer(8, B, 5, 1);
    let handle = world.b.map(&world.a, 8, 0x200, Access::Read).unwrap();
    assert_eq!(world.a.set_version(Version::V2), Err(VersionError::InUse(1)));
    world.b.unmap(&world.a, handle, 0x200).unwrap();
    assert_eq!(world.a.set_version(Version::V2), Ok(()));
}

#[test]
fn status_bits_say_who_uses_an_offer() {
    for version in [Version::V1, Version::V2] {
        let world = World::in_version(version);
        world.a.offer(21, B, 3, 1);
        let map = |at, access| world.b.map(&world.a, 21, at, access).unwrap();
        let one = map(0x200, Access::Read);
        assert_eq!(world.a.status(21), READING);
        let two = map(0x201, Access::ReadWrite);
        let three = map(0x202, Access::ReadWrite);
        assert_eq!(world.a.status(21), READING | WRITING);
        let unmap = |handle, at| world.b.unmap(&world.a, handle, at).unwrap();
        unmap(two, 0x201);
        assert_eq!(world.a.status(21), READING | WRITING);
        unmap(three, 0x202);
        assert_eq!(world.a.status(21), READING);
        unmap(one, 0x200);
        assert_eq!(world.a.status(21), 0);
        assert_eq!(
            world.a.status(20) | world.a.status(22),
            0,
            "neighbours are not touched"
        );
    }
}

#[test]
fn a_mapping_is_the_granters_frame_with_no_more_than_the_rights_offered() {
    for version in [Version::V1, Version::V2] {
        let world = World::in_version(version);
        world.a.offer(9, B, 3, 1);
        world.a.offer(10, B, 3, 1 | 4);
        world.b.map(&world.a, 9, 0x200, Access::ReadWrite).unwrap();
        world.b.map(&world.a, 10, 0x201, Access::Read).unwrap();
        let at = GuestAddr::new(0x200 << 12);
        world.b.memory.guest().write_value(at, &0x1234_u32).unwrap();
        let own = world.a.memory.guest().read_value::<u32>(GuestAddr::new(3 << 12));
        assert_eq!(own, Ok(0x1234));
        let read_only = GuestAddr::new(0x201 << 12);
        assert!(world.b.memory.guest().write_value(read_only, &1_u32).is_err());
        let refused = |reference, access| world.b.map(&world.a, reference, 0x202, access).unwrap_err();
        let reference = GrantRef::new(10);
        assert_eq!(
            refused(10, Access::ReadWrite),
            MapError::Pin(PinError::ReadOnly(reference))
        );
    }
}

#[test]
fn what_is_not_offered_is_not_mapped_and_leaves_no_trace() {
    for version in [Version::V1, Version::V2] {
        let world = World::in_version(version);
        let before = world.frames.free();
        for (reference, grantee, frame, flags) in [
            (8, A, 3, 1),
            (9, B, 3, 0),
            (10, B, 3, 2),
            (11, B, 3, 1 | 1 << 8),
            (15, B, 3, 3),
            (12, B, 0x500, 1),
        ] {
            world.a.offer(reference, grantee, frame, flags);
        }
        world.a.offer(14, B, 3, 1);
        let refused = |reference, at| {
            let error = world
                .b
                .map(&world.a, reference, at, Access::ReadWrite)
                .unwrap_err();
            let status = if reference < 256 {
                world.a.status(reference)
            } else {
                0
            };
            assert_eq!((status, world.b.handles.lock().used()), (0, 0));
            error
        };
        let number = GrantRef::new;
        for reference in [8, 9, 10, 11, 15] {
            let error = MapError::Pin(PinError::NotOffered(number(reference)));
            assert_eq!(refused(reference, 0x200), error);
        }
        let error = MapError::Pin(PinError::NoFrame(number(12)));
        assert_eq!(refused(12, 0x200), error);
        let entries = world.a.table.lock().entries();
        for reference in [entries, u32::MAX] {
            let error = MapError::Pin(PinError::NoSuchEntry(number(reference)));
            assert_eq!(refused(reference, 0x200), error);
        }
        assert!(matches!(refused(14, 1 << 40), MapError::Place(_)));
        world.b.map(&world.a, 14, 0x200, Access::Read).unwrap();
        let occupied = world.b.map(&world.a, 14, 0x200, Access::Read);
        assert!(
            matches!(occupied, Err(MapError::Place(_))),
            "a grant is no place for another"
        );
        let mapped = world.b.handles.lock().used();
        assert_eq!(mapped, 1);
        assert!(before - world.frames.free() <= 4, "tables and receipts alone");
    }
}

#[test]
fn a_receipt_is_good_once_for_its_place_and_for_nothing_else() {
    let world = World::new();
    world.a.offer(9, B, 3, 1);
    let one = world.b.map(&world.a, 9, 0x200, Access::ReadWrite).unwrap();
    let two = world.b.map(&world.a, 9, 0x201, Access::Read).unwrap();
    let unmap = |handle, at| world.b.unmap(&world.a, handle, at);
    assert_eq!(unmap(one, 0x201), Err(UnmapError::NotThere(gfn(0x201))));
    assert_eq!(unmap(one, 0x200), Ok(()));
    assert_eq!(unmap(one, 0x200), Err(UnmapError::NoSuchHandle(one)));
    let never = GrantHandle::new(77);
    assert_eq!(unmap(never, 0x200), Err(UnmapError::NoSuchHandle(never)));
    assert_eq!(
        unmap(GrantHandle::new(u32::MAX), 0).err(),
        Some(UnmapError::NoSuchHandle(GrantHandle::new(u32::MAX)))
    );
    assert_eq!(unmap(two, 0x201), Ok(()));
    assert_eq!(
        world.b.map(&world.a, 9, 0x202, Access::Read),
        Ok(two),
        "handles are used again"
    );
}

#[test]
fn a_frame_outlives_its_granters_wish_to_give_it_back() {
    let world = World::new();
    world.a.offer(9, B, 3, 1);
    let handle = world.b.map(&world.a, 9, 0x200, Access::ReadWrite).unwrap();
    let frame = world.a.mfn(3).unwrap();
    world
        .a
        .quietly(|leaving| world.a.memory.take(gfn(3), leaving))
        .unwrap();
    assert_eq!(world.frames.usage(frame), Some((Owner::Domain(A), 1)));
    assert_eq!(
        world.a.memory.account().used,
        64,
        "it still counts as the granter's"
    );
    world.b.unmap(&world.a, handle, 0x200).unwrap();
    assert_eq!(world.frames.usage(frame), None);
    assert_eq!(world.a.memory.account().used, 63);
}

#[test]
fn another_domain_does_not_join_a_use() {
    let world = World::new();
    world.a.offer(9, B, 3, 1);
    world.b.map(&world.a, 9, 0x200, Access::Read).unwrap();
    world.a.offer(9, A, 4, 1);
    let error = MapError::Pin(PinError::InUse(GrantRef::new(9)));
    assert_eq!(world.a.map(&world.a, 9, 0x200, Access::Read), Err(error));
    assert!(world.b.map(&world.a, 9, 0x201, Access::Read).is_ok());
    assert_eq!(
        world.b.mfn(0x201),
        world.a.mfn(3),
        "and who is in sees the frame that was offered first"
    );
}

#[test]
fn a_frame_that_a_domain_grants_to_itself_leaves_its_place_for_the_mapping() {
    let world = World::new();
    let used = world.a.memory.account().used;
    for (reference, at) in [(9, 0x200), (10, 4)] {
        world.a.offer(reference, A, u64::from(reference) - 6, 1);
        let mfn = world.a.mfn(u64::from(reference) - 6);
        let handle = world.a.map(&world.a, reference, at, Access::ReadWrite).unwrap();
        assert_eq!(world.a.mfn(at), mfn);
        assert_eq!(world.a.mfn(3), None);
        // Once it has left its place it can be seen at several.
        let second = world.a.map(&world.a, reference, at + 1, Access::Read).unwrap();
        assert_eq!(world.a.mfn(at + 1), mfn);
        world.a.unmap(&world.a, handle, at).unwrap();
        world.a.unmap(&world.a, second, at + 1).unwrap();
        assert_eq!((world.a.status(reference), world.a.mfn(at)), (0, None));
    }
    assert!(
        world.a.memory.account().used <= used,
        "what has lost its place counts on"
    );
    assert!(world.a.memory.unplaced() > 0);
}

#[test]
fn a_mapping_of_ones_own_that_cannot_be_leaves_the_frame_in_its_place() {
    let world = World::new();
    world.b.offer(9, A, 5, 1);
    world.a.map(&world.b, 9, 0x200, Access::Read).unwrap();
    world.a.offer(9, A, 3, 1);
    let mfn = world.a.mfn(3);
    for at in [0x200, 1 << 40] {
        let refused = world.a.map(&world.a, 9, at, Access::Read);
        assert!(matches!(refused, Err(MapError::Place(_))), "{at:#x}");
        assert_eq!((world.a.mfn(3), world.a.status(9)), (mfn, 0));
    }
    assert_eq!(world.frames.usage(mfn.unwrap()), Some((Owner::Domain(A), 1)));
}

#[test]
fn a_receipt_of_an_earlier_domain_ends_nothing_of_its_successor() {
    let world = World::new();
    world.a.offer(9, B, 3, 1);
    let one = world.b.map(&world.a, 9, 0x200, Access::Read).unwrap();
    let mapping = world
        .b
        .quietly(|leaving| unmap(world.b.party(), one, gfn(0x200), leaving));
    let mut mapping = mapping.unwrap();
    mapping.edition += 1;
    finish(world.b.party(), one, &mapping, Some(&world.a.table));
    assert_eq!(world.a.status(9), READING);
}

#[test]
fn bytes_are_copied_within_what_is_offered() {
    let world = World::in_version(Version::V2);
    let part = 1 | 1 << 8;
    // Bytes 100..150 of frame 3: offset and length lie beside the grantee.
    world.a.offer(9, B, 3, part);
    let entry = GuestAddr::new((TABLE << 12) + 9 * 16 + 4);
    world.a.memory.guest().write_value(entry, &[100_u16, 50]).unwrap();
    let memory = world.a.memory.machine_memory().clone();
    let text = b"the quick brown fox";
    let at = |frame: u64, offset: u64| GuestAddr::new((frame << 12) + offset);
    world.b.memory.guest().write_value(at(5, 7), text).unwrap();
    let granted = |access| match End::granted(world.a.party(), GrantRef::new(9), B, access) {
        Ok(Reached::End(end)) => end,
        _ => panic!("it is a frame"),
    };
    let own = |frame, access| End::own(&world.b.memory, gfn(frame), access);
    {
        let to = granted(Access::ReadWrite);
        let from = own(5, Access::Read).unwrap();
        assert_eq!(world.a.status(9), READING | WRITING);
        copy(&*memory, (&from, 7), (&to, 110), 19).unwrap();
        let copied = |from_at, to_at, bytes| copy(&*memory, (&from, from_at), (&to, to_at), bytes);
        assert_eq!(copied(7, 99, 2), Err(CopyError::OutsideOffer));
        assert_eq!(copied(7, 140, 11), Err(CopyError::OutsideOffer));
        assert_eq!(copied(4090, 110, 7), Err(CopyError::CrossesFrame));
        assert_eq!(copied(0xffff, 0xffff, 0xffff), Err(CopyError::CrossesFrame));
        assert_eq!(copied(7, 150, 0), Ok(()));
    }
    assert_eq!(world.a.status(9), 0);
    let copied = world.a.memory.guest().read_value::<[u8; 19]>(at(3, 110)).unwrap();
    assert_eq!(&copied, text);
    assert!(own(0x300, Access::Read).is_err_and(|error| error == NoFrame(gfn(0x300))));
    // Overlapping, within one frame, both ways.
    let (from, to) = (own(5, Access::Read).unwrap(), own(5, Access::ReadWrite).unwrap());
    let whole: Vec<u8> = (0..4096_u32).map(|n| (n * 7 % 251) as u8).collect();
    for (source, destination, bytes) in [
        (0, 100, 3000),
        (100, 0, 3000),
        (1, 0, 4095),
        (0, 1, 4095),
        (7, 7, 9),
    ] {
        let mut expected = whole.clone();
        expected.copy_within(source..source + bytes, destination);
        crate::machine::GuestRam::write(&world.b.memory.guest(), at(5, 0), &whole).unwrap();
        let ends = ((&from, source as u16), (&to, destination as u16));
        copy(&*memory, ends.0, ends.1, bytes as u16).unwrap();
        let moved = world.b.memory.guest().read_value::<[u8; 4096]>(at(5, 0)).unwrap();
        assert!(moved[..] == expected, "{source} {destination} {bytes}");
    }
}

#[test]
fn only_offers_that_are_not_in_use_are_exchanged() {
    let world = World::new();
    world.a.offer(9, B, 3, 1);
    world.a.offer(10, B, 4, 1 | 4);
    let swap = |one, two| world.a.table.lock().swap(GrantRef::new(one), GrantRef::new(two));
    assert_eq!(swap(9, 10), Ok(()));
    let words = |reference| world.a.table.lock().words(GrantRef::new(reference)).unwrap()[0];
    assert_eq!((words(9) >> 32, words(10) >> 32), (4, 3));
    assert_eq!(swap(9, 5000), Err(SwapError::NoSuchEntry(GrantRef::new(5000))));
    world.b.map(&world.a, 9, 0x200, Access::Read).unwrap();
    assert_eq!(swap(10, 9), Err(SwapError::InUse(GrantRef::new(9))));
}
