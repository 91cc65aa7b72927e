//! What tools do with the memory of others, and what there is not.

use xenvisor_abi::memory::toolstack;

use super::*;

fn claim(guest: &Guest, change: impl Fn(&mut abi::Reservation)) -> Served {
    let mut argument = abi::Reservation {
        nr_extents: 10,
        domid: 2,
        ..Default::default()
    };
    change(&mut argument);
    guest.call(abi::XENMEM_claim_pages, &argument)
}

#[test]
fn nobody_claims_memory_without_privilege() {
    let guest = Guest::new();
    let invalid = Err(Errno::INVALID);
    assert_eq!(claim(&guest, |_| ()), Err(Errno::NOT_PERMITTED));
    assert_eq!(claim(&guest, |c| c.domid = 1), Err(Errno::NOT_PERMITTED));
    assert_eq!(claim(&guest, |c| c.domid = DOMID_SELF), invalid);
    assert_eq!(claim(&guest, |c| c.domid = 9), invalid);
    assert_eq!(claim(&guest, |c| c.extent_start = GuestHandle64(1)), invalid);
    assert_eq!(claim(&guest, |c| c.extent_order = 1), invalid);
    assert_eq!(claim(&guest, |c| c.mem_flags = 1), invalid);
    let goes_on = guest.0.call(1, HYPERVISOR_memory_op, &[24 | 1 << 6, NOWHERE]);
    assert_eq!(goes_on, invalid);
}

#[test]
fn what_is_populated_on_demand_is_for_builders() {
    let guest = Guest::new();
    for command in [abi::XENMEM_set_pod_target, abi::XENMEM_get_pod_target] {
        let target = |domid| {
            let argument = abi::PodTarget {
                domid,
                ..Default::default()
            };
            guest.call(command, &argument)
        };
        assert_eq!(target(DOMID_SELF), Err(Errno::NOT_PERMITTED));
        assert_eq!(target(2), Err(Errno::NOT_PERMITTED));
        assert_eq!(target(9), Err(Errno::NO_DOMAIN));
        let goes_on = guest
            .0
            .call(1, HYPERVISOR_memory_op, &[u64::from(command) | 1 << 6, ARGUMENT]);
        assert_eq!(goes_on, Err(Errno::NO_CALL));
    }
}

#[test]
fn nobody_monitors_without_privilege_nor_itself() {
    let guest = Guest::new();
    let access = |domid| {
        let argument = toolstack::AccessOp {
            domid,
            ..Default::default()
        };
        guest.call(abi::XENMEM_access_op, &argument)
    };
    assert_eq!(access(DOMID_SELF), Err(Errno::NO_DOMAIN));
    assert_eq!(access(1), Err(Errno::NOT_PERMITTED));
    assert_eq!(access(2), Err(Errno::NOT_PERMITTED));
    assert_eq!(access(9), Err(Errno::NO_DOMAIN));
    *guest.0.domains[1].life.lock() = xenvisor_core::domain::life::Life::Dying;
    assert_eq!(access(2), Err(Errno::INVALID));
}

#[test]
fn resources_of_others_are_closed_to_guests_before_anything_is_read() {
    let guest = Guest::new();
    let call = [abi::XENMEM_acquire_resource.into(), NOWHERE];
    let wide = guest.0.call(1, HYPERVISOR_memory_op, &call);
    assert_eq!(wide, Err(Errno::ACCESS));
    let narrow = guest
        .0
        .call_from(1, 0, Width::Bits32, HYPERVISOR_memory_op, &call);
    assert_eq!(narrow, Err(Errno::FAULT));
}

#[test]
fn a_domain_has_no_nodes() {
    let guest = Guest::new();
    let ask = |domid, padding| {
        let argument = abi::VnumaTopologyInfo {
            domid,
            padding,
            ..Default::default()
        };
        guest.call(abi::XENMEM_get_vnumainfo, &argument)
    };
    assert_eq!(ask(DOMID_SELF, 0), Err(Errno::NOT_SUPPORTED));
    assert_eq!(ask(DOMID_SELF, 1), Err(Errno::INVALID));
    assert_eq!(ask(9, 0), Err(Errno::NO_DOMAIN));
    assert_eq!(ask(2, 0), Err(Errno::NOT_PERMITTED));
}

#[test]
fn no_device_has_memory_for_itself_and_no_table_of_frames_is_listed() {
    let guest = Guest::new();
    let devices = |flags| {
        let argument = abi::ReservedDeviceMemoryMap {
            flags,
            nr_entries: 7,
            ..Default::default()
        };
        guest.call(abi::XENMEM_reserved_device_memory_map, &argument)
    };
    assert_eq!(devices(0), Ok(Answer::OK));
    let told: abi::ReservedDeviceMemoryMap = guest.0.get(1, ARGUMENT);
    assert_eq!(told.nr_entries, 0);
    assert_eq!(devices(1), Ok(Answer::OK));
    assert_eq!(devices(2), Err(Errno::INVALID));
    let frames = abi::MachphysMfnList {
        max_extents: 4,
        nr_extents: 9,
        ..Default::default()
    };
    assert_eq!(guest.call(abi::XENMEM_machphys_mfn_list, &frames), Ok(Answer::OK));
    assert_eq!(guest.0.get::<abi::MachphysMfnList>(1, ARGUMENT).nr_extents, 0);
    let narrow = guest.call(abi::XENMEM_machphys_compat_mfn_list, &frames);
    assert_eq!(narrow, Err(Errno::NOT_SUPPORTED));
    for command in [18, 19] {
        assert_eq!(guest.ask(command), Ok(Answer::OK), "nothing is shared");
    }
}

#[test]
fn a_question_that_says_it_goes_on_is_refused() {
    let guest = Guest::new();
    for command in [2_u64, 3, 4, 11, 14, 15, 24, 26, 27] {
        let answer = guest
            .0
            .call(1, HYPERVISOR_memory_op, &[command | 1 << 6, NOWHERE]);
        assert_eq!(answer, Err(Errno::INVALID), "{command}");
    }
    for command in [5_u64, 9, 13, 16, 17, 18, 19, 25] {
        let answer = guest
            .0
            .call(1, HYPERVISOR_memory_op, &[command | 1 << 6, NOWHERE]);
        assert_eq!(answer, Err(Errno::NO_CALL), "{command}");
    }
}

#[test]
fn frames_that_lose_their_place_go_on_to_count_until_the_domain_ends() {
    let guest = Guest::new();
    let used = || match guest.ask(abi::XENMEM_current_reservation) {
        Ok(Answer::Done(used)) => used,
        other => panic!("{other:?}"),
    };
    assert_eq!(guest.remove(9), Ok(Answer::OK));
    let populated = guest.reservation(abi::XENMEM_populate_physmap, &[9, 10], |_| ());
    assert_eq!(populated, Ok(Answer::Done(2)));
    // Frame 9 was empty; the frame that was behind 10 counts still.
    assert_eq!(used(), RAM_FRAMES + 2);
    assert_eq!(guest.0.domains[0].memory.unplaced(), 2);
    let free = guest.0.hypervisor.frames.free();
    assert_eq!(guest.remove(11), Ok(Answer::OK));
    assert_eq!(
        (used(), guest.0.hypervisor.frames.free()),
        (RAM_FRAMES + 2, free + 1)
    );
}

#[test]
fn an_extent_may_begin_anywhere_and_is_placed_whole_or_not_at_all() {
    let guest = Guest::new();
    let order = |r: &mut abi::Reservation| r.extent_order = 4;
    let populate = abi::XENMEM_populate_physmap;
    assert_eq!(guest.reservation(populate, &[0x9f9], order), Ok(Answer::Done(1)));
    let first = guest.behind(0x9f9).unwrap().0;
    for n in 0..16 {
        assert_eq!(
            guest.behind(0x9f9 + n),
            Some((Mfn::new(first.raw() + n), Kind::Ram))
        );
    }
    let used = guest.0.domains[0].memory.account().used;
    assert_eq!(guest.reservation(populate, &[0x9f1], order), Ok(Answer::Done(1)));
    let second = guest.behind(0x9f1).unwrap().0;
    for n in 0..16 {
        assert_eq!(
            guest.behind(0x9f1 + n),
            Some((Mfn::new(second.raw() + n), Kind::Ram))
        );
    }
    assert_eq!(guest.0.domains[0].memory.account().used, used + 16);
    assert_eq!(
        guest.0.domains[0].memory.unplaced(),
        8,
        "half of the first has lost its place"
    );
    // Taken before it is seen that there is no such place.
    assert_eq!(
        guest.reservation(populate, &[1 << 36], |_| ()),
        Ok(Answer::Done(0))
    );
    assert_eq!(guest.0.domains[0].memory.unplaced(), 9);
}
