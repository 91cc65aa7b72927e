//! Memory operations, vcpu operations, and what answers tell.

use std::sync::Arc;

use xenvisor::abi::GuestHandle64;
use xenvisor::abi::errno::{EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EPERM};
use xenvisor::abi::memory as abi;
use xenvisor::abi::vcpu;
use xenvisor::abi::version;
use xenvisor::abi::xen::{
    self, DOMID_SELF, HYPERVISOR_memory_op, HYPERVISOR_multicall, HYPERVISOR_set_timer_op,
    HYPERVISOR_vcpu_op, HYPERVISOR_xen_version,
};
use xenvisor::hypercalls::answer::{Answer, Served};
use xenvisor::hypercalls::context::Context;
use xenvisor::hypercalls::table;
use xenvisor::model::domain::destroy::Destruction;
use xenvisor::model::domain::life::{Life, Reason};
use xenvisor::model::machine::{Call, Machine, Width};
use xenvisor::model::number::{Gfn, VcpuId};
use xenvisor::prelude::*;

use crate::world::{ARGUMENTS as AT, FAR, FREE, World};

/// Where lists lie.
const LIST: u64 = AT + 512;

fn fails(with: i32) -> i64 {
    -i64::from(with)
}

fn one() -> World {
    World::new(1, XenDefault::default())
}

fn memory_op(world: &World, command: u64) -> i64 {
    world.call(1, HYPERVISOR_memory_op, &[command, AT])
}

fn vcpu_op(world: &World, command: u32, vcpu: u64) -> i64 {
    world.call(1, HYPERVISOR_vcpu_op, &[command.into(), vcpu, AT])
}

fn reservation(world: &World, change: impl Fn(&mut abi::Reservation)) {
    let mut argument = abi::Reservation {
        extent_start: GuestHandle64(LIST),
        nr_extents: 1,
        domid: DOMID_SELF,
        ..Default::default()
    };
    change(&mut argument);
    world.put(1, LIST, &(FREE + 64));
    world.put(1, AT, &argument);
}

/// One step of a hypercall of domain 1, as it comes out of the table.
fn step(world: &World, number: u64, arguments: [u64; 6], width: Width, privileged: bool) -> Served {
    let caller = world.domain(1);
    let vcpu = caller.vcpu(VcpuId::new(0)).unwrap();
    let processor = vcpu.cpu.lock();
    let cx = Context {
        hypervisor: &world.hypervisor,
        caller: &caller,
        vcpu,
        cpu: processor.cpu.as_ref(),
        width,
        now: world.machine.now(),
    };
    let call = Call {
        number,
        arguments,
        width,
        privileged,
    };
    table::serve(&cx, &call)
}

#[test]
fn xsa_20_no_period_and_no_deadline_overflows_or_keeps_the_processor_busy() {
    let world = one();
    for (period_ns, expected) in [
        (0, fails(EINVAL)),
        (1, fails(EINVAL)),
        (999_999, fails(EINVAL)),
        (1_000_000, 0),
        (u64::MAX >> 2, 0),
        ((u64::MAX >> 2) + 1, fails(EINVAL)),
        (1 << 63, fails(EINVAL)),
        (u64::MAX, fails(EINVAL)),
    ] {
        world.put(1, AT, &vcpu::SetPeriodicTimer { period_ns });
        let result = vcpu_op(&world, vcpu::VCPUOP_set_periodic_timer, 0);
        assert_eq!(result, expected, "{period_ns}");
    }
    let timers = || *world.domain(1).vcpus[0].timers.lock();
    for deadline in [1, u64::MAX >> 1, 1 << 63, u64::MAX] {
        let timer = vcpu::SetSingleshotTimer {
            timeout_abs_ns: deadline,
            ..Default::default()
        };
        world.put(1, AT, &timer);
        assert_eq!(vcpu_op(&world, vcpu::VCPUOP_set_singleshot_timer, 0), 0);
        assert!(timers().next().unwrap().as_ns() <= deadline);
        assert_eq!(world.call(1, HYPERVISOR_set_timer_op, &[deadline]), 0);
        let mut fired = timers();
        assert!(fired.fire(xenvisor::model::clock::Instant::FAR).timer);
    }
}

#[test]
fn xsa_22_158_no_extent_is_larger_than_a_guest_may_have() {
    let world = one();
    for command in [
        abi::XENMEM_increase_reservation,
        abi::XENMEM_decrease_reservation,
        abi::XENMEM_populate_physmap,
    ] {
        let used = world.domain(1).memory.account();
        for order in [10, 18, 20, 31, 32, 63, 64, u32::MAX] {
            reservation(&world, |r| r.extent_order = order);
            assert_eq!(memory_op(&world, command.into()), 0, "{command}, {order}");
            assert_eq!(world.domain(1).memory.account(), used);
        }
    }
}

#[test]
fn xsa_296_whatever_stands_where_progress_does_the_answer_is_one() {
    let world = one();
    for command in 0..64 {
        for progress in [1, 0x3ff, 0xffff, 0x1_0000, (1 << 26) - 1, 1 << 26, (1 << 58) - 1] {
            reservation(&world, |_| ());
            let result = memory_op(&world, command | progress << 6);
            // A reservation says how far it has come, which is as far as it is told; all else is an error.
            let is_reservation = matches!(command, 0 | 1 | 6);
            let fine = if is_reservation {
                result == progress.cast_signed()
            } else {
                result <= 0
            };
            assert!(fine, "command {command}, progress {progress:#x}: {result}");
        }
    }
}

#[test]
fn xsa_29_212_a_list_that_leaves_the_address_space_is_a_fault_and_changes_nothing() {
    let world = one();
    for start in [u64::MAX - 7, u64::MAX, 1 << 63, (1 << 47) - 4] {
        let far = |r: &mut abi::Reservation| {
            r.extent_start = GuestHandle64(start);
            r.nr_extents = 3;
        };
        reservation(&world, far);
        for command in [abi::XENMEM_decrease_reservation, abi::XENMEM_populate_physmap] {
            assert_eq!(memory_op(&world, command.into()), 0, "{start:#x}");
        }
        let list: abi::Reservation = world.get(1, AT);
        world.put(
            1,
            AT,
            &abi::Exchange {
                input: list,
                output: list,
                nr_exchanged: 0,
            },
        );
        assert_eq!(memory_op(&world, abi::XENMEM_exchange.into()), fails(EFAULT));
        let batch = abi::AddToPhysmapBatch {
            domid: DOMID_SELF,
            space: 2,
            size: 3,
            idxs: GuestHandle64(start),
            gpfns: GuestHandle64(LIST),
            errs: GuestHandle64(LIST),
            ..Default::default()
        };
        world.put(1, AT, &batch);
        assert_eq!(
            memory_op(&world, abi::XENMEM_add_to_physmap_batch.into()),
            fails(EFAULT)
        );
        let outcomes = abi::AddToPhysmapBatch {
            idxs: GuestHandle64(LIST),
            errs: GuestHandle64(start),
            ..batch
        };
        world.put(1, LIST, &[FREE + 1, FREE + 2, FREE + 3]);
        world.put(1, AT, &outcomes);
        let before = world.state();
        assert_eq!(
            memory_op(&world, abi::XENMEM_add_to_physmap_batch.into()),
            fails(EFAULT)
        );
        assert!(world.state().difference(&before).is_empty(), "{start:#x}");
    }
}

#[test]
fn xsa_30_379_a_frame_is_behind_one_guest_frame_at_most() {
    let world = one();
    let place = |space, idx, gpfn| {
        let argument = abi::AddToPhysmap {
            domid: DOMID_SELF,
            space,
            idx,
            gpfn,
            ..Default::default()
        };
        world.put(1, AT, &argument);
        assert_eq!(memory_op(&world, abi::XENMEM_add_to_physmap.into()), 0);
    };
    let places = |of: u64| {
        let domain = world.domain(1);
        let mut found = 0;
        domain
            .memory
            .stage()
            .lock()
            .leaves(Default::default(), &mut |_, leaf| {
                let frames = leaf.target.mfn.raw()..leaf.target.mfn.raw() + leaf.order.frames();
                found += u32::from(frames.contains(&of));
                true
            });
        found
    };
    let domain = world.domain(1);
    let page = domain.shared_info.mfn().raw();
    for gpfn in [FREE, FREE + 1, FAR, FREE] {
        place(abi::XENMAPSPACE_shared_info, 0, gpfn);
        assert_eq!(places(page), 1);
    }
    let ram = domain
        .memory
        .stage()
        .lock()
        .translate(Gfn::new(FREE + 5))
        .unwrap();
    for (from, to) in [(FREE + 5, FAR + 1), (FAR + 1, FREE + 6), (FREE + 6, FREE)] {
        place(abi::XENMAPSPACE_gmfn, from, to);
        assert_eq!(places(ram.target.mfn.raw()), 1);
    }
    assert_eq!(places(page), 0, "it was where the frame is now");
}

#[test]
fn xsa_122_132_239_answers_are_filled_to_their_end() {
    let world = one();
    let rows = [
        (version::XENVER_extraversion, version::XEN_EXTRAVERSION_LEN),
        (version::XENVER_compile_info, size_of::<version::CompileInfo>()),
        (version::XENVER_capabilities, version::XEN_CAPABILITIES_INFO_LEN),
        (version::XENVER_changeset, version::XEN_CHANGESET_INFO_LEN),
        (version::XENVER_commandline, version::XEN_COMMANDLINE_LEN),
    ];
    for (command, length) in rows {
        world.put(1, FREE << 12, &[0xff_u8; 2048]);
        let arguments = [command.into(), FREE << 12];
        assert_eq!(world.call(1, HYPERVISOR_xen_version, &arguments), 0);
        let answer: [u8; 2048] = world.get(1, FREE << 12);
        let (told, rest) = answer.split_at(length);
        assert!(
            told.iter().all(u8::is_ascii),
            "{command} leaves something as it was"
        );
        assert!(told.contains(&0), "{command} is not ended");
        assert!(
            rest.iter().all(|byte| *byte == 0xff),
            "{command} is longer than it says"
        );
    }
    world.put(1, FREE << 12, &[0xff_u8; 64]);
    let result = world.call(
        1,
        HYPERVISOR_vcpu_op,
        &[vcpu::VCPUOP_get_runstate_info.into(), 0, FREE << 12],
    );
    let told: vcpu::RunstateInfo = world.get(1, FREE << 12);
    assert_eq!((result, told.padding), (0, 0));
    assert!(told.time.iter().all(|spent| *spent != u64::MAX));
}

#[test]
fn xsa_217_no_frame_of_a_translated_guest_is_taken_for_another() {
    let world = one();
    let list = abi::Reservation {
        extent_start: GuestHandle64(LIST),
        nr_extents: 1,
        domid: DOMID_SELF,
        ..Default::default()
    };
    let exchange = abi::Exchange {
        input: list,
        output: list,
        nr_exchanged: 0,
    };
    world.put(1, LIST, &FREE);
    world.put(1, AT, &exchange);
    let before = world.state();
    assert_eq!(memory_op(&world, abi::XENMEM_exchange.into()), fails(EOPNOTSUPP));
    assert!(world.state().difference(&before).is_empty());
}

#[test]
fn xsa_231_no_guest_names_a_node_that_is_not_there() {
    let world = one();
    for node in 1..=0xff_u32 {
        let exactly = abi::MemoryFlags::EXACT_NODE_REQUEST.bits();
        for (flags, done) in [(node << 8 | exactly, 0), (node << 8, 1)] {
            reservation(&world, |r| r.mem_flags = flags);
            let result = memory_op(&world, abi::XENMEM_increase_reservation.into());
            // As long as the domain may have more.
            assert!(result == done || result == 0, "flags {flags:#x}");
            assert!(done == 1 || result == 0, "flags {flags:#x}");
        }
    }
}

#[test]
fn xsa_150_246_388_507_nothing_is_populated_on_demand() {
    let world = one();
    for order in [0, 9, 18] {
        let on_demand = |r: &mut abi::Reservation| {
            r.mem_flags = abi::MemoryFlags::POPULATE_ON_DEMAND.bits();
            r.extent_order = order;
        };
        reservation(&world, on_demand);
        world.put(1, LIST, &FAR);
        let before = world.state();
        assert_eq!(memory_op(&world, abi::XENMEM_populate_physmap.into()), 0);
        assert!(world.state().difference(&before).is_empty());
    }
    for command in [abi::XENMEM_set_pod_target, abi::XENMEM_get_pod_target] {
        let target = abi::PodTarget {
            domid: DOMID_SELF,
            ..Default::default()
        };
        world.put(1, AT, &target);
        assert_eq!(memory_op(&world, command.into()), fails(EPERM));
    }
}

#[test]
fn xsa_252_what_a_guest_asks_for_in_one_call_is_done_in_turns() {
    let world = one();
    let domain = world.domain(1);
    domain.memory.frames().set_limit(domain.id, u64::MAX);
    // Each slice is a call of its own, and each says how far it is.
    for (order, extents) in [(0, 3000), (9, 7)] {
        reservation(&world, |r| (r.nr_extents, r.extent_order) = (extents, order));
        let mut arguments = [abi::XENMEM_increase_reservation.into(), AT, 0, 0, 0, 0];
        let mut frames = 0;
        loop {
            match step(
                &world,
                HYPERVISOR_memory_op.into(),
                arguments,
                Width::Bits64,
                true,
            ) {
                Ok(Answer::Again(again)) => {
                    let done = (again[0] >> 6) - (arguments[0] >> 6);
                    assert!(done << order <= 1024, "{done} extents of order {order} in one go");
                    frames += done << order;
                    arguments = again;
                }
                Ok(Answer::Done(done)) => {
                    assert_eq!(done, extents);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(frames >= 2048, "{frames}");
    }
}

#[test]
fn xsa_327_a_vcpu_info_is_aligned_and_within_one_page() {
    let world = one();
    for offset in (0..4200).chain([u32::MAX, u32::MAX - 7]) {
        let fits = offset % 8 == 0 && offset <= 4096 - 64;
        if fits {
            continue;
        }
        let argument = vcpu::RegisterVcpuInfo {
            mfn: FREE,
            offset,
            rsvd: 0,
        };
        world.put(1, AT, &argument);
        let result = vcpu_op(&world, vcpu::VCPUOP_register_vcpu_info, 0);
        assert_eq!(result, fails(ENXIO), "offset {offset}");
    }
}

#[test]
fn xsa_277_334_502_a_question_that_is_refused_holds_nothing_of_whom_it_concerns() {
    let world = World::new(2, XenDefault::default());
    let other = world.domain(2);
    let holds = Arc::strong_count(&other);
    for command in 0..64 {
        // Whatever the layout, a domain's number is in one of these places.
        for offset in [0, 2, 24, 32] {
            world.put(1, AT, &[0_u8; 96]);
            world.put(1, AT + offset, &2_u16);
            let _refused = memory_op(&world, command);
            assert_eq!(Arc::strong_count(&other), holds, "command {command}");
        }
    }
    // No lock is left taken either.
    assert!(other.memory.stage().lock().translate(Gfn::new(FREE)).is_some());
}

#[test]
fn xsa_76_only_the_kernel_of_a_guest_calls() {
    let world = one();
    let before = world.state();
    for width in [Width::Bits64, Width::Bits32] {
        for number in (0..64).chain([1 << 31, u64::MAX]) {
            for command in [0, 1, 2, 24] {
                let answer = step(&world, number, [command, AT, 0, 0, 0, 0], width, false);
                assert_eq!(answer.map_err(|errno| errno.raw()), Err(EPERM), "{number}");
            }
        }
    }
    assert!(world.state().difference(&before).is_empty());
}

#[test]
fn xsa_454_a_long_batch_of_32_bit_code_goes_on_with_what_32_bit_registers_hold() {
    let world = one();
    let entry = xen::compat::MulticallEntry {
        op: HYPERVISOR_xen_version,
        ..Default::default()
    };
    for n in 0..100 {
        world.put(1, (FREE << 12) + n * size_of_val(&entry) as u64, &entry);
    }
    let mut arguments = [FREE << 12, 100, 0, 0, 0, 0];
    let mut slices = 0;
    while let Ok(Answer::Again(again)) = step(
        &world,
        HYPERVISOR_multicall.into(),
        arguments,
        Width::Bits32,
        true,
    ) {
        assert!(
            again.iter().all(|word| u32::try_from(*word).is_ok()),
            "{again:x?}"
        );
        arguments = again;
        slices += 1;
    }
    assert!(slices > 0, "nothing went on");
}

#[test]
fn xsa_410_a_domain_is_taken_apart_in_slices_while_others_are_served() {
    let world = World::new(2, XenDefault::default());
    let dying = world.domain(2);
    dying.shut_down(Reason::PowerOff);
    let weak = Arc::downgrade(&dying);
    let mut destruction = Destruction::begin(&world.hypervisor, dying);
    let mut slices = 0;
    while !destruction.go_on(&world.hypervisor) {
        slices += 1;
        assert_eq!(*destruction.domain().life.lock(), Life::Dying);
        // The other one asks, and gets no answer about the dying one.
        world.put(1, AT, &abi::Domain { domid: 2 });
        let result = memory_op(&world, abi::XENMEM_current_reservation.into());
        assert_eq!(result, -3, "it is not found any more");
        world.put(1, AT, &abi::Domain { domid: DOMID_SELF });
        assert!(memory_op(&world, abi::XENMEM_current_reservation.into()) > 0);
    }
    assert!(slices >= 3, "{slices}");
    drop(destruction);
    assert!(weak.upgrade().is_none());
    world.destroy(1);
    assert_eq!(world.hypervisor.frames.free(), world.free_before());
}
