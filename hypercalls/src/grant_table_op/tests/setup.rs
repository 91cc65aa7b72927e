//! A table as a whole: size, version, frames, exchanged entries.

use xenvisor_abi::memory::{
    AddToPhysmap, XENMAPIDX_grant_table_status, XENMAPSPACE_grant_table, XENMEM_add_to_physmap,
};
use xenvisor_abi::xen::HYPERVISOR_memory_op;
use xenvisor_abi::{GuestHandle32, GuestHandle64};
use xenvisor_core::number::DomainId;

use super::*;

fn query(world: &World, dom: u16) -> abi::QuerySize {
    let argument = abi::QuerySize {
        dom,
        padding0: 0,
        nr_frames: 99,
        max_nr_frames: 99,
        status: 77,
        padding1: 0,
    };
    op(world, 1, abi::GNTTABOP_query_size, argument).unwrap()
}

#[test]
fn a_table_begins_with_one_frame_and_says_how_far_it_can_grow() {
    let world = world();
    let size = query(&world, DOMID_SELF);
    assert_eq!((size.nr_frames, size.max_nr_frames, size.status), (1, 4, OKAY));
    assert_eq!(query(&world, 1).status, OKAY);
    assert_eq!(query(&world, 2).status, abi::GNTST_permission_denied);
    assert_eq!(query(&world, 9).status, abi::GNTST_bad_domain);
    let count = |count| world.call(1, CALL, &[abi::GNTTABOP_query_size.into(), AT, count]);
    assert_eq!(count(0), Err(Errno::INVALID));
    assert_eq!(count(2), Err(Errno::INVALID));
    let nowhere = world.call(1, CALL, &[abi::GNTTABOP_query_size.into(), NOWHERE, 1]);
    assert_eq!(nowhere, Err(Errno::FAULT));
}

#[test]
fn setting_up_a_table_grows_it_and_tells_where_its_frames_are() {
    let world = world();
    let argument = |nr_frames, list| abi::SetupTable {
        dom: DOMID_SELF,
        padding0: 0,
        nr_frames,
        status: 77,
        padding1: [0; 3],
        frame_list: GuestHandle64(list),
    };
    let setup = |nr_frames, list| {
        op(&world, 1, abi::GNTTABOP_setup_table, argument(nr_frames, list))
            .unwrap()
            .status
    };
    assert_eq!(setup(3, 0x4000), OKAY);
    assert_eq!(world.get::<[u64; 3]>(1, 0x4000), [TABLE, u64::MAX, u64::MAX]);
    assert_eq!(query(&world, DOMID_SELF).nr_frames, 3);
    assert_eq!(setup(5, 0x4000), abi::GNTST_general_error);
    assert_eq!(setup(2, NOWHERE), abi::GNTST_bad_virt_addr);
    let narrow = |nr_frames| {
        let compat = abi::compat::SetupTable {
            dom: DOMID_SELF,
            padding0: 0,
            nr_frames,
            status: 77,
            padding1: 0,
            frame_list: GuestHandle32(0x4000),
        };
        world.put(1, AT, &compat);
        world.put(1, 0x4000, &[77_u32; 2]);
        let call = [abi::GNTTABOP_setup_table.into(), AT, 1];
        assert_eq!(world.call_from(1, 0, Width::Bits32, CALL, &call), Ok(Answer::OK));
        let list = world.get::<[u32; 2]>(1, 0x4000);
        (world.get::<abi::compat::SetupTable>(1, AT).status, list)
    };
    assert_eq!(narrow(1), (OKAY, [TABLE as u32, 77]));
    assert_eq!(
        narrow(2),
        (abi::GNTST_address_too_big, [TABLE as u32, 77]),
        "a frame that is not seen has a number that is too large"
    );
    let call = [abi::GNTTABOP_setup_table.into(), NOWHERE, 0];
    assert_eq!(world.call_from(1, 0, Width::Bits32, CALL, &call), Ok(Answer::OK));
    assert_eq!(world.call(1, CALL, &call), Err(Errno::INVALID));
}

#[test]
fn the_version_in_force_is_told_whether_it_changed_or_not() {
    let world = world();
    let set = |version| {
        world.put(1, AT, &version);
        let answer = world.call(1, CALL, &[abi::GNTTABOP_set_version.into(), AT, 1]);
        (answer, world.get::<u32>(1, AT))
    };
    assert_eq!(set(1_u32), (Ok(Answer::OK), 1));
    assert_eq!(set(2), (Ok(Answer::OK), 2));
    assert_eq!(set(3), (Err(Errno::INVALID), 2));
    let get = |dom| {
        let argument = abi::GetVersion {
            dom,
            padding: 0,
            version: 0,
        };
        op(&world, 1, abi::GNTTABOP_get_version, argument).map(|answer| answer.version)
    };
    assert_eq!(
        (get(DOMID_SELF), get(2), get(9)),
        (Ok(2), Err(Errno::NOT_PERMITTED), Err(Errno::NO_DOMAIN))
    );
    assert_eq!(set(1), (Ok(Answer::OK), 1));
    offer(&world, 1, 9, 2, 5, 0);
    let mapped = map(&world, 2, map_argument(1, 9, 0x500));
    assert_eq!(set(2), (Err(Errno::BUSY), 1));
    assert_eq!(unmap(&world, 2, mapped.handle, 0x500), OKAY);
    assert_eq!(set(2), (Ok(Answer::OK), 2));
}

#[test]
fn exchanged_offers_keep_what_they_offer() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    offer(&world, 1, 10, 3, 6, 4);
    let swap = |ref_a, ref_b| {
        let argument = abi::SwapGrantRef {
            ref_a,
            ref_b,
            status: 77,
            padding: 0,
        };
        op(&world, 1, abi::GNTTABOP_swap_grant_ref, argument)
            .unwrap()
            .status
    };
    assert_eq!(swap(9, 10), OKAY);
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access | 4);
    assert_eq!(swap(9, 512), abi::GNTST_bad_gntref);
    let mapped = map(&world, 2, map_argument(1, 10, 0x500));
    assert_eq!(mapped.status, OKAY);
    assert_eq!(swap(9, 10), abi::GNTST_eagain);
    assert_eq!(swap(10, 10), OKAY);
}

#[test]
fn commands_of_other_kinds_of_guests_do_not_exist() {
    let world = world();
    for command in [3, 4, 7, 9, 12, 13, 1 << 20] {
        let answer = world.call(1, CALL, &[command, AT, 1]);
        assert_eq!(answer, Err(Errno::NO_CALL), "{command}");
    }
    let negative = [abi::GNTTABOP_map_grant_ref.into(), AT, 1 << 31];
    assert_eq!(world.call(1, CALL, &negative), Err(Errno::INVALID));
    assert_eq!(
        world.call(1, CALL, &[abi::GNTTABOP_copy.into(), NOWHERE, 0]),
        Ok(Answer::OK)
    );
}

#[test]
fn only_a_privileged_domain_looks_at_or_sets_up_the_table_of_another() {
    let ask = |world: &World| {
        let setup = abi::SetupTable {
            dom: 2,
            padding0: 0,
            nr_frames: 2,
            status: 77,
            padding1: [0; 3],
            frame_list: GuestHandle64(0x4000),
        };
        let setup = op(world, 1, abi::GNTTABOP_setup_table, setup).unwrap().status;
        let version = abi::GetVersion {
            dom: 2,
            padding: 0,
            version: 0,
        };
        let version = op(world, 1, abi::GNTTABOP_get_version, version).map(|answer| answer.version);
        let size = query(world, 2);
        (setup, version, size.status, size.nr_frames)
    };
    let denied = abi::GNTST_permission_denied;
    assert_eq!(ask(&world()), (denied, Err(Errno::NOT_PERMITTED), denied, 99));
    let privileged = under(XenDefault::with_privileged(DomainId::new(1)));
    assert_eq!(ask(&privileged), (OKAY, Ok(1), OKAY, 2));
    assert_eq!(privileged.get::<[u64; 2]>(1, 0x4000), [TABLE, u64::MAX]);
}

#[test]
fn a_reserved_offer_that_version_1_cannot_say_keeps_the_table_in_version_2() {
    let world = world();
    let set = |version: u32| {
        world.put(1, AT, &version);
        let answer = world.call(1, CALL, &[abi::GNTTABOP_set_version.into(), AT, 1]);
        (answer, world.get::<u32>(1, AT))
    };
    assert_eq!(set(2), (Ok(Answer::OK), 2));
    let entry_at = (TABLE << 12) + 3 * 16;
    for (first, second) in [(1_u64, 1_u64 << 32), (3, 0)] {
        world.put(1, entry_at, &[first, second]);
        assert_eq!(set(1), (Err(Errno::RANGE), 2));
        assert_eq!(world.get::<[u64; 2]>(1, entry_at), [first, second]);
    }
    world.put(1, entry_at, &[0_u64, 1 << 32]);
    assert_eq!(set(1), (Ok(Answer::OK), 1));
}

fn place(world: &World, n: usize, idx: u64, gpfn: u64) -> Result<Answer, Errno> {
    let argument = AddToPhysmap {
        domid: DOMID_SELF,
        space: XENMAPSPACE_grant_table,
        idx,
        gpfn,
        ..AddToPhysmap::default()
    };
    world.put(n, AT, &argument);
    world.call(n, HYPERVISOR_memory_op, &[XENMEM_add_to_physmap.into(), AT])
}

#[test]
fn status_frames_are_seen_in_version_2_alone() {
    let world = world();
    let set = |version: u32| {
        world.put(1, AT, &version);
        world.call(1, CALL, &[abi::GNTTABOP_set_version.into(), AT, 1])
    };
    let status = XENMAPIDX_grant_table_status;
    let seen = |gpfn| {
        let stage = world.domains[0].memory.stage().lock();
        stage.translate(Gfn::new(gpfn)).is_some()
    };
    assert_eq!(place(&world, 1, status, 0x1800), Err(Errno::INVALID));
    set(2).unwrap();
    assert_eq!(place(&world, 1, status, 0x1800), Ok(Answer::OK));
    assert!(seen(0x1800));
    assert_eq!(place(&world, 1, status | 1, 0x1801), Err(Errno::INVALID));
    assert_eq!(
        query(&world, DOMID_SELF).nr_frames,
        1,
        "no growth beyond the limit"
    );
    set(1).unwrap();
    assert!(!seen(0x1800), "they are taken away");
    assert!(seen(TABLE), "and the entries are not");
    assert_eq!(place(&world, 1, status, 0x1800), Err(Errno::INVALID));
}

#[test]
fn a_table_grows_by_being_placed_up_to_its_limit() {
    let world = world();
    assert_eq!(place(&world, 1, 3, 0x1003), Ok(Answer::OK));
    assert_eq!(query(&world, DOMID_SELF).nr_frames, 4);
    for idx in [4, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(place(&world, 1, idx, 0x1004), Err(Errno::INVALID), "{idx:#x}");
    }
    // Xen keeps 32 bits of an index.
    assert_eq!(place(&world, 1, 1 << 32, 0x1004), Ok(Answer::OK));
    // The last entry of the last frame can be used.
    let entry = abi::EntryV1 {
        flags: abi::GTF_permit_access,
        domid: 2,
        frame: 5,
    };
    world.put(1, 0x100_3000 + 511 * 8, &entry);
    assert_eq!(map(&world, 2, map_argument(1, 2047, 0x500)).status, OKAY);
}

#[test]
fn exchanged_offers_of_version_2_keep_their_parts_and_their_status() {
    let world = world();
    world.put(1, AT, &2_u32);
    world
        .call(1, CALL, &[abi::GNTTABOP_set_version.into(), AT, 1])
        .unwrap();
    place(&world, 1, XENMAPIDX_grant_table_status, 0x1800).unwrap();
    let entry = |reference: u64| (TABLE << 12) + reference * 16;
    let (one, two) = ([0x0010_0020_0002_0101_u64, 5], [0x0003_0003_u64, 77]);
    world.put(1, entry(9), &one);
    world.put(1, entry(12), &two);
    world.put(1, 0x180_0000 + 8 * 2, &[1_u16, 2, 3, 4, 5]);
    let argument = abi::SwapGrantRef {
        ref_a: 9,
        ref_b: 12,
        status: 77,
        padding: 0,
    };
    let answer = op(&world, 1, abi::GNTTABOP_swap_grant_ref, argument).unwrap();
    assert_eq!(answer.status, OKAY);
    assert_eq!(world.get::<[u64; 2]>(1, entry(9)), two);
    assert_eq!(world.get::<[u64; 2]>(1, entry(12)), one);
    assert_eq!(world.get::<[u16; 5]>(1, 0x180_0000 + 8 * 2), [1, 5, 3, 4, 2]);
}

#[test]
fn a_list_of_exchanges_is_served_in_slices() {
    let world = world();
    offer(&world, 1, 100, 2, 5, 0);
    let size = size_of::<abi::SwapGrantRef>() as u64;
    // One offer goes from 100 to 140, a step at a time.
    for n in 0..40_u32 {
        let argument = abi::SwapGrantRef {
            ref_a: 100 + n,
            ref_b: 101 + n,
            status: 77,
            padding: 0,
        };
        world.put(1, AT + u64::from(n) * size, &argument);
    }
    let call = [abi::GNTTABOP_swap_grant_ref.into(), AT, 40];
    let rest = [call[0], AT + 32 * size, 8, 0, 0, 0];
    assert_eq!(world.call(1, CALL, &call), Ok(Answer::Again(rest)));
    assert_eq!(flags(&world, 1, 132), abi::GTF_permit_access);
    assert_eq!(world.call(1, CALL, &rest), Ok(Answer::OK));
    assert_eq!(flags(&world, 1, 140), abi::GTF_permit_access);
    assert!((100..140).all(|reference| flags(&world, 1, reference) == 0));
}
