//! Which error a guest gets where several apply, and that a refused call has changed nothing.

use super::*;

#[test]
fn binding_to_what_is_not_offered_is_refused() {
    let world = world();
    let for_itself = alloc_unbound(&world, 1, DOMID_SELF).unwrap();
    assert_eq!(bind_interdomain(&world, 2, 1, for_itself), Err(Errno::INVALID));
    assert_eq!(bind_interdomain(&world, 2, 1, 5000), Err(Errno::INVALID));
    assert_eq!(bind_interdomain(&world, 2, 9, 1), Err(Errno::NO_DOMAIN));
    assert_eq!(open(&world, 2), 0);
    assert!(bind_interdomain(&world, 1, DOMID_SELF, for_itself).is_ok());
}

#[test]
fn interrupts_are_refused_as_real_xen_refuses_them() {
    let world = world();
    assert_eq!(bind_virq(&world, 1, 24, 0), Err(Errno::INVALID));
    assert_eq!(bind_virq(&world, 1, 3, 1), Err(Errno::INVALID));
    assert_eq!(bind_virq(&world, 1, 0, 2), Err(Errno::NO_ENTRY));
    assert!(bind_virq(&world, 1, 0, 1).is_ok());
    assert_eq!(bind_virq(&world, 1, 0, 1), Err(Errno::EXISTS));
    assert_eq!(bind_ipi(&world, 1, 2), Err(Errno::NO_ENTRY));
    assert_eq!(bind_pirq(&world, 1, 56), Err(Errno::INVALID));
    assert_eq!(bind_pirq(&world, 1, u32::MAX), Err(Errno::INVALID));
    assert_eq!(open(&world, 1), 1);
}

#[test]
fn a_port_of_a_physical_interrupt_is_bound_once_moves_and_never_fires() {
    let world = world();
    let port = bind_pirq(&world, 1, 55).unwrap();
    assert_eq!(bind_pirq(&world, 1, 55), Err(Errno::EXISTS));
    assert_eq!(
        bind_pirq(&world, 2, 55),
        Ok(port),
        "each domain has its own numbers"
    );
    assert_eq!(send(&world, 1, port), Err(Errno::INVALID));
    assert_eq!(bind_vcpu(&world, 1, port, 1), Ok(()));
    let seen = status(&world, 1, DOMID_SELF, port).unwrap();
    assert_eq!((seen.status, seen.vcpu, seen.u[0]), (abi::EVTCHNSTAT_pirq, 1, 55));
    assert!(!pending(&world.domains[0], port));
    assert_eq!(close(&world, 1, port), Ok(()));
    assert!(bind_pirq(&world, 1, 55).is_ok());
}

#[test]
fn no_free_port_is_worse_than_a_wrong_remote_port_and_no_right_is_the_least() {
    struct NoBinding;
    impl Policy for NoBinding {
        fn event_bind(&self, _: &EventBind) -> Verdict {
            Verdict::Deny("nobody binds here")
        }
    }
    let world = World::new(2, 1, NoBinding, vec![]);
    let offered = alloc_unbound(&world, 2, 1).unwrap();
    assert_eq!(bind_interdomain(&world, 1, 2, 9999), Err(Errno::INVALID));
    assert_eq!(bind_interdomain(&world, 1, 2, offered), Err(Errno::NOT_PERMITTED));
    assert_eq!(open(&world, 1), 0);
    while alloc_unbound(&world, 1, 2).is_ok() {}
    assert_eq!(open(&world, 1), 1023);
    assert_eq!(alloc_unbound(&world, 1, 2), Err(Errno::NO_SPACE));
    assert_eq!(bind_interdomain(&world, 1, 2, 9999), Err(Errno::NO_SPACE));
    assert_eq!(bind_interdomain(&world, 1, 2, offered), Err(Errno::NO_SPACE));
    assert_eq!(bind_interdomain(&world, 1, 7, 9999), Err(Errno::NO_DOMAIN));
    assert_eq!(bind_virq(&world, 1, 0, 0), Err(Errno::NO_SPACE));
    assert_eq!(bind_pirq(&world, 1, 0), Err(Errno::NO_SPACE));
    assert_eq!(bind_ipi(&world, 1, 0), Err(Errno::NO_SPACE));
    assert_eq!(bind_ipi(&world, 1, 1), Err(Errno::NO_ENTRY));
    let seen = status(&world, 2, DOMID_SELF, offered).unwrap();
    assert_eq!(seen.status, abi::EVTCHNSTAT_unbound);
}

#[test]
fn the_first_64_ports_are_there_before_any_is_open() {
    let world = world();
    for (port, answer) in [(0, Ok(())), (63, Ok(())), (64, Err(Errno::INVALID))] {
        assert_eq!(unmask(&world, 1, port), answer, "port {port}");
        let seen = status(&world, 1, DOMID_SELF, port);
        let closed = answer.map(|()| abi::EVTCHNSTAT_closed);
        assert_eq!(seen.map(|seen| seen.status), closed, "port {port}");
    }
}

#[test]
fn a_place_that_cannot_be_answered_opens_nothing() {
    let world = world();
    for command in [
        abi::EVTCHNOP_alloc_unbound,
        abi::EVTCHNOP_bind_interdomain,
        abi::EVTCHNOP_bind_virq,
        abi::EVTCHNOP_bind_ipi,
        abi::EVTCHNOP_init_control,
        abi::EVTCHNOP_status,
        abi::EVTCHNOP_send,
        abi::EVTCHNOP_reset,
    ] {
        for at in [NOWHERE, NOWHERE - 1, u64::MAX - 1] {
            let served = world.call(1, CALL, &[u64::from(command), at]);
            assert_eq!(served, Err(Errno::FAULT), "command {command} at {at:#x}");
        }
    }
    assert_eq!(open(&world, 1), 0);
    assert!(!world.domains[0].ports.lock().is_fifo());
}

#[test]
fn an_answer_that_could_only_be_read_opens_nothing() {
    use xenvisor_core::number::{Gfn, Order};
    use xenvisor_core::p2m::{Rights, Target};

    let world = world();
    bind_ipi(&world, 1, 0).unwrap();
    let mut stage = world.domains[0].memory.stage().lock();
    let page = Gfn::new(AT >> 12);
    let writable = stage.translate(page).unwrap().target;
    let target = Target {
        rights: Rights::Read,
        ..writable
    };
    let _ = stage.map(page, Order::FRAME, target).unwrap();
    drop(stage);
    let served = world.call(1, CALL, &[u64::from(abi::EVTCHNOP_bind_ipi), AT]);
    assert_eq!(served, Err(Errno::FAULT));
    assert_eq!(open(&world, 1), 1);
}

#[test]
fn without_heap_a_call_is_refused_and_changes_nothing_and_later_succeeds() {
    use xenvisor_core::memory::room::starve;

    // All ports of the first bucket are open.
    let full = 63;
    let calls: [(u32, [u32; 4]); 6] = [
        (
            abi::EVTCHNOP_alloc_unbound,
            [u32::from(DOMID_SELF) | 2 << 16, 0, 0, 0],
        ),
        (abi::EVTCHNOP_bind_interdomain, [2, 1, 0, 0]),
        (abi::EVTCHNOP_bind_virq, [0, 1, 0, 0]),
        (abi::EVTCHNOP_bind_pirq, [5, 0, 0, 0]),
        (abi::EVTCHNOP_bind_ipi, [1, 0, 0, 0]),
        (abi::EVTCHNOP_init_control, [9, 0, 0, 0]),
    ];
    for (command, argument) in calls {
        let mut refusals = 0;
        loop {
            let world = world();
            assert_eq!(alloc_unbound(&world, 2, 1), Ok(1));
            for port in 1..=full {
                assert_eq!(alloc_unbound(&world, 1, 2), Ok(port));
            }
            world.put(1, AT, &argument);
            let frames = world.hypervisor.frames.free();
            starve::after(refusals);
            let served = world.call(1, CALL, &[u64::from(command), AT]);
            starve::feed();
            if served == Ok(Answer::OK) {
                break;
            }
            assert_eq!(served, Err(Errno::NO_MEMORY), "command {command}");
            assert_eq!(open(&world, 1), full);
            assert!(!world.domains[0].ports.lock().is_fifo());
            let other = status(&world, 2, DOMID_SELF, 1).unwrap();
            assert_eq!(other.status, abi::EVTCHNSTAT_unbound);
            assert_eq!(world.hypervisor.frames.free(), frames);
            assert_eq!(world.get::<[u32; 4]>(1, AT), argument);
            refusals += 1;
        }
        assert!(refusals > 0, "command {command} asked for no heap");
    }
}
