//! Parameters by their rules, and the rest of a once larger family.

use alloc::vec::Vec;

use xenvisor_abi::hvm::hvm_op as abi;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_hvm_op};
use xenvisor_core::domain::life::{Life, Reason};
use xenvisor_core::domain::params::Index;
use xenvisor_core::machine::Width;
use xenvisor_core::number::DomainId;
use xenvisor_core::policy::XenDefault;

use crate::answer::{Answer, Served};
use crate::errno::Errno;
use crate::testing::{NOWHERE, World};

const ARGUMENT: u64 = 0x1000;

fn world() -> World {
    World::new(2, 2, XenDefault::default(), Vec::new())
}

fn call<T: zerocopy::IntoBytes + zerocopy::Immutable>(world: &World, command: u32, argument: &T) -> Served {
    world.put(1, ARGUMENT, argument);
    world.call(1, HYPERVISOR_hvm_op, &[command.into(), ARGUMENT])
}

fn param(domid: u16, index: u32, value: u64) -> abi::Param {
    abi::Param {
        domid,
        index,
        value,
        ..Default::default()
    }
}

fn set(world: &World, index: u32, value: u64) -> Served {
    call(world, abi::HVMOP_set_param, &param(DOMID_SELF, index, value))
}

fn get(world: &World, index: u32) -> Result<u64, Errno> {
    call(world, abi::HVMOP_get_param, &param(DOMID_SELF, index, 77))?;
    Ok(world.get::<abi::Param>(1, ARGUMENT).value)
}

#[test]
fn each_parameter_has_its_rule() {
    let world = world();
    let (mut read, mut written) = (Vec::new(), Vec::new());
    for index in 0..40 {
        match get(&world, index) {
            Ok(_) => read.push(index),
            Err(errno) => {
                // Numbers that are none (any more), and the builder's own.
                let none = matches!(index, 4 | 13 | 20..=26 | 30 | 39);
                let expected = if none {
                    Errno::INVALID
                } else {
                    Errno::NOT_PERMITTED
                };
                assert_eq!(errno, expected, "{index} is not read");
            }
        }
        match set(&world, index, 0) {
            Ok(_) => written.push(index),
            Err(errno) => {
                let none = matches!(index, 4 | 13 | 20..=26 | 30 | 39);
                let expected = match index {
                    _ if none => Errno::INVALID,
                    // No power management block, and a task state segment without a size.
                    19 => Errno::NO_DEVICE,
                    37 => Errno::INVALID,
                    _ => Errno::NOT_PERMITTED,
                };
                assert_eq!(errno, expected, "{index} is not written");
            }
        }
    }
    assert_eq!(read, [0, 1, 2, 15, 17, 18, 19, 34, 35, 36, 37]);
    assert_eq!(written, [0, 2, 15, 18, 34, 36]);
}

#[test]
fn parameters_of_another_domain_are_out_of_reach_whatever_they_are() {
    let world = world();
    for command in [abi::HVMOP_set_param, abi::HVMOP_get_param] {
        for index in [0, 4, 9, 38] {
            let other = call(&world, command, &param(2, index, 0));
            assert_eq!(other, Err(Errno::NOT_PERMITTED), "{index}");
            assert_eq!(call(&world, command, &param(9, index, 0)), Err(Errno::NO_DOMAIN));
        }
        for index in [39, u32::MAX] {
            assert_eq!(call(&world, command, &param(9, index, 0)), Err(Errno::INVALID));
        }
    }
}

#[test]
fn a_privileged_domain_writes_what_is_the_builders_within_its_range() {
    let policy = XenDefault::with_privileged(DomainId::new(1));
    let world = World::new(2, 1, policy, Vec::new());
    let write = |index: Index, value| {
        let argument = param(2, index.raw().into(), value);
        call(&world, abi::HVMOP_set_param, &argument)
    };
    assert_eq!(write(Index::TIMER_MODE, 3), Ok(Answer::OK));
    assert_eq!(write(Index::TIMER_MODE, 4), Err(Errno::INVALID));
    assert_eq!(write(Index::PAE_ENABLED, 1), Err(Errno::INVALID));
    assert_eq!(write(Index::MCA_CAP, 1), Ok(Answer::OK));
    assert_eq!(write(Index::MCA_CAP, 0), Err(Errno::EXISTS));
    assert_eq!(
        set(&world, Index::TIMER_MODE.raw().into(), 1),
        Err(Errno::NOT_PERMITTED),
        "not even of itself"
    );
}

#[test]
fn a_guest_that_makes_no_sense_of_its_task_state_segment_crashes() {
    for (index, value) in [(15, 1 << 32), (37, 103 << 32 | 0xf000)] {
        let world = world();
        assert_eq!(set(&world, index, value), Err(Errno::INVALID));
        assert_eq!(*world.domains[0].life.lock(), Life::ShutDown(Reason::Crash));
    }
    let world = world();
    assert_eq!(set(&world, 15, 0xf000), Ok(Answer::OK));
    assert_eq!(
        (get(&world, 15), get(&world, 37)),
        (Ok(0xf000), Ok(128 << 32 | 0xf000))
    );
    assert_eq!(*world.domains[0].life.lock(), Life::Built);
}

#[test]
fn only_what_is_not_all_of_a_command_is_looked_at() {
    let world = world();
    world.put(1, ARGUMENT, &abi::GetTime::default());
    let time = u64::from(abi::HVMOP_get_time);
    let call = |width, command| world.call_from(1, 0, width, HYPERVISOR_hvm_op, &[command, ARGUMENT]);
    assert_eq!(call(Width::Bits64, time), Ok(Answer::OK));
    assert_eq!(world.get::<abi::GetTime>(1, ARGUMENT).now, 1_000);
    assert_eq!(call(Width::Bits64, time | 1 << 32), Err(Errno::NO_CALL));
    let nowhere = world.call(1, HYPERVISOR_hvm_op, &[time, NOWHERE]);
    assert_eq!(nowhere, Err(Errno::FAULT));
}

#[test]
fn translations_are_flushed_on_all_vcpus_without_an_argument() {
    let world = world();
    let flush = |at| world.call(1, HYPERVISOR_hvm_op, &[abi::HVMOP_flush_tlbs.into(), at]);
    let before = world.domains[0].translations.generation();
    assert_eq!(flush(ARGUMENT), Err(Errno::INVALID));
    assert_eq!(world.domains[0].translations.generation(), before);
    assert_eq!(flush(0), Ok(Answer::OK));
    assert_eq!(world.domains[0].translations.generation(), before + 1);
}

#[test]
fn a_guest_is_told_what_is_at_its_own_frames_alone() {
    let world = world();
    let ask = |domid, pfn| {
        let argument = abi::GetMemType {
            domid,
            pfn,
            ..Default::default()
        };
        call(&world, abi::HVMOP_get_mem_type, &argument)?;
        Ok(world.get::<abi::GetMemType>(1, ARGUMENT).mem_type)
    };
    assert_eq!(ask(DOMID_SELF, 5), Ok(abi::HVMMEM_ram_rw));
    assert_eq!(ask(DOMID_SELF, 0x900), Ok(abi::HVMMEM_mmio_dm), "nothing");
    assert_eq!(ask(DOMID_SELF, u64::MAX), Ok(abi::HVMMEM_mmio_dm));
    assert_eq!(ask(2, 5), Err(Errno::NOT_PERMITTED));
    assert_eq!(ask(9, 5), Err(Errno::NO_DOMAIN));
}

#[test]
fn traces_are_of_the_guests_class_and_fit() {
    let world = world();
    let trace = |event, extra_bytes| {
        let argument = abi::Xentrace {
            event,
            extra_bytes,
            extra: [3; 28],
        };
        call(&world, abi::HVMOP_xentrace, &argument)
    };
    assert_eq!(trace(0xfff, 28), Ok(Answer::OK));
    assert_eq!(trace(0x1000, 0), Err(Errno::INVALID));
    assert_eq!(trace(1, 29), Err(Errno::INVALID));
    let log = world.board.log.lock().unwrap();
    assert!(log.iter().any(|line| line.contains("0xfff")), "{log:?}");
}

#[test]
fn what_moved_elsewhere_or_is_not_here_says_so() {
    let world = world();
    let plain = |command: u32, at| world.call(1, HYPERVISOR_hvm_op, &[command.into(), at]);
    // To dm_op, or gone.
    for command in (2..=4).chain(6..=8).chain(12..=14).chain(16..=22).chain([26, 99]) {
        assert_eq!(plain(command, ARGUMENT), Err(Errno::NO_CALL), "{command}");
    }
    assert_eq!(plain(abi::HVMOP_altp2m, NOWHERE), Err(Errno::NOT_SUPPORTED));
    assert_eq!(plain(abi::HVMOP_guest_request_vm_event, 0), Ok(Answer::OK));
    assert_eq!(plain(abi::HVMOP_guest_request_vm_event, 1), Err(Errno::INVALID));
    let dying = abi::PagetableDying {
        domid: DOMID_SELF,
        ..Default::default()
    };
    assert_eq!(
        call(&world, abi::HVMOP_pagetable_dying, &dying),
        Err(Errno::INVALID)
    );
    let nobody = abi::PagetableDying { domid: 9, ..dying };
    assert_eq!(
        call(&world, abi::HVMOP_pagetable_dying, &nobody),
        Err(Errno::NO_DOMAIN)
    );
}

#[test]
fn a_vector_is_one_of_interrupts_of_a_vcpu_that_is_there() {
    let world = world();
    let set = |vcpu, vector| {
        let argument = abi::EvtchnUpcallVector {
            vcpu,
            vector,
            ..Default::default()
        };
        call(&world, abi::HVMOP_set_evtchn_upcall_vector, &argument)
    };
    assert_eq!(set(1, 0x10), Ok(Answer::OK));
    assert_eq!(set(9, 0x0f), Err(Errno::INVALID), "the vector is looked at first");
    assert_eq!(set(9, 0x10), Err(Errno::NO_ENTRY));
}
