//! What a guest hears when it asks about its memory.

use alloc::vec::Vec;

use xenvisor_abi::memory as abi;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_memory_op};
use xenvisor_abi::{GuestHandle32, GuestHandle64};
use xenvisor_core::domain::settings::MapEntry;
use xenvisor_core::machine::Width;
use xenvisor_core::number::{Gfn, Mfn};
use xenvisor_core::p2m::Kind;
use xenvisor_core::policy::{Policy, Request, Verdict, XenDefault};

use crate::answer::{Answer, Served};
use crate::errno::Errno;
use crate::testing::{NOWHERE, RAM_FRAMES, World};

mod exchange;
mod tools;

/// Where arguments and lists lie in a guest's memory.
const ARGUMENT: u64 = 0x1000;
const LIST: u64 = 0x2000;

struct Guest(World);

impl Guest {
    fn new() -> Self {
        Self(World::new(2, 1, XenDefault::default(), Vec::new()))
    }

    fn call<T: zerocopy::IntoBytes + zerocopy::Immutable>(&self, command: u32, argument: &T) -> Served {
        self.0.put(1, ARGUMENT, argument);
        self.0
            .call_to_the_end(1, HYPERVISOR_memory_op, &[command.into(), ARGUMENT])
    }

    fn add(&self, space: u32, idx: u64, gpfn: u64) -> Served {
        let argument = abi::AddToPhysmap {
            domid: DOMID_SELF,
            size: 0,
            space,
            idx,
            gpfn,
        };
        self.call(abi::XENMEM_add_to_physmap, &argument)
    }

    fn remove(&self, gpfn: u64) -> Served {
        let argument = abi::RemoveFromPhysmap {
            domid: DOMID_SELF,
            padding: [0; 3],
            gpfn,
        };
        self.call(abi::XENMEM_remove_from_physmap, &argument)
    }

    fn reservation(&self, command: u32, frames: &[u64], change: impl Fn(&mut abi::Reservation)) -> Served {
        for (n, frame) in (0..).zip(frames) {
            self.0.put(1, LIST + n * 8, frame);
        }
        let mut argument = abi::Reservation {
            extent_start: GuestHandle64(LIST),
            nr_extents: frames.len() as u64,
            extent_order: 0,
            mem_flags: 0,
            domid: DOMID_SELF,
            padding: [0; 3],
        };
        change(&mut argument);
        self.call(command, &argument)
    }

    fn ask(&self, command: u32) -> Served {
        self.call(command, &abi::Domain { domid: DOMID_SELF })
    }

    fn behind(&self, gfn: u64) -> Option<(Mfn, Kind)> {
        let leaf = self.0.domains[0].memory.stage().lock().translate(Gfn::new(gfn))?;
        Some((leaf.target.mfn, leaf.target.kind))
    }
}

#[test]
fn a_place_is_taken_from_what_was_there() {
    let guest = Guest::new();
    let page = guest.0.domains[0].shared_info.mfn();
    assert_eq!(guest.add(abi::XENMAPSPACE_shared_info, 0, 9), Ok(Answer::OK));
    assert_eq!(guest.behind(9), Some((page, Kind::Special)));
    assert_eq!(
        guest.ask(abi::XENMEM_current_reservation),
        Ok(Answer::Done(RAM_FRAMES - 1))
    );
    assert_eq!(guest.add(abi::XENMAPSPACE_shared_info, 0, 0x500), Ok(Answer::OK));
    assert_eq!(
        (guest.behind(9), guest.behind(0x500)),
        (None, Some((page, Kind::Special)))
    );
    assert_eq!(guest.add(abi::XENMAPSPACE_grant_table, 0, 0x500), Ok(Answer::OK));
    assert_ne!(guest.behind(0x500).map(|(mfn, _)| mfn), Some(page));
    assert_eq!(guest.ask(abi::XENMEM_maximum_gpfn), Ok(Answer::Done(0x500)));
}

#[test]
fn what_cannot_be_placed_is_refused_with_xens_number() {
    let guest = Guest::new();
    let invalid = Err(Errno::INVALID);
    assert_eq!(guest.add(abi::XENMAPSPACE_shared_info, 1, 9), invalid);
    assert_eq!(
        guest.add(abi::XENMAPSPACE_grant_table, 4, 9),
        invalid,
        "beyond its limit"
    );
    assert_eq!(guest.add(abi::XENMAPSPACE_grant_table, u64::MAX, 9), invalid);
    let status = abi::XENMAPIDX_grant_table_status;
    assert_eq!(
        guest.add(abi::XENMAPSPACE_grant_table, status, 9),
        invalid,
        "not in version 1"
    );
    assert_eq!(guest.add(abi::XENMAPSPACE_gmfn, 0x900, 9), invalid);
    assert_eq!(guest.add(abi::XENMAPSPACE_dev_mmio, 0, 9), Err(Errno::ACCESS));
    assert_eq!(guest.add(77, 0, 9), invalid);
    assert_eq!(guest.add(abi::XENMAPSPACE_shared_info, 0, u64::MAX), invalid);
    assert_eq!(
        guest.add(abi::XENMAPSPACE_gmfn_foreign, 0, 9),
        Err(Errno::NO_CALL)
    );
    let argument = abi::AddToPhysmap {
        domid: 2,
        size: 0,
        space: 0,
        idx: 0,
        gpfn: 9,
    };
    let other = |domid| {
        guest.call(
            abi::XENMEM_add_to_physmap,
            &abi::AddToPhysmap { domid, ..argument },
        )
    };
    assert_eq!(other(2), Err(Errno::NOT_PERMITTED));
    assert_eq!(other(3), Err(Errno::NO_DOMAIN));
    assert_eq!(
        other(1),
        Ok(Answer::OK),
        "its own number is as good as DOMID_SELF"
    );
    let unreadable = guest.0.call(1, HYPERVISOR_memory_op, &[7, NOWHERE]);
    assert_eq!(unreadable, Err(Errno::FAULT));
    let beyond = guest
        .0
        .call(1, HYPERVISOR_memory_op, &[7 | 0x1_0000 << 6, ARGUMENT]);
    assert_eq!(beyond, Err(Errno::DOMAIN));
}

#[test]
fn a_range_moves_in_slices() {
    let guest = Guest::new();
    let before: Vec<_> = (10..60).map(|gfn| guest.behind(gfn)).collect();
    let argument = abi::AddToPhysmap {
        domid: DOMID_SELF,
        size: 50,
        space: abi::XENMAPSPACE_gmfn_range,
        idx: 10,
        gpfn: 0x1000,
    };
    assert_eq!(guest.call(abi::XENMEM_add_to_physmap, &argument), Ok(Answer::OK));
    let after: Vec<_> = (0x1000..0x1032).map(|gfn| guest.behind(gfn)).collect();
    assert_eq!(before, after);
    assert_eq!((guest.behind(10), guest.behind(59)), (None, None));
    let mut long = abi::AddToPhysmap {
        size: 300,
        ..argument
    };
    guest.0.put(1, ARGUMENT, &long);
    long.idx = 0x1000;
    let stopped = guest.call(abi::XENMEM_add_to_physmap, &long);
    assert_eq!(stopped, Err(Errno::INVALID), "the 51st is not there");
    let past = guest.0.call(1, HYPERVISOR_memory_op, &[7 | 301 << 6, ARGUMENT]);
    assert_eq!(past, Err(Errno::SEQUENCE));
}

#[test]
fn each_frame_of_a_batch_has_its_own_outcome() {
    let guest = Guest::new();
    for (n, (index, frame)) in (0..).zip([(20_u64, 0x800_u64), (0x900, 0x801), (21, 0x802)]) {
        guest.0.put(1, LIST + n * 8, &index);
        guest.0.put(1, LIST + 0x100 + n * 8, &frame);
    }
    let mut argument = abi::AddToPhysmapBatch {
        domid: DOMID_SELF,
        space: abi::XENMAPSPACE_gmfn as u16,
        size: 3,
        foreign_domid: 0,
        idxs: GuestHandle64(LIST),
        gpfns: GuestHandle64(LIST + 0x100),
        errs: GuestHandle64(LIST + 0x200),
    };
    assert_eq!(
        guest.call(abi::XENMEM_add_to_physmap_batch, &argument),
        Ok(Answer::OK)
    );
    assert_eq!(guest.0.get::<[i32; 3]>(1, LIST + 0x200), [0, -22, 0]);
    // The number that is none ends the batch.
    guest.0.put(1, LIST + 0x108, &u64::MAX);
    guest.0.put(1, LIST + 0x200, &[0x5a_i32; 3]);
    let ended = guest.call(abi::XENMEM_add_to_physmap_batch, &argument);
    assert_eq!(ended, Err(Errno::INVALID));
    assert_eq!(guest.0.get::<[i32; 3]>(1, LIST + 0x200), [-22, 0x5a, 0x5a]);
    argument.space = abi::XENMAPSPACE_gmfn_foreign as u16;
    argument.size = 1;
    assert_eq!(
        guest.call(abi::XENMEM_add_to_physmap_batch, &argument),
        Ok(Answer::OK)
    );
    assert_eq!(guest.0.get::<i32>(1, LIST + 0x200), -1);
    argument.space = abi::XENMAPSPACE_gmfn_range as u16;
    assert_eq!(
        guest.call(abi::XENMEM_add_to_physmap_batch, &argument),
        Err(Errno::NOT_SUPPORTED)
    );
}

#[test]
fn a_removed_frame_is_gone_and_cannot_be_removed_again() {
    let guest = Guest::new();
    assert_eq!(guest.remove(9), Ok(Answer::OK));
    assert_eq!(guest.remove(9), Err(Errno::NO_ENTRY));
    assert_eq!(guest.remove(u64::MAX), Err(Errno::NO_ENTRY));
    assert_eq!(
        guest.ask(abi::XENMEM_current_reservation),
        Ok(Answer::Done(RAM_FRAMES)),
        "the domain has given up the place and not the frame"
    );
}

#[test]
fn a_balloon_deflates_and_inflates() {
    let guest = Guest::new();
    let frames: Vec<u64> = (10..60).collect();
    let taken = guest.reservation(abi::XENMEM_decrease_reservation, &frames, |_| ());
    assert_eq!(taken, Ok(Answer::Done(50)));
    assert_eq!(
        guest.ask(abi::XENMEM_current_reservation),
        Ok(Answer::Done(RAM_FRAMES - 50))
    );
    assert_eq!(guest.behind(30), None);
    let given = guest.reservation(abi::XENMEM_populate_physmap, &frames, |_| ());
    assert_eq!(given, Ok(Answer::Done(50)));
    assert_eq!(
        guest.ask(abi::XENMEM_current_reservation),
        Ok(Answer::Done(RAM_FRAMES))
    );
    assert_eq!(guest.0.get::<u64>(1, 30 << 12), 0, "fresh memory is zero");
}

#[test]
fn extents_are_done_up_to_the_first_that_cannot_be() {
    let guest = Guest::new();
    let decrease = abi::XENMEM_decrease_reservation;
    let populate = abi::XENMEM_populate_physmap;
    assert_eq!(
        guest.reservation(decrease, &[10, 11, 0x900, 12], |_| ()),
        Ok(Answer::Done(2))
    );
    assert!(guest.behind(12).is_some());
    // 128 frames is all it may have, and it has 62.
    let many: Vec<u64> = (0x400..0x500).collect();
    assert_eq!(guest.reservation(populate, &many, |_| ()), Ok(Answer::Done(66)));
    assert_eq!(guest.ask(abi::XENMEM_maximum_reservation), Ok(Answer::Done(128)));
    assert_eq!(
        guest.reservation(abi::XENMEM_increase_reservation, &[0], |_| ()),
        Ok(Answer::Done(0))
    );
    // The list's first element is the last one that can be read; it says 0.
    let half = |argument: &mut abi::Reservation| argument.extent_start = GuestHandle64(NOWHERE - 8);
    assert_eq!(guest.reservation(decrease, &[20, 21], half), Ok(Answer::Done(1)));
}

#[test]
fn a_large_extent_is_one_block_and_a_larger_one_is_refused() {
    let guest = Guest::new();
    let order = |order| move |argument: &mut abi::Reservation| argument.extent_order = order;
    let populate = abi::XENMEM_populate_physmap;
    assert_eq!(
        guest.reservation(populate, &[0x800, 0x811], order(4)),
        Ok(Answer::Done(2))
    );
    assert!(guest.behind(0x80f).is_some() && guest.behind(0x820).is_some());
    let before = guest.behind(0x800);
    assert_eq!(
        guest.reservation(populate, &[0x800], order(4)),
        Ok(Answer::Done(1))
    );
    assert_ne!(guest.behind(0x800), before, "it is replaced");
    let decrease = abi::XENMEM_decrease_reservation;
    assert_eq!(
        guest.reservation(decrease, &[0x811], order(4)),
        Ok(Answer::Done(1))
    );
    for raw in [10, 64, u32::MAX] {
        for command in [populate, decrease, abi::XENMEM_increase_reservation] {
            assert_eq!(guest.reservation(command, &[0], order(raw)), Ok(Answer::Done(0)));
        }
    }
}

#[test]
fn a_reservation_that_cannot_be_leaves_the_count_where_it_was() {
    let guest = Guest::new();
    let increase = |change: &dyn Fn(&mut abi::Reservation)| {
        guest.reservation(abi::XENMEM_increase_reservation, &[0, 0, 0], change)
    };
    let nothing = Ok(Answer::Done(0));
    assert_eq!(increase(&|_| ()), Ok(Answer::Done(3)));
    let exactly = abi::MemoryFlags::EXACT_NODE_REQUEST.bits();
    assert_eq!(
        increase(&|r| r.mem_flags = 0xfe00),
        Ok(Answer::Done(3)),
        "a node is a wish"
    );
    assert_eq!(
        increase(&|r| r.mem_flags = 0xfe00 | exactly),
        nothing,
        "no guest may insist"
    );
    assert_eq!(increase(&|r| r.mem_flags = 0x100 | exactly), nothing);
    assert_eq!(
        increase(&|r| r.mem_flags = exactly),
        Ok(Answer::Done(3)),
        "on nothing"
    );
    let virtual_node = abi::MemoryFlags::VNODE.bits();
    assert_eq!(
        increase(&|r| r.mem_flags = 0x900 | virtual_node | exactly),
        Ok(Answer::Done(3))
    );
    assert_eq!(
        increase(&|r| r.mem_flags = 12),
        nothing,
        "no address is that narrow"
    );
    // The machine of these tests has its first frame at 64 KiB.
    assert_eq!(increase(&|r| r.mem_flags = 16), nothing);
    assert_eq!(increase(&|r| r.mem_flags = 17), Ok(Answer::Done(3)));
    assert_eq!(increase(&|r| r.mem_flags = 255), Ok(Answer::Done(3)));
    assert_eq!(increase(&|r| r.domid = 2), nothing);
    assert_eq!(increase(&|r| r.domid = 3), nothing);
    assert_eq!(increase(&|r| r.nr_extents = 1 << 26), nothing);
    let demand = |r: &mut abi::Reservation| r.mem_flags = abi::MemoryFlags::POPULATE_ON_DEMAND.bits();
    let on_demand = guest.reservation(abi::XENMEM_populate_physmap, &[0x900], demand);
    assert_eq!(on_demand, nothing, "not on oneself");
    let beyond = guest.0.call(1, HYPERVISOR_memory_op, &[7 << 6, ARGUMENT]);
    assert_eq!(beyond, Ok(Answer::Done(7)));
    let unreadable = guest.0.call(1, HYPERVISOR_memory_op, &[5 << 6, NOWHERE]);
    assert_eq!(unreadable, Ok(Answer::Done(5)));
}

#[test]
fn a_long_reservation_is_made_in_slices() {
    let guest = Guest::new();
    let slices = |r: &mut abi::Reservation| r.nr_extents = 3000;
    guest
        .reservation(abi::XENMEM_increase_reservation, &[], slices)
        .unwrap();
    guest
        .0
        .hypervisor
        .frames
        .set_limit(guest.0.domains[0].id, 1 << 20);
    let first = guest.0.call(1, HYPERVISOR_memory_op, &[0, ARGUMENT]);
    let mut arguments = [1024 << 6, ARGUMENT, 0, 0, 0, 0];
    assert_eq!(first, Ok(Answer::Again(arguments)));
    arguments[0] = 2999 << 6;
    let last = guest.0.call(1, HYPERVISOR_memory_op, &arguments);
    assert_eq!(last, Ok(Answer::Done(3000)));
}

#[test]
fn the_memory_map_comes_in_as_many_entries_as_there_is_room_for() {
    let guest = Guest::new();
    let argument = |nr_entries| abi::MemoryMap {
        nr_entries,
        padding: 0,
        buffer: GuestHandle64(LIST),
    };
    assert_eq!(
        guest.call(abi::XENMEM_memory_map, &argument(9)),
        Err(Errno::NO_CALL)
    );
    let entry = |start, kind| MapEntry {
        start,
        bytes: 0x1000,
        kind,
    };
    guest.0.domains[0].settings.lock().memory_map = Vec::from([entry(0, 1), entry(0xfee0_0000, 2)]);
    assert_eq!(guest.call(abi::XENMEM_memory_map, &argument(9)), Ok(Answer::OK));
    assert_eq!(guest.0.get::<u32>(1, ARGUMENT), 2);
    assert_eq!(guest.0.get::<u64>(1, LIST + 20), 0xfee0_0000);
    assert_eq!(guest.0.get::<u32>(1, LIST + 36), 2);
    assert_eq!(guest.call(abi::XENMEM_memory_map, &argument(1)), Ok(Answer::OK));
    assert_eq!(guest.0.get::<u32>(1, ARGUMENT), 1);
    let nowhere = abi::MemoryMap {
        buffer: GuestHandle64(NOWHERE),
        ..argument(1)
    };
    assert_eq!(guest.call(abi::XENMEM_memory_map, &nowhere), Err(Errno::FAULT));
    // A 32-bit caller's argument is 8 bytes.
    let compat = abi::compat::MemoryMap {
        nr_entries: 7,
        buffer: GuestHandle32(LIST as u32),
    };
    guest.0.put(1, ARGUMENT, &compat);
    let call = [abi::XENMEM_memory_map.into(), ARGUMENT];
    let answer = guest
        .0
        .call_from(1, 0, Width::Bits32, HYPERVISOR_memory_op, &call);
    assert_eq!((answer, guest.0.get::<u32>(1, ARGUMENT)), (Ok(Answer::OK), 2));
}

#[test]
fn a_guest_may_give_itself_another_memory_map() {
    let guest = Guest::new();
    let mut argument = abi::ForeignMemoryMap {
        domid: DOMID_SELF,
        padding: [0; 3],
        map: abi::MemoryMap {
            nr_entries: 1,
            padding: 0,
            buffer: GuestHandle64(LIST),
        },
    };
    guest.0.put(1, LIST, &[0x10_0000_u64, 0x20_0000]);
    guest.0.put(1, LIST + 16, &1_u32);
    assert_eq!(guest.call(abi::XENMEM_set_memory_map, &argument), Ok(Answer::OK));
    let expected = MapEntry {
        start: 0x10_0000,
        bytes: 0x20_0000,
        kind: 1,
    };
    assert_eq!(guest.0.domains[0].settings.lock().memory_map, [expected]);
    argument.map.nr_entries = 1025;
    assert_eq!(
        guest.call(abi::XENMEM_set_memory_map, &argument),
        Err(Errno::INVALID)
    );
    argument.map.nr_entries = 1;
    argument.domid = 2;
    assert_eq!(
        guest.call(abi::XENMEM_set_memory_map, &argument),
        Err(Errno::NOT_PERMITTED)
    );
}

struct NoChanges;

impl Policy for NoChanges {
    fn otherwise(&self, _: &Request) -> Verdict {
        Verdict::Deny("memory is as it was given")
    }
}

#[test]
fn a_policy_that_denies_is_obeyed() {
    let guest = Guest(World::new(1, 1, NoChanges, Vec::new()));
    assert_eq!(
        guest.add(abi::XENMAPSPACE_shared_info, 0, 9),
        Err(Errno::NOT_PERMITTED)
    );
    assert_eq!(guest.remove(9), Err(Errno::NOT_PERMITTED));
    assert_eq!(guest.ask(abi::XENMEM_maximum_gpfn), Err(Errno::NOT_PERMITTED));
    assert_eq!(
        guest.reservation(abi::XENMEM_decrease_reservation, &[9], |_| ()),
        Ok(Answer::Done(0))
    );
    assert!(guest.behind(9).is_some());
    assert!(
        guest
            .0
            .board
            .log
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains("as it was given"))
    );
}

#[test]
fn commands_of_other_kinds_of_guests_do_not_exist() {
    let guest = Guest::new();
    for command in [8, 10, 12, 20, 22, 29, 31, 63] {
        assert_eq!(guest.ask(command), Err(Errno::NO_CALL), "{command}");
    }
    assert!(matches!(
        guest.ask(abi::XENMEM_maximum_ram_page),
        Ok(Answer::Done(4096))
    ));
}
