//! Versions of entries, and the frames of a table.

use super::*;

#[test]
fn xsa_026_switching_versions_to_and_fro_loses_no_frame() {
    let world = world(1);
    set_version(&world, 1, 2);
    assert_eq!(place_status(&world, 1, 0, STATUS), 0);
    let free = world.hypervisor.frames.free();
    for _ in 0..20 {
        set_version(&world, 1, 1);
        set_version(&world, 1, 2);
        assert_eq!(place_status(&world, 1, 0, STATUS), 0);
        assert_eq!(world.hypervisor.frames.free(), free);
    }
    end(&world, &[1]);
}

#[test]
fn xsa_255_a_status_frame_that_another_has_mapped_never_becomes_somebody_elses() {
    let world = world(2);
    set_version(&world, 1, 2);
    assert_eq!(place_status(&world, 1, 0, STATUS), 0);
    let frame = mfn(&world.domain(1), STATUS).unwrap();
    let entry = abi::EntryV2FullPage {
        header: abi::EntryHeader {
            flags: abi::GTF_permit_access,
            domid: 2,
        },
        padding: 0,
        frame: STATUS,
    };
    // Reserved entries may be in use while the version changes.
    world.put(1, (TABLE << 12) + 2 * 16, &entry);
    let handle = map(&world, 2, 1, 2, AT, 0).unwrap();
    assert_eq!(mfn(&world.domain(2), AT), Some(frame));
    set_version(&world, 1, 1);
    assert_eq!(mfn(&world.domain(1), STATUS), None);
    let owned = usage(&world, frame).map(|(owner, _)| owner);
    assert_eq!(
        owned,
        Some(Owner::Hypervisor),
        "it is not free while it is mapped"
    );
    world.destroy(1);
    let owned = usage(&world, frame);
    assert_eq!(owned, Some((Owner::Hypervisor, 1)), "not even then");
    assert_eq!(unmap(&world, 2, handle, AT), OKAY);
    assert_eq!(usage(&world, frame), None);
    end(&world, &[2]);
}

#[test]
fn xsa_379_a_frame_of_the_table_is_seen_at_one_place_and_not_beyond_its_version() {
    let world = world(1);
    set_version(&world, 1, 2);
    let there = |at| mfn(&world.domain(1), at);
    for at in [STATUS, STATUS + 1, AT] {
        assert_eq!(place_status(&world, 1, 0, at), 0);
    }
    assert_eq!((there(STATUS), there(STATUS + 1)), (None, None));
    assert!(there(AT).is_some());
    set_version(&world, 1, 1);
    assert_eq!(there(AT), None);
    assert_eq!(place_status(&world, 1, 0, AT), -i64::from(EINVAL));
    end(&world, &[1]);
}

#[test]
fn xsa_382_status_frames_end_where_the_largest_table_does() {
    let world = world(1);
    set_version(&world, 1, 2);
    // 64 frames of entries have 8 frames of status words.
    for index in [8, 9, 63, 64, u64::from(u32::MAX >> 1)] {
        assert_eq!(place_status(&world, 1, index, AT), -i64::from(EINVAL), "{index}");
    }
    let mut seen: Vec<_> = (0..8)
        .map(|index| {
            assert_eq!(place_status(&world, 1, index, AT + index), 0);
            mfn(&world.domain(1), AT + index).unwrap()
        })
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 8, "all of them different");
    assert_eq!(world.domain(1).grants.lock().size(), 64);
    end(&world, &[1]);
}

#[test]
fn xsa_134_exchanging_grants_needs_no_choice_of_version_before() {
    let world = World::new(1, XenDefault::default());
    let swap = |ref_a, ref_b| {
        let mut argument = abi::SwapGrantRef {
            ref_a,
            ref_b,
            status: 77,
            padding: 0,
        };
        let command = abi::GNTTABOP_swap_grant_ref;
        let result = world.call_with(1, HYPERVISOR_grant_table_op, command, &mut argument);
        assert_eq!(result, 0);
        argument.status
    };
    // No version was chosen, no frame was ever shown.
    assert_eq!(swap(8, 9), OKAY);
    assert_eq!(swap(511, 8), OKAY);
    for (one, two) in [(512, 8), (8, 512), (u32::MAX, u32::MAX), (1 << 31, 0)] {
        assert_eq!(swap(one, two), abi::GNTST_bad_gntref);
    }
    set_version(&world, 1, 2);
    assert_eq!(swap(255, 8), OKAY);
    assert_eq!(swap(256, 8), abi::GNTST_bad_gntref, "version 2 has half as many");
}

#[test]
fn xsa_100_new_frames_of_a_table_tell_nothing_of_whoever_had_them() {
    let world = world(1);
    for index in 1..4 {
        assert_eq!(place(&world, 1, index, AT + index), 0);
        world.put(1, (AT + index) << 12, &[0xaa_u8; 4096]);
    }
    world.destroy(1);
    world.create(1).unwrap();
    for index in 0..8 {
        assert_eq!(place(&world, 1, index, AT + index), 0);
        assert_eq!(world.get::<[u8; 4096]>(1, (AT + index) << 12), [0; 4096]);
    }
}
