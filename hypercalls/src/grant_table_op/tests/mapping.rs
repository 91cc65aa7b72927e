//! Mapping what others granted, and giving it up.

use core::mem::offset_of;

use xenvisor_core::machine::Access;
use xenvisor_core::policy::{GrantMap, Verdict};

use super::*;

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
        // A kind of mapping that only other guests have is refused before anything else, one that nobody has last.
        let first = if flags < 1 << 16 {
            abi::GNTST_general_error
        } else {
            abi::GNTST_bad_domain
        };
        let nobody = abi::MapGrantRef {
            dom: 9,
            ..with_flags(flags)
        };
        assert_eq!(status(nobody), first, "{flags:#x}");
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
    assert_eq!(full.status, abi::GNTST_no_space);
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

struct ReadOnlyGrants;

impl Policy for ReadOnlyGrants {
    fn grant_map(&self, request: &GrantMap) -> Verdict {
        match request.access {
            Access::Read => Verdict::Allow,
            Access::ReadWrite => Verdict::Deny("this image maps grants read-only"),
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
fn a_device_address_is_told_to_nobody_and_none_is_one() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    let mapped = map(&world, 2, map_argument(1, 9, 0x500));
    assert_eq!(mapped.dev_bus_addr, 0);
    let unmap_at = |host_addr, dev_bus_addr| {
        let argument = abi::UnmapGrantRef {
            host_addr,
            dev_bus_addr,
            handle: mapped.handle,
            status: 77,
            padding: 0,
        };
        op(&world, 2, abi::GNTTABOP_unmap_grant_ref, argument)
            .unwrap()
            .status
    };
    assert_eq!(unmap_at(0x50_0000, 0x5000), abi::GNTST_general_error);
    assert_eq!(unmap_at(0, 0x5000), abi::GNTST_general_error);
    assert_eq!(unmap_at(0x50_0000, mapped.dev_bus_addr), OKAY);
}

#[test]
fn an_offer_taken_back_while_it_is_in_use_ends_when_the_use_does() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    let read_only = |frame| abi::MapGrantRef {
        flags: (abi::MapFlags::HOST_MAP | abi::MapFlags::READONLY).bits(),
        ..map_argument(1, 9, frame)
    };
    let one = map(&world, 2, read_only(0x500));
    assert_eq!(one.status, OKAY);
    // Taken back by force: a granter that looks at the status bits would wait.
    world.put(1, (TABLE << 12) + 9 * 8, &0_u16);
    assert_eq!(world.get::<u32>(2, 0x50_0000), 0, "it is still mapped");
    let two = map(&world, 2, map_argument(1, 9, 0x501));
    assert_eq!(two.status, OKAY, "who uses it may go on to");
    assert_eq!(flags(&world, 1, 9), 0x18);
    assert_eq!(unmap(&world, 2, one.handle, 0x500), OKAY);
    assert_eq!(unmap(&world, 2, two.handle, 0x501), OKAY);
    assert_eq!(flags(&world, 1, 9), 0);
    assert_eq!(
        map(&world, 2, map_argument(1, 9, 0x500)).status,
        abi::GNTST_general_error
    );
}

#[test]
fn an_offer_that_has_become_read_only_gets_no_first_writer() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    let read_only = abi::MapGrantRef {
        flags: (abi::MapFlags::HOST_MAP | abi::MapFlags::READONLY).bits(),
        ..map_argument(1, 9, 0x500)
    };
    assert_eq!(map(&world, 2, read_only).status, OKAY);
    world.put(1, (TABLE << 12) + 9 * 8, &(abi::GTF_permit_access | 4 | 8));
    assert_eq!(
        map(&world, 2, map_argument(1, 9, 0x501)).status,
        abi::GNTST_general_error
    );
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access | 4 | 8);
}

#[test]
fn what_one_has_mapped_cannot_be_granted_on() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    assert_eq!(map(&world, 2, map_argument(1, 9, 0x500)).status, OKAY);
    offer(&world, 2, 9, 3, 0x500, 0);
    assert_eq!(
        map(&world, 3, map_argument(2, 9, 0x600)).status,
        abi::GNTST_general_error
    );
    assert_eq!(flags(&world, 2, 9), abi::GTF_permit_access);
}

#[test]
fn a_frame_of_the_hypervisor_that_a_domain_sees_can_be_granted() {
    let world = world();
    offer(&world, 1, 9, 2, TABLE as u32, 4);
    let read_only = abi::MapGrantRef {
        flags: (abi::MapFlags::HOST_MAP | abi::MapFlags::READONLY).bits(),
        ..map_argument(1, 9, 0x500)
    };
    let mapped = map(&world, 2, read_only);
    assert_eq!(mapped.status, OKAY);
    assert_eq!(
        world.get::<u64>(2, 0x50_0000 + 72),
        world.get(1, (TABLE << 12) + 72)
    );
    assert_eq!(unmap(&world, 2, mapped.handle, 0x500), OKAY);
}

#[test]
fn a_mapping_takes_the_place_of_memory_but_not_of_another_mapping() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    let before = world.domains[1].memory.account().used;
    let mapped = map(&world, 2, map_argument(1, 9, 0x20));
    assert_eq!(mapped.status, OKAY);
    let memory = &world.domains[1].memory;
    assert_eq!(
        (memory.account().used, memory.unplaced()),
        (before, 1),
        "it is gone, and counts on"
    );
    assert_eq!(
        map(&world, 2, map_argument(1, 9, 0x20)).status,
        abi::GNTST_general_error
    );
    assert_eq!(unmap(&world, 2, mapped.handle, 0x20), OKAY);
}

#[test]
fn a_frame_that_a_domain_maps_of_its_own_is_seen_there_alone() {
    let world = world();
    world.put(1, 0x5000, &0x77_u32);
    offer(&world, 1, 9, 1, 5, 0);
    let mapped = map(&world, 1, map_argument(1, 9, 0x500));
    assert_eq!(mapped.status, OKAY);
    assert_eq!(world.get::<u32>(1, 0x50_0000), 0x77);
    let seen = |gfn| {
        let stage = world.domains[0].memory.stage().lock();
        stage.translate(Gfn::new(gfn)).is_some()
    };
    assert_eq!((seen(5), seen(0x500)), (false, true));
    assert_eq!(unmap(&world, 1, mapped.handle, 0x500), OKAY);
    assert_eq!((seen(5), seen(0x500)), (false, false));
}
