//! Several at once: each round of a race ends in one of the states it may end in.

use super::*;

#[test]
fn xsa_384_placing_a_status_frame_races_with_a_switch_of_version_and_loses_or_is_undone() {
    let world = world(1);
    set_version(&world, 1, 2);
    assert_eq!(place_status(&world, 1, 0, STATUS), 0);
    let domain = world.domain(1);
    let show = |at| {
        domain.change(|leaving| {
            let mut table = domain.grants.lock();
            let shown = table.show(TableFrame::Status(0), Gfn::new(at), &domain.memory, leaving);
            shown.is_ok()
        })
    };
    let switch = |version| {
        domain.change(|leaving| {
            let mut table = domain.grants.lock();
            table.set_version(version, &domain.memory, leaving).unwrap();
        });
    };
    for _ in 0..ROUNDS {
        switch(Version::V2);
        thread::scope(|scope| {
            scope.spawn(|| show(AT));
            scope.spawn(|| show(AT + 1));
            scope.spawn(|| switch(Version::V1));
        });
        assert_eq!((mfn(&domain, AT), mfn(&domain, AT + 1)), (None, None));
        switch(Version::V2);
        thread::scope(|scope| {
            scope.spawn(|| show(AT));
            scope.spawn(|| show(AT + 1));
        });
        let places = [AT, AT + 1].into_iter().filter(|at| mfn(&domain, *at).is_some());
        assert_eq!(places.count(), 1);
    }
    drop(domain);
    end(&world, &[1]);
}

#[test]
fn xsa_486_501_a_switch_of_version_excludes_uses_that_are_under_way() {
    let world = world(2);
    let (granter, grantee) = (world.domain(1), world.domain(2));
    let done = AtomicBool::new(false);
    let switches = AtomicU32::new(0);
    let maps = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let request = request(9, AT, Access::ReadWrite);
                if let Some(handle) = map_at(&grantee, &granter, &request) {
                    maps.fetch_add(1, Ordering::Relaxed);
                    assert!(unmap_at(&grantee, &granter, handle, AT));
                }
                let wanted = (GrantRef::new(9), DomainId::new(2));
                let end = End::granted(granter.party(), wanted.0, wanted.1, Access::ReadWrite);
                assert!(!matches!(end, Ok(Reached::Onward(_))), "nothing is passed on");
            }
        });
        for round in 0..ROUNDS * 10 {
            let version = if round % 2 == 0 { Version::V2 } else { Version::V1 };
            granter.change(|leaving| {
                let mut table = granter.grants.lock();
                let before = table.version();
                match table.set_version(version, &granter.memory, leaving) {
                    Ok(()) => switches.fetch_add(1, Ordering::Relaxed),
                    Err(_) => {
                        assert!(table.is_pinned(GrantRef::new(9)));
                        assert_eq!(table.version(), before);
                        0
                    }
                };
            });
            let reference = GrantRef::new(9);
            let _ = granter
                .grants
                .lock()
                .offer(reference, DomainId::new(2), Gfn::new(FRAME));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(switches.load(Ordering::Relaxed) > 0);
    let frame = mfn(&granter, FRAME).unwrap();
    assert_eq!(usage(&world, frame), Some((Owner::Domain(DomainId::new(1)), 1)));
    assert!(!granter.grants.lock().is_pinned(GrantRef::new(9)));
    drop((granter, grantee));
    end(&world, &[1, 2]);
}

#[test]
fn xsa_218_a_mapping_is_given_up_once_however_many_try_at_once() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    let (granter, grantee) = (world.domain(1), world.domain(2));
    let frame = mfn(&granter, FRAME).unwrap();
    for _ in 0..ROUNDS {
        let request = request(9, AT, Access::ReadWrite);
        let kept = map_at(
            &grantee,
            &granter,
            &MapRequest {
                at: Some(Gfn::new(AT + 1)),
                ..request
            },
        )
        .unwrap();
        let handle = map_at(&grantee, &granter, &request).unwrap();
        let given_up = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    if unmap_at(&grantee, &granter, handle, AT) {
                        given_up.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(given_up.load(Ordering::Relaxed), 1);
        assert_eq!(
            usage(&world, frame).map(|(_, count)| count),
            Some(2),
            "one mapping is left"
        );
        assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access | 0x18);
        assert!(unmap_at(&grantee, &granter, kept, AT + 1));
    }
    drop((granter, grantee));
    end(&world, &[1, 2]);
}

#[test]
fn xsa_228_no_handle_is_given_to_two_who_ask_at_once() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    let (granter, grantee) = (world.domain(1), world.domain(2));
    let owners: Vec<AtomicU32> = (0..64).map(|_| AtomicU32::new(0)).collect();
    thread::scope(|scope| {
        for place in 0..3 {
            let (granter, grantee, owners) = (&granter, &grantee, &owners);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let request = request(9, AT + place, Access::Read);
                    let handle = map_at(grantee, granter, &request).unwrap();
                    let owner = &owners[usize::try_from(handle.raw()).unwrap()];
                    assert_eq!(
                        owner.fetch_add(1, Ordering::SeqCst),
                        0,
                        "{handle:?} is given twice"
                    );
                    owner.fetch_sub(1, Ordering::SeqCst);
                    assert!(unmap_at(grantee, granter, handle, AT + place));
                }
            });
        }
    });
    assert_eq!(grantee.handles.lock().used(), 0);
    assert_eq!(flags(&world, 1, 9), abi::GTF_permit_access);
    drop((granter, grantee));
    end(&world, &[1, 2]);
}

#[test]
fn xsa_236_no_frame_is_mapped_that_its_granter_gives_away_at_the_same_time() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    let (granter, grantee) = (world.domain(1), world.domain(2));
    for _ in 0..ROUNDS {
        let frame = mfn(&granter, FRAME).unwrap();
        let mapped = thread::scope(|scope| {
            scope.spawn(|| {
                let taken = granter.change(|leaving| granter.memory.take(Gfn::new(FRAME), leaving));
                taken.unwrap();
            });
            let mapping = scope.spawn(|| map_at(&grantee, &granter, &request(9, AT, Access::ReadWrite)));
            mapping.join().unwrap()
        });
        match mapped {
            Some(handle) => {
                let owner = Owner::Domain(DomainId::new(1));
                assert_eq!(usage(&world, frame), Some((owner, 1)));
                assert!(unmap_at(&grantee, &granter, handle, AT));
            }
            None => assert_eq!(mfn(&grantee, AT), None),
        }
        // It is free, or the hypervisor has found a use for it.
        let owner = usage(&world, frame).map(|(owner, _)| owner);
        assert!(matches!(owner, None | Some(Owner::Hypervisor)), "{owner:?}");
        let order = xenvisor::model::number::Order::FRAME;
        let back = granter.change(|leaving| granter.memory.populate(Gfn::new(FRAME), order, leaving));
        back.unwrap();
    }
    drop((granter, grantee));
    end(&world, &[1, 2]);
}

#[test]
fn xsa_411_copies_passed_on_crosswise_at_once_do_not_wait_for_each_other() {
    let world = world(2);
    for n in [1, 2] {
        set_version(&world, n, 2);
        // Each passes on to itself what the other has granted to it.
        offer_wide(&world, n, 12, 3 - n, FRAME);
        pass_on(&world, n, 13, n, 3 - n, 12);
    }
    let memory = world.hypervisor.machine.memory();
    let domains = [world.domain(1), world.domain(2)];
    thread::scope(|scope| {
        for (mine, other) in [(&domains[0], &domains[1]), (&domains[1], &domains[0])] {
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let ends: Vec<_> = [Access::Read, Access::ReadWrite]
                        .into_iter()
                        .map(|access| {
                            let reference = GrantRef::new(13);
                            match End::granted(mine.party(), reference, mine.id, access) {
                                Ok(Reached::Onward(onward)) => onward.through(other.party()).unwrap(),
                                _ => panic!("it is passed on"),
                            }
                        })
                        .collect();
                    copy(&**memory, (&ends[0], 0), (&ends[1], 64), 32).unwrap();
                }
            });
        }
    });
    drop(domains);
    nothing_is_pinned(&world, &[1, 2]);
    end(&world, &[1, 2]);
}

#[test]
fn xsa_295_a_granter_that_keeps_changing_an_entry_keeps_nobody() {
    let world = world(2);
    offer(&world, 1, 9, 2, FRAME);
    let (granter, grantee) = (world.domain(1), world.domain(2));
    let done = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        scope.spawn(|| {
            let memory = granter.guest_memory();
            let at = GuestAddr::new((TABLE << 12) + 9 * 8 + 4);
            let mut frame = u32::try_from(FRAME).unwrap();
            while !done.load(Ordering::Relaxed) {
                frame ^= 1;
                memory.write_value(at, &frame).unwrap();
            }
        });
        let mapping = scope.spawn(|| {
            for _ in 0..ROUNDS {
                // Given up on, or mapped: in any case it comes back.
                if let Some(handle) = map_at(&grantee, &granter, &request(9, AT, Access::ReadWrite)) {
                    assert!(unmap_at(&grantee, &granter, handle, AT));
                }
            }
            done.store(true, Ordering::Relaxed);
            ROUNDS
        });
        mapping.join().unwrap()
    });
    assert_eq!(rounds, ROUNDS);
    assert!(!granter.grants.lock().is_pinned(GrantRef::new(9)));
    drop((granter, grantee));
    end(&world, &[1, 2]);
}
