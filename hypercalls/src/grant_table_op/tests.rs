//! What guests hear when they grant, map and copy.

use alloc::vec::Vec;
use core::mem::offset_of;

use xenvisor_abi::grant_table as abi;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op as CALL};
use xenvisor_abi::{GuestHandle32, GuestHandle64};
use xenvisor_core::grant::table::TableFrame;
use xenvisor_core::machine::Width;
use xenvisor_core::number::Gfn;
use xenvisor_core::policy::{GrantMap, Policy, Silo, Verdict, XenDefault};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::answer::Answer;
use crate::errno::Errno;
use crate::testing::{NOWHERE, World};

/// Where arguments lie in a guest's memory.
const AT: u64 = 0x3000;
/// Where each guest sees the first frame of its table.
const TABLE: u64 = 0x1000;
const OKAY: i16 = abi::GNTST_okay;

fn world() -> World {
    under(XenDefault::default())
}

fn under(policy: impl Policy + 'static) -> World {
    let world = World::new(3, 1, policy, Vec::new());
    for domain in &world.domains {
        let show = domain.change(|leaving| {
            let mut table = domain.grants.lock();
            table.show(TableFrame::Shared(0), Gfn::new(TABLE), &domain.memory, leaving)
        });
        show.unwrap();
    }
    world
}

/// Makes a call with one element; the element afterwards.
fn op<T: IntoBytes + FromBytes + Immutable>(
    world: &World,
    n: usize,
    command: u32,
    argument: T,
) -> Result<T, Errno> {
    world.put(n, AT, &argument);
    let answer = world.call_to_the_end(n, CALL, &[command.into(), AT, 1])?;
    assert_eq!(answer, Answer::OK);
    Ok(world.get(n, AT))
}

/// Domain `n` offers a frame.
fn offer(world: &World, n: usize, reference: u32, grantee: u16, frame: u32, flags: u16) {
    let entry = abi::EntryV1 {
        flags: abi::GTF_permit_access | flags,
        domid: grantee,
        frame,
    };
    world.put(n, (TABLE << 12) + u64::from(reference) * 8, &entry);
}

fn flags(world: &World, n: usize, reference: u32) -> u16 {
    world.get(n, (TABLE << 12) + u64::from(reference) * 8)
}

fn map_argument(granter: u16, reference: u32, frame: u64) -> abi::MapGrantRef {
    abi::MapGrantRef {
        host_addr: frame << 12,
        flags: abi::MapFlags::HOST_MAP.bits(),
        reference,
        dom: granter,
        status: 77,
        handle: u32::MAX,
        dev_bus_addr: u64::MAX,
    }
}

fn map(world: &World, n: usize, argument: abi::MapGrantRef) -> abi::MapGrantRef {
    op(world, n, abi::GNTTABOP_map_grant_ref, argument).unwrap()
}

fn unmap(world: &World, n: usize, handle: u32, frame: u64) -> i16 {
    let argument = abi::UnmapGrantRef {
        host_addr: frame << 12,
        dev_bus_addr: 0,
        handle,
        status: 77,
        padding: 0,
    };
    op(world, n, abi::GNTTABOP_unmap_grant_ref, argument)
        .unwrap()
        .status
}

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
    let compat = abi::compat::SetupTable {
        dom: DOMID_SELF,
        padding0: 0,
        nr_frames: 2,
        status: 77,
        padding1: 0,
        frame_list: GuestHandle32(0x4000),
    };
    world.put(1, AT, &compat);
    let call = [abi::GNTTABOP_setup_table.into(), AT, 1];
    assert_eq!(world.call_from(1, 0, Width::Bits32, CALL, &call), Ok(Answer::OK));
    assert_eq!(world.get::<[u32; 2]>(1, 0x4000), [TABLE as u32, u32::MAX]);
    assert_eq!(world.get::<abi::compat::SetupTable>(1, AT).status, OKAY);
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
fn a_mapped_grant_is_the_granters_memory_until_it_is_given_up() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    let mapped = map(&world, 2, map_argument(1, 9, 0x500));
    assert_eq!((mapped.status, mapped.dev_bus_addr), (OKAY, 0));
    world.put(2, 0x50_0010, &0x1234_u32);
    assert_eq!(world.get::<u32>(1, 0x5010), 0x1234);
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access | 0x18);
    assert_eq!(unmap(&world, 2, mapped.handle, 0x501), abi::GNTST_general_error);
    assert_eq!(unmap(&world, 2, mapped.handle, 0), OKAY, "nothing is asked for");
    assert_eq!(unmap(&world, 2, mapped.handle, 0x500), OKAY);
    assert_eq!(unmap(&world, 2, mapped.handle, 0x500), abi::GNTST_bad_handle);
    assert_eq!(unmap(&world, 2, mapped.handle, 0), abi::GNTST_bad_handle);
    assert_eq!(unmap(&world, 2, u32::MAX, 0x500), abi::GNTST_bad_handle);
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access);
    assert!(
        world.domains[1]
            .memory
            .stage()
            .lock()
            .translate(Gfn::new(0x500))
            .is_none()
    );
}

#[test]
fn a_mapping_that_cannot_be_has_xens_status() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    offer(&world, 1, 10, 2, 5, 4);
    offer(&world, 1, 11, 3, 5, 0);
    offer(&world, 1, 12, 2, 0x900, 0);
    let good = map_argument(1, 9, 0x500);
    let status = |argument| {
        let answer = map(&world, 2, argument);
        assert_eq!(answer.handle, u32::MAX);
        answer.status
    };
    let with_flags = |flags| abi::MapGrantRef { flags, ..good };
    assert_eq!(status(with_flags(0)), abi::GNTST_bad_gntref);
    for flags in [1, 3, 2 | 8, 2 | 16, 2 | 1 << 16] {
        assert_eq!(status(with_flags(flags)), abi::GNTST_general_error, "{flags:#x}");
    }
    assert_eq!(status(abi::MapGrantRef { dom: 9, ..good }), abi::GNTST_bad_domain);
    assert_eq!(
        status(abi::MapGrantRef {
            dom: DOMID_SELF,
            ..good
        }),
        abi::GNTST_bad_domain
    );
    let with_reference = |reference| abi::MapGrantRef { reference, ..good };
    assert_eq!(status(with_reference(10)), abi::GNTST_general_error, "read-only");
    assert_eq!(status(with_reference(11)), abi::GNTST_general_error, "another's");
    assert_eq!(status(with_reference(12)), abi::GNTST_bad_page);
    assert_eq!(status(with_reference(13)), abi::GNTST_general_error, "nothing");
    assert_eq!(status(with_reference(512)), abi::GNTST_bad_gntref);
    let far = abi::MapGrantRef {
        host_addr: 1 << 60,
        ..good
    };
    assert_eq!(status(far), abi::GNTST_general_error);
    assert_eq!(
        flags(&world, 1, 9),
        abi::GTF_permit_access,
        "none of it left a trace"
    );
    let last = (0..100).map(|n| map(&world, 2, map_argument(1, 9, 0x500 + n)).status);
    assert!(last.into_iter().all(|status| status == OKAY));
    let full = map(&world, 2, map_argument(1, 9, 0x600));
    assert_eq!(full.status, abi::GNTST_no_device_space);
}

#[test]
fn a_list_is_served_in_slices_and_each_element_has_its_status() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    let size = size_of::<abi::MapGrantRef>() as u64;
    for n in 0..70 {
        let reference = if n == 40 { 600 } else { 9 };
        world.put(2, AT + n * size, &map_argument(1, reference, 0x500 + n));
    }
    let first = world.call(2, CALL, &[abi::GNTTABOP_map_grant_ref.into(), AT, 70]);
    let rest = [
        u64::from(abi::GNTTABOP_map_grant_ref),
        AT + 32 * size,
        38,
        0,
        0,
        0,
    ];
    assert_eq!(first, Ok(Answer::Again(rest)));
    assert_eq!(world.call_to_the_end(2, CALL, &rest), Ok(Answer::OK));
    let answer = |n| world.get::<abi::MapGrantRef>(2, AT + n * size);
    for n in 0..70 {
        let expected = if n == 40 { abi::GNTST_bad_gntref } else { OKAY };
        assert_eq!(answer(n).status, expected);
    }
    let handles: Vec<u32> = (0..70).filter(|n| *n != 40).map(|n| answer(n).handle).collect();
    let size = size_of::<abi::UnmapGrantRef>() as u64;
    for (n, handle) in (0..).zip(&handles) {
        let argument = abi::UnmapGrantRef {
            host_addr: (0x500 + n + u64::from(n >= 40)) << 12,
            dev_bus_addr: 0,
            handle: *handle,
            status: 77,
            padding: 0,
        };
        world.put(2, AT + n * size, &argument);
    }
    let call = [abi::GNTTABOP_unmap_grant_ref.into(), AT, 69];
    assert_eq!(world.call_to_the_end(2, CALL, &call), Ok(Answer::OK));
    assert_eq!(world.domains[1].handles.lock().used(), 0);
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access);
}

#[test]
fn a_list_that_ends_in_nowhere_is_served_up_to_there() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    let mapped = map(&world, 2, map_argument(1, 9, 0x500));
    let at = NOWHERE - size_of::<abi::UnmapGrantRef>() as u64;
    let argument = abi::UnmapGrantRef {
        host_addr: 0x50_0000,
        dev_bus_addr: 0,
        handle: mapped.handle,
        status: 77,
        padding: 0,
    };
    world.put(2, at, &argument);
    let answer = world.call(2, CALL, &[abi::GNTTABOP_unmap_grant_ref.into(), at, 2]);
    assert_eq!(answer, Err(Errno::FAULT));
    assert_eq!(
        world.get::<i16>(2, at + offset_of!(abi::UnmapGrantRef, status) as u64),
        OKAY
    );
    assert_eq!(
        flags(&world, 1, 9),
        abi::GTF_permit_access,
        "what was unmapped is no longer in use"
    );
}

fn end(u: u64, domid: u16, offset: u16) -> abi::CopyPointer {
    abi::CopyPointer {
        u,
        domid,
        offset,
        padding: 0,
    }
}

fn copy(world: &World, source: abi::CopyPointer, dest: abi::CopyPointer, flags: u16, len: u16) -> i16 {
    let argument = abi::CopyOp {
        source,
        dest,
        len,
        flags,
        status: 77,
        padding: 0,
    };
    op(world, 2, abi::GNTTABOP_copy, argument).unwrap().status
}

#[test]
fn bytes_are_copied_from_and_to_grants() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 4);
    offer(&world, 3, 9, 2, 6, 0);
    world.put(1, 0x5010, &0x1234_5678_u32);
    let own = |offset| end(7, DOMID_SELF, offset);
    assert_eq!(copy(&world, end(9, 1, 0x10), own(0x20), 1, 4), OKAY);
    assert_eq!(world.get::<u32>(2, 0x7020), 0x1234_5678);
    assert_eq!(copy(&world, own(0x20), end(9, 3, 0), 2, 4), OKAY);
    assert_eq!(world.get::<u32>(3, 0x6000), 0x1234_5678);
    assert_eq!(
        copy(&world, end(9, 1, 0x10), end(9, 3, 8), 3, 4),
        OKAY,
        "between two others"
    );
    assert_eq!(world.get::<u32>(3, 0x6008), 0x1234_5678);
    assert_eq!(copy(&world, own(0x20), own(0x40), 0, 4), OKAY);
    assert_eq!(world.get::<u32>(2, 0x7040), 0x1234_5678);
    assert_eq!(
        flags(&world, 1, 9) | flags(&world, 3, 9),
        abi::GTF_permit_access | 4
    );
    let upper = end(0xdead_0000_0009, 1, 0x10);
    assert_eq!(copy(&world, upper, own(0), 1, 4), OKAY, "a reference has 32 bits");
}

#[test]
fn a_copy_that_cannot_be_has_xens_status() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 4);
    offer(&world, 1, 10, 3, 5, 0);
    let own = end(7, DOMID_SELF, 0);
    let from = |reference, domid| copy(&world, end(reference, domid, 0), own, 1, 4);
    assert_eq!(from(9, 9), abi::GNTST_bad_domain);
    assert_eq!(from(600, 1), abi::GNTST_bad_gntref);
    assert_eq!(from(10, 1), abi::GNTST_general_error);
    assert_eq!(
        copy(&world, own, end(9, 1, 0), 2, 4),
        abi::GNTST_general_error,
        "read-only"
    );
    assert_eq!(
        copy(&world, end(5, 1, 0), own, 0, 4),
        abi::GNTST_permission_denied
    );
    assert_eq!(
        copy(&world, end(7, 2, 0), own, 0, 4),
        abi::GNTST_permission_denied
    );
    assert_eq!(
        copy(&world, end(0x900, DOMID_SELF, 0), own, 0, 4),
        abi::GNTST_bad_page
    );
    assert_eq!(copy(&world, end(9, 1, 4093), own, 1, 4), abi::GNTST_bad_copy_arg);
    assert_eq!(
        copy(&world, own, end(7, DOMID_SELF, 0xffff), 0, 0xffff),
        abi::GNTST_bad_copy_arg
    );
    assert_eq!(copy(&world, end(9, 1, 4096), own, 1, 0), OKAY);
}

#[test]
fn a_grant_is_passed_on_once() {
    let world = world();
    let set_v2 = |n: usize| {
        world.put(n, AT, &2_u32);
        world
            .call(n, CALL, &[abi::GNTTABOP_set_version.into(), AT, 1])
            .unwrap();
    };
    // Domain 3 passes on to 2 what 1 granted to it.
    offer(&world, 1, 9, 3, 5, 0);
    set_v2(3);
    let entry = abi::EntryV2Transitive {
        header: abi::EntryHeader {
            flags: abi::GTF_transitive,
            domid: 2,
        },
        trans_domid: 1,
        padding: 0,
        gref: 9,
    };
    let entry_at = (TABLE << 12) + 10 * 16;
    world.put(3, entry_at, &entry);
    world.put(1, 0x5000, &0x77_u32);
    let own = end(7, DOMID_SELF, 0);
    assert_eq!(copy(&world, end(10, 3, 0), own, 1, 4), OKAY);
    assert_eq!(world.get::<u32>(2, 0x7000), 0x77);
    assert_eq!(copy(&world, own, end(10, 3, 4), 2, 4), OKAY);
    assert_eq!(world.get::<u32>(1, 0x5004), 0x77);
    let mut mapping = map_argument(3, 10, 0x500);
    mapping = map(&world, 2, mapping);
    assert_eq!(mapping.status, abi::GNTST_general_error, "it cannot be mapped");
    let bent = abi::EntryV2Transitive {
        trans_domid: 3,
        ..entry
    };
    world.put(3, entry_at, &bent);
    assert_eq!(copy(&world, end(10, 3, 0), own, 1, 4), abi::GNTST_general_error);
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
fn a_silo_grants_nothing_to_anybody() {
    let world = under(Silo::default());
    offer(&world, 1, 9, 2, 5, 0);
    assert_eq!(
        map(&world, 2, map_argument(1, 9, 0x500)).status,
        abi::GNTST_permission_denied
    );
    let own = end(7, DOMID_SELF, 0);
    assert_eq!(
        copy(&world, end(9, 1, 0), own, 1, 4),
        abi::GNTST_permission_denied
    );
    assert_eq!(copy(&world, own, own, 0, 4), OKAY);
}

struct ReadOnlyGrants;

impl Policy for ReadOnlyGrants {
    fn grant_map(&self, request: &GrantMap) -> Verdict {
        match request.access {
            xenvisor_core::machine::Access::Read => Verdict::Allow,
            xenvisor_core::machine::Access::ReadWrite => Verdict::Deny("this image maps grants read-only"),
        }
    }
}

#[test]
fn a_policy_sees_how_a_grant_shall_be_mapped() {
    let world = under(ReadOnlyGrants);
    offer(&world, 1, 9, 2, 5, 0);
    let writable = map_argument(1, 9, 0x500);
    assert_eq!(map(&world, 2, writable).status, abi::GNTST_permission_denied);
    let flags = writable.flags | abi::MapFlags::READONLY.bits();
    assert_eq!(
        map(&world, 2, abi::MapGrantRef { flags, ..writable }).status,
        OKAY
    );
    assert!(
        world
            .board
            .log
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains("read-only"))
    );
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
