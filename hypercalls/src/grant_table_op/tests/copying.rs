//! Copying by grants.

use xenvisor_core::number::GrantRef;
use xenvisor_core::policy::Silo;

use super::*;

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

#[test]
fn a_mapped_grant_is_an_end_of_a_copy_with_the_rights_it_was_mapped_with() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 0);
    world.put(1, 0x5000, &0x77_u32);
    let read_only = abi::MapGrantRef {
        flags: (abi::MapFlags::HOST_MAP | abi::MapFlags::READONLY).bits(),
        ..map_argument(1, 9, 0x500)
    };
    assert_eq!(map(&world, 2, read_only).status, OKAY);
    assert_eq!(map(&world, 2, map_argument(1, 9, 0x501)).status, OKAY);
    let own = |frame, offset| end(frame, DOMID_SELF, offset);
    assert_eq!(copy(&world, own(0x500, 0), own(7, 8), 0, 4), OKAY);
    assert_eq!(world.get::<u32>(2, 0x7008), 0x77);
    assert_eq!(copy(&world, own(7, 8), own(0x500, 4), 0, 4), abi::GNTST_bad_page);
    assert_eq!(copy(&world, own(7, 8), own(0x501, 4), 0, 4), OKAY);
    assert_eq!(world.get::<u32>(1, 0x5004), 0x77);
}

#[test]
fn copying_nothing_needs_all_that_copying_something_does() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 4);
    let own = |offset| end(7, DOMID_SELF, offset);
    assert_eq!(copy(&world, end(9, 1, 4096), own(4096), 1, 0), OKAY);
    assert_eq!(
        copy(&world, end(9, 1, 4097), own(0), 1, 0),
        abi::GNTST_bad_copy_arg
    );
    assert_eq!(
        copy(&world, end(10, 1, 0), own(0), 1, 0),
        abi::GNTST_general_error
    );
    assert_eq!(
        copy(&world, own(0), end(9, 1, 0), 2, 0),
        abi::GNTST_general_error,
        "read-only"
    );
    assert_eq!(copy(&world, end(9, 9, 0), own(0), 1, 0), abi::GNTST_bad_domain);
}

#[test]
fn what_is_passed_on_keeps_its_bounds_and_its_rights_and_goes_no_further() {
    let world = world();
    for n in [1, 3] {
        world.put(n, AT, &2_u32);
        world
            .call(n, CALL, &[abi::GNTTABOP_set_version.into(), AT, 1])
            .unwrap();
    }
    let entry = |reference: u64| (TABLE << 12) + reference * 16;
    let header = |flags, domid| abi::EntryHeader { flags, domid };
    // Domain 1 grants bytes 16..48 of its frame 5 to 3, read-only; 3 passes that on to 2, and once more to itself.
    let part = abi::EntryV2SubPage {
        header: header(abi::GTF_permit_access | 4 | 1 << 8, 3),
        page_off: 16,
        length: 32,
        frame: 5,
    };
    world.put(1, entry(9), &part);
    let onward = |domid, trans_domid, gref| abi::EntryV2Transitive {
        header: header(abi::GTF_transitive, domid),
        trans_domid,
        padding: 0,
        gref,
    };
    world.put(3, entry(10), &onward(2, 1, 9));
    world.put(1, entry(11), &onward(2, 3, 12));
    world.put(3, entry(12), &onward(1, 1, 9));
    let own = end(7, DOMID_SELF, 0);
    let from = |reference, domid, offset, len| copy(&world, end(reference, domid, offset), own, 1, len);
    assert_eq!(from(10, 3, 16, 32), OKAY);
    assert_eq!(from(10, 3, 15, 2), abi::GNTST_general_error);
    assert_eq!(from(10, 3, 16, 33), abi::GNTST_general_error);
    assert_eq!(
        copy(&world, own, end(10, 3, 16), 2, 4),
        abi::GNTST_general_error,
        "the one behind is read-only"
    );
    assert_eq!(from(11, 1, 16, 4), abi::GNTST_general_error, "passed on twice");
    for (via, reference, status) in [
        (3, 9, abi::GNTST_general_error),
        (9, 9, abi::GNTST_general_error),
        (DOMID_SELF, 9, abi::GNTST_general_error),
        (1, 600, abi::GNTST_bad_gntref),
        (1, 13, abi::GNTST_general_error),
    ] {
        world.put(3, entry(10), &onward(2, via, reference));
        assert_eq!(from(10, 3, 16, 4), status, "{via} {reference}");
    }
    for domain in &world.domains {
        let grants = domain.grants.lock();
        assert!((0..20).all(|reference| !grants.is_pinned(GrantRef::new(reference))));
    }
}

#[test]
fn a_list_of_copies_is_served_in_slices_and_each_has_its_status() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 4);
    let size = size_of::<abi::CopyOp>() as u64;
    for n in 0..40_u16 {
        let argument = abi::CopyOp {
            source: end(if n == 35 { 10 } else { 9 }, 1, n * 4),
            dest: end(7, DOMID_SELF, n * 4),
            len: 4,
            flags: 1,
            status: 77,
            padding: 0,
        };
        world.put(2, AT + u64::from(n) * size, &argument);
        world.put(1, 0x5000 + u64::from(n) * 4, &u32::from(n + 1));
    }
    let first = world.call(2, CALL, &[abi::GNTTABOP_copy.into(), AT, 40]);
    let rest = [u64::from(abi::GNTTABOP_copy), AT + 32 * size, 8, 0, 0, 0];
    assert_eq!(first, Ok(Answer::Again(rest)));
    assert_eq!(world.get::<u32>(2, 0x7000 + 32 * 4), 0, "not yet");
    assert_eq!(world.call(2, CALL, &rest), Ok(Answer::OK));
    for n in 0..40 {
        let (status, value) = if n == 35 {
            (abi::GNTST_general_error, 0)
        } else {
            (OKAY, n as u32 + 1)
        };
        assert_eq!(world.get::<abi::CopyOp>(2, AT + n * size).status, status);
        assert_eq!(world.get::<u32>(2, 0x7000 + n * 4), value);
    }
}

#[test]
fn code_of_32_bits_copies_with_its_own_layout() {
    let world = world();
    offer(&world, 1, 9, 2, 5, 4);
    world.put(1, 0x5000, &0x77_u32);
    let end = |u, domid, offset| abi::compat::CopyPointer { u, domid, offset };
    let argument = abi::compat::CopyOp {
        source: end(9, 1, 0),
        dest: end(7, DOMID_SELF, 16),
        len: 4,
        flags: 1,
        status: 77,
        padding: 0,
    };
    world.put(2, AT, &argument);
    let call = [abi::GNTTABOP_copy.into(), AT, 1];
    let answer = world.call_from(2, 0, Width::Bits32, CALL, &call);
    assert_eq!(answer, Ok(Answer::OK));
    assert_eq!(world.get::<abi::compat::CopyOp>(2, AT).status, OKAY);
    assert_eq!(world.get::<u32>(2, 0x7010), 0x77);
}
