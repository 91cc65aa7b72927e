//! Offers in use: who counts what, and when it ends.

use super::*;

#[test]
fn xsa_218_a_handle_twice_in_one_list_is_good_once() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    let handle = map(&world, 2, 1, 9, AT, 0).unwrap();
    let element = abi::UnmapGrantRef {
        host_addr: AT << 12,
        handle,
        ..Default::default()
    };
    let at = ARGUMENTS;
    world.put(2, at, &[element; 3]);
    let command = abi::GNTTABOP_unmap_grant_ref.into();
    assert_eq!(world.call(2, HYPERVISOR_grant_table_op, &[command, at, 3]), 0);
    let statuses = world
        .get::<[abi::UnmapGrantRef; 3]>(2, at)
        .map(|element| element.status);
    assert_eq!(statuses, [OKAY, abi::GNTST_bad_handle, abi::GNTST_bad_handle]);
    end(&world, &[1, 2]);
}

#[test]
fn xsa_224_readers_and_writers_are_counted_apart_whatever_the_order_they_leave_in() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let world = world(2);
        offer(&world, 1, 9, 2, FRAME);
        let frame = mfn(&world.domain(1), FRAME).unwrap();
        let kinds = [READ_ONLY, 0, READ_ONLY];
        let handles: Vec<_> = (0..)
            .zip(kinds)
            .map(|(n, kind)| map(&world, 2, 1, 9, AT + n, kind).unwrap())
            .collect();
        assert_eq!(unmap(&world, 2, handles[0], AT + 1), GENERAL, "another's place");
        let mut left = vec![0, 1, 2];
        for n in order {
            assert_eq!(unmap(&world, 2, handles[n], AT + n as u64), OKAY);
            left.retain(|other| *other != n);
            let mut expected = abi::GTF_permit_access;
            expected |= if left.is_empty() { 0 } else { 8 };
            expected |= if left.contains(&1) { 16 } else { 0 };
            assert_eq!(flags(&world, 1, 9), expected, "{order:?}, {n}");
            let references = usage(&world, frame).map(|(_, count)| count);
            assert_eq!(references, Some(1 + u32::try_from(left.len()).unwrap()));
        }
        end(&world, &[1, 2]);
    }
}

#[test]
fn xsa_230_a_copy_that_ends_does_not_say_that_a_mapping_has() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    let handle = map(&world, 2, 1, 9, AT, 0).unwrap();
    for bytes in [0, 64] {
        assert_eq!(copy_from(&world, 2, 1, 9, FRAME, bytes), OKAY);
        assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access | 0x18);
    }
    // Nor does one that fails.
    assert_eq!(copy_from(&world, 2, 1, 9, AT + 7, 64), abi::GNTST_bad_page);
    assert_eq!(map(&world, 2, 1, 9, AT, 0), Err(GENERAL), "the place is taken");
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access | 0x18);
    assert_eq!(unmap(&world, 2, handle, AT), OKAY);
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access);
    end(&world, &[1, 2]);
}

#[test]
fn xsa_236_a_pin_and_the_reference_of_its_frame_come_and_go_together() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    let frame = mfn(&world.domain(1), FRAME).unwrap();
    let one = map(&world, 2, 1, 9, AT, 0).unwrap();
    take_away(&world, 1, FRAME);
    let owner = Owner::Domain(DomainId::new(1));
    assert_eq!(usage(&world, frame), Some((owner, 1)), "the mapping's");
    // Who is in may go on: it is the frame that was offered then, counted again.
    let two = map(&world, 2, 1, 9, AT + 1, 0).unwrap();
    assert_eq!(mfn(&world.domain(2), AT + 1), Some(frame));
    assert_eq!(usage(&world, frame), Some((owner, 2)));
    for (handle, at) in [(one, AT), (two, AT + 1)] {
        assert_eq!(unmap(&world, 2, handle, at), OKAY);
    }
    assert_eq!(usage(&world, frame), None);
    assert_eq!(map(&world, 2, 1, 9, AT, 0), Err(abi::GNTST_bad_page));
    end(&world, &[1, 2]);
}

#[test]
fn xsa_236_a_frame_that_is_nobodys_any_more_is_used_on_by_who_is_in() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    let frame = mfn(&world.domain(1), FRAME).unwrap();
    let one = map(&world, 2, 1, 9, AT, 0).unwrap();
    lose(&world, 1, FRAME);
    let two = map(&world, 2, 1, 9, AT + 1, READ_ONLY).unwrap();
    assert_eq!(usage(&world, frame), Some((Owner::Hypervisor, 2)));
    assert_eq!(copy_from(&world, 2, 1, 9, FRAME, 8), OKAY);
    for (handle, at) in [(one, AT), (two, AT + 1)] {
        assert_eq!(unmap(&world, 2, handle, at), OKAY);
    }
    assert_eq!(usage(&world, frame), None);
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access);
    end(&world, &[1, 2]);
}

#[test]
fn xsa_380_mappings_of_a_domain_that_ends_are_given_up_a_few_at_a_time() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    for n in 0..100 {
        map(&world, 2, 1, 9, AT + n, 0).unwrap();
    }
    let (granter, grantee) = (world.domain(1), world.domain(2));
    let (mut from, mut turns) = (GrantHandle::new(0), 0);
    while let Progress::Continue(next) =
        map::give_up_some(grantee.party(), from, 10, |id| world.hypervisor.domain(id))
    {
        turns += 1;
        from = next;
        let left = 100 - 10 * turns;
        assert_eq!(grantee.handles.lock().used(), left);
        let frame = mfn(&granter, FRAME).unwrap();
        assert_eq!(usage(&world, frame).map(|(_, count)| count), Some(1 + left));
    }
    assert_eq!((turns, grantee.handles.lock().used()), (9, 0));
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access);
    assert_eq!(
        mfn(&grantee, AT),
        None,
        "nobody sees the frames through it any more"
    );
    drop((granter, grantee));
    end(&world, &[2, 1]);
}

#[test]
fn xsa_448_copying_nothing_touches_nothing_and_leaves_nothing_in_use() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    world.put(1, FRAME << 12, &0x77_u64);
    world.put(2, FRAME << 12, &0x88_u64);
    assert_eq!(copy_from(&world, 2, 1, 9, FRAME, 0), OKAY);
    assert_eq!(world.get::<u64>(2, FRAME << 12), 0x88);
    assert_eq!(
        copy_from(&world, 2, 1, 8, FRAME, 0),
        GENERAL,
        "nor does it ask for less"
    );
    nothing_is_pinned(&world, &[1]);
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access);
    end(&world, &[1, 2]);
}

#[test]
fn xsa_500_a_copy_beside_a_mapping_uses_the_frame_that_is_mapped() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    world.put(1, FRAME << 12, &0x77_u64);
    let handle = map(&world, 2, 1, 9, AT, 0).unwrap();
    // The granter says something else now, and its old frame is behind nothing.
    world.put(1, (FRAME + 1) << 12, &0x99_u64);
    offer(&world, 1, 9, 2, FRAME + 1);
    take_away(&world, 1, FRAME);
    assert_eq!(copy_from(&world, 2, 1, 9, FRAME, 8), OKAY);
    assert_eq!(world.get::<u64>(2, FRAME << 12), 0x77);
    let other = mfn(&world.domain(1), FRAME + 1).unwrap();
    let references = usage(&world, other).map(|(_, count)| count);
    assert_eq!(references, Some(1), "the frame it names now is in no use");
    assert_eq!(unmap(&world, 2, handle, AT), OKAY);
    assert_eq!(copy_from(&world, 2, 1, 9, FRAME, 8), OKAY);
    assert_eq!(world.get::<u64>(2, FRAME << 12), 0x99);
    end(&world, &[1, 2]);
}

#[test]
fn xsa_232_284_flushing_caches_and_transfers_are_no_calls_of_these_guests() {
    let world = world(2);
    let before = world.state();
    let at = ARGUMENTS;
    for command in [
        abi::GNTTABOP_cache_flush,
        abi::GNTTABOP_transfer,
        abi::GNTTABOP_unmap_and_replace,
        abi::GNTTABOP_get_status_frames,
        abi::GNTTABOP_dump_table,
        // What a call that goes on would be made with.
        abi::GNTTABOP_cache_flush | 1 << 20,
        abi::GNTTABOP_map_grant_ref | 1 << 20,
    ] {
        for (list, count) in [(at, 1), (0, 0), (u64::MAX, u64::from(u32::MAX))] {
            let result = world.call(1, HYPERVISOR_grant_table_op, &[command.into(), list, count]);
            assert_eq!(result, -i64::from(ENOSYS), "{command:#x}");
        }
    }
    assert_eq!(world.state().difference(&before), "");
}

#[test]
fn a_grant_of_an_earlier_domain_is_none_of_its_successor() {
    // No advisory of its own: what keeps XSA-236 true when a domain's number is used again.
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    let handle = map(&world, 2, 1, 9, AT, 0).unwrap();
    let frame = mfn(&world.domain(2), AT).unwrap();
    world.destroy(1);
    let successor: Arc<Domain> = world.create(1).unwrap();
    assert_ne!(mfn(&successor, FRAME), Some(frame));
    assert_eq!(place(&world, 1, 0, TABLE), 0);
    offer(&world, 1, 9, 2, FRAME);
    let again = map(&world, 2, 1, 9, AT + 1, 0).unwrap();
    assert_eq!(unmap(&world, 2, handle, AT), OKAY);
    assert_eq!(
        flags(&world, 1, 9),
        abi::GTF_permit_access | 0x18,
        "its use goes on"
    );
    assert_eq!(usage(&world, frame), None);
    assert_eq!(unmap(&world, 2, again, AT + 1), OKAY);
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access);
    drop(successor);
    end(&world, &[1, 2]);
}
