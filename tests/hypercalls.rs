//! Each hypercall that a PVH guest of the first stage makes answers as the public headers and real Xen say.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly; that is what it is for"
)]

mod world;

use world::{ARGUMENTS as AT, FAR, FREE, World};
use xenvisor::abi::GuestHandle64;
use xenvisor::abi::errno;
use xenvisor::abi::event_channel as event;
use xenvisor::abi::grant_table as grant;
use xenvisor::abi::hvm::hvm_op;
use xenvisor::abi::hvm::params as param;
use xenvisor::abi::memory::{self, AddToPhysmap, MemoryMap};
use xenvisor::abi::sched;
use xenvisor::abi::vcpu;
use xenvisor::abi::version;
use xenvisor::abi::xen::{self, DOMID_SELF};
use xenvisor::model::domain::life::{Life, Reason};
use xenvisor::prelude::XenDefault;

/// Where nothing is.
const NOWHERE: u64 = FAR << 12;

fn fails(with: i32) -> i64 {
    -i64::from(with)
}

fn one() -> World {
    World::new(1, XenDefault::default())
}

fn event_op<T>(world: &World, n: u16, command: u32, argument: &mut T) -> i64
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    world.call_with(n, xen::HYPERVISOR_event_channel_op, command, argument)
}

fn hvm_param(world: &World, command: u32, index: u32, value: u64) -> (i64, u64) {
    let mut argument = hvm_op::Param {
        domid: DOMID_SELF,
        index,
        value,
        ..Default::default()
    };
    let result = world.call_with(1, xen::HYPERVISOR_hvm_op, command, &mut argument);
    (result, argument.value)
}

fn vcpu_op(world: &World, command: u32, vcpu: u64, at: u64) -> i64 {
    world.call(1, xen::HYPERVISOR_vcpu_op, &[command.into(), vcpu, at])
}

#[test]
fn what_is_not_in_the_table_does_not_exist() {
    let world = one();
    let known = [
        7, 12, 13, 15, 17, 18, 20, 21, 24, 26, 29, 32, 34, 35, 36, 40, 41, 42, 49,
    ];
    for number in (0..64)
        .filter(|number| !known.contains(number))
        .chain([1000, u32::MAX])
    {
        assert_eq!(
            world.call(1, number, &[0; 6]),
            fails(errno::ENOSYS),
            "hypercall {number}"
        );
    }
    for number in [12, 17, 20, 24, 29, 32, 34] {
        let result = world.call(1, number, &[63, 0, 1]);
        assert_eq!(result, fails(errno::ENOSYS), "command 63 of hypercall {number}");
    }
}

#[test]
fn an_argument_that_is_not_memory_is_a_fault() {
    let world = one();
    let version = [version::XENVER_extraversion, version::XENVER_get_features];
    let rows = [
        (xen::HYPERVISOR_xen_version, &version[..]),
        (
            xen::HYPERVISOR_memory_op,
            &[memory::XENMEM_add_to_physmap, memory::XENMEM_memory_map][..],
        ),
        (
            xen::HYPERVISOR_event_channel_op,
            &[0, 1, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13][..],
        ),
        (
            xen::HYPERVISOR_hvm_op,
            &[
                hvm_op::HVMOP_set_param,
                hvm_op::HVMOP_get_param,
                hvm_op::HVMOP_pagetable_dying,
            ][..],
        ),
        (
            xen::HYPERVISOR_grant_table_op,
            &[grant::GNTTABOP_query_size, grant::GNTTABOP_set_version][..],
        ),
        (xen::HYPERVISOR_sched_op, &[sched::SCHEDOP_shutdown][..]),
    ];
    for (number, commands) in rows {
        for command in commands {
            let result = world.call(1, number, &[u64::from(*command), NOWHERE, 1]);
            assert_eq!(
                result,
                fails(errno::EFAULT),
                "command {command} of hypercall {number}"
            );
        }
    }
}

#[test]
fn it_is_xen_4_17_with_the_features_of_a_pvh_guest() {
    let world = one();
    let ask = |command: u32| world.call(1, xen::HYPERVISOR_xen_version, &[command.into(), AT]);
    assert_eq!(ask(version::XENVER_version), 4 << 16 | 17);
    assert_eq!(ask(version::XENVER_extraversion), 0);
    let extra: [u8; 16] = world.get(1, AT);
    assert!(extra.contains(&0) && extra.first() == Some(&b'.'), "{extra:?}");
    let mut features = version::FeatureInfo::default();
    let command = version::XENVER_get_features;
    assert_eq!(
        world.call_with(1, xen::HYPERVISOR_xen_version, command, &mut features),
        0
    );
    assert_eq!(features.submap, 0x0001_2305);
    features.submap_idx = 1;
    let result = world.call_with(1, xen::HYPERVISOR_xen_version, command, &mut features);
    assert_eq!(result, fails(errno::EINVAL));
}

#[test]
fn the_memory_map_is_the_one_the_guest_was_built_with() {
    let world = one();
    let mut argument = MemoryMap {
        nr_entries: 8,
        buffer: GuestHandle64(AT + 1024),
        ..Default::default()
    };
    let command = memory::XENMEM_memory_map;
    assert_eq!(
        world.call_with(1, xen::HYPERVISOR_memory_op, command, &mut argument),
        0
    );
    assert_eq!(argument.nr_entries, 3);
    // An entry of e820: where, how many bytes, what kind; packed to 20 bytes.
    assert_eq!(world.get::<u64>(1, AT + 1024), 0);
    assert_eq!(world.get::<u64>(1, AT + 1032), 4 << 20);
    assert_eq!(world.get::<u32>(1, AT + 1040), 1);
}

#[test]
fn pages_of_the_hypervisor_are_placed_and_what_was_there_is_given_back() {
    let world = one();
    let place = |space, idx, gpfn| {
        let mut argument = AddToPhysmap {
            domid: DOMID_SELF,
            space,
            idx,
            gpfn,
            ..Default::default()
        };
        let command = memory::XENMEM_add_to_physmap;
        world.call_with(1, xen::HYPERVISOR_memory_op, command, &mut argument)
    };
    let before = world.domain(1).memory.account().used;
    assert_eq!(place(memory::XENMAPSPACE_shared_info, 0, FREE), 0);
    assert_eq!(world.domain(1).memory.account().used, before - 1);
    // The wall clock is in it: the shared page it is.
    assert_ne!(world.get::<u32>(1, (FREE << 12) + 3076), 0);
    assert_eq!(place(memory::XENMAPSPACE_grant_table, 0, FREE + 1), 0);
    assert_eq!(
        place(memory::XENMAPSPACE_grant_table, 64, FREE + 2),
        fails(errno::EINVAL)
    );
    assert_eq!(
        place(memory::XENMAPSPACE_gmfn_foreign, 0, FREE + 2),
        fails(errno::ENOSYS)
    );
}

#[test]
fn a_guest_may_not_write_to_the_hosts_console() {
    let world = one();
    for command in [xen::CONSOLEIO_write, xen::CONSOLEIO_read] {
        let result = world.call(1, xen::HYPERVISOR_console_io, &[command.into(), 1, AT]);
        assert_eq!(result, fails(errno::EPERM));
    }
}

#[test]
fn a_grant_table_has_one_frame_of_version_1_and_may_grow_to_64() {
    let world = one();
    let mut size = grant::QuerySize {
        dom: DOMID_SELF,
        ..Default::default()
    };
    let number = xen::HYPERVISOR_grant_table_op;
    assert_eq!(
        world.call_with(1, number, grant::GNTTABOP_query_size, &mut size),
        0
    );
    assert_eq!((size.nr_frames, size.max_nr_frames, size.status), (1, 64, 0));
    for (wanted, result) in [(1, 0), (2, 0), (3, fails(errno::EINVAL)), (1, 0)] {
        let mut version = grant::SetVersion { version: wanted };
        let answer = world.call_with(1, number, grant::GNTTABOP_set_version, &mut version);
        assert_eq!(answer, result, "version {wanted}");
    }
}

#[test]
fn the_only_assist_is_the_mark_on_run_states() {
    let world = one();
    let assist =
        |command: u32, kind: u32| world.call(1, xen::HYPERVISOR_vm_assist, &[command.into(), kind.into()]);
    assert_eq!(
        assist(xen::VMASST_CMD_enable, xen::VMASST_TYPE_runstate_update_flag),
        0
    );
    assert!(world.domain(1).settings.lock().runstate_update_flag);
    assert_eq!(
        assist(xen::VMASST_CMD_disable, xen::VMASST_TYPE_runstate_update_flag),
        0
    );
    assert!(!world.domain(1).settings.lock().runstate_update_flag);
    for kind in [0, 1, 2, 3, 4, 32, 64, u32::MAX] {
        assert_eq!(
            assist(xen::VMASST_CMD_enable, kind),
            fails(errno::EINVAL),
            "type {kind}"
        );
    }
}

#[test]
fn a_vcpu_info_moves_once_and_everything_is_looked_at_again_then() {
    let world = one();
    let register = |mfn, offset| {
        world.put(1, AT, &vcpu::RegisterVcpuInfo { mfn, offset, rsvd: 0 });
        vcpu_op(&world, vcpu::VCPUOP_register_vcpu_info, 0, AT)
    };
    assert_eq!(register(FREE, 4096 - 32), fails(errno::ENXIO));
    assert_eq!(register(FAR, 0), fails(errno::EINVAL));
    assert_eq!(register(FREE, 128), 0);
    assert_eq!(world.get::<u8>(1, (FREE << 12) + 128), 1, "an upcall is pending");
    assert_eq!(
        world.get::<u64>(1, (FREE << 12) + 136),
        u64::MAX,
        "every word is selected"
    );
    assert_eq!(register(FREE, 128), fails(errno::EINVAL));
}

#[test]
fn timers_are_set_and_stopped() {
    let world = one();
    assert_eq!(vcpu_op(&world, vcpu::VCPUOP_stop_periodic_timer, 0, 0), 0);
    let timer = vcpu::SetSingleshotTimer {
        timeout_abs_ns: 5_000_000,
        ..Default::default()
    };
    world.put(1, AT, &timer);
    assert_eq!(vcpu_op(&world, vcpu::VCPUOP_set_singleshot_timer, 0, AT), 0);
    let deadline = || world.domain(1).vcpus.first().unwrap().timers.lock().singleshot;
    assert_eq!(deadline().map(|at| at.as_ns()), Some(5_000_000));
    assert_eq!(vcpu_op(&world, vcpu::VCPUOP_stop_singleshot_timer, 0, 0), 0);
    assert_eq!(deadline(), None);
    assert_eq!(
        vcpu_op(&world, vcpu::VCPUOP_stop_singleshot_timer, 1, 0),
        fails(errno::ENOENT)
    );
}

#[test]
fn run_states_are_told_where_the_guest_wants_them() {
    let world = one();
    let area = vcpu::RegisterRunstateMemoryArea {
        addr: GuestHandle64(FREE << 12),
    };
    world.put(1, AT, &area);
    let command = vcpu::VCPUOP_register_runstate_memory_area;
    world.put(1, FREE << 12, &[0xff_u8; 48]);
    assert_eq!(vcpu_op(&world, command, 0, AT), 0);
    let told: vcpu::RunstateInfo = world.get(1, FREE << 12);
    assert!((0..4).contains(&told.state), "{told:?}");
}

#[test]
fn a_guest_gives_way_and_ends() {
    let world = one();
    let number = xen::HYPERVISOR_sched_op;
    assert_eq!(world.call(1, number, &[sched::SCHEDOP_yield.into(), 0]), 0);
    assert_eq!(world.call(1, number, &[sched::SCHEDOP_block.into(), 0]), 0);
    let mut shutdown = sched::Shutdown {
        reason: sched::SHUTDOWN_reboot,
    };
    assert_eq!(
        world.call_with(1, number, sched::SCHEDOP_shutdown, &mut shutdown),
        0
    );
    assert_eq!(*world.domain(1).life.lock(), Life::ShutDown(Reason::Reboot));
}

#[test]
fn virtual_interrupts_and_ipis_are_bound_once_and_closed() {
    let world = one();
    let mut timer = event::BindVirq {
        virq: xen::VIRQ_TIMER,
        vcpu: 0,
        port: 0,
    };
    assert_eq!(event_op(&world, 1, event::EVTCHNOP_bind_virq, &mut timer), 0);
    let again = event_op(&world, 1, event::EVTCHNOP_bind_virq, &mut timer.clone());
    assert_eq!(again, fails(errno::EEXIST));
    let mut beyond = event::BindVirq { virq: 24, ..timer };
    let result = event_op(&world, 1, event::EVTCHNOP_bind_virq, &mut beyond);
    assert_eq!(result, fails(errno::EINVAL));
    let mut nobody = event::BindVirq { vcpu: 1, ..timer };
    let result = event_op(&world, 1, event::EVTCHNOP_bind_virq, &mut nobody);
    assert_eq!(result, fails(errno::ENOENT));

    let mut ipi = event::BindIpi { vcpu: 0, port: 0 };
    assert_eq!(event_op(&world, 1, event::EVTCHNOP_bind_ipi, &mut ipi), 0);
    assert_eq!(
        event_op(
            &world,
            1,
            event::EVTCHNOP_send,
            &mut event::Send { port: ipi.port }
        ),
        0
    );
    let mut affinity = event::BindVcpu {
        port: ipi.port,
        vcpu: 0,
    };
    let result = event_op(&world, 1, event::EVTCHNOP_bind_vcpu, &mut affinity);
    assert_eq!(result, fails(errno::EINVAL), "an IPI stays where it is bound");

    let mut status = event::Status {
        dom: DOMID_SELF,
        port: timer.port,
        ..Default::default()
    };
    assert_eq!(event_op(&world, 1, event::EVTCHNOP_status, &mut status), 0);
    assert_eq!(
        (status.status, status.u.first().copied()),
        (event::EVTCHNSTAT_virq, Some(xen::VIRQ_TIMER))
    );
    let mut close = event::Close { port: timer.port };
    assert_eq!(event_op(&world, 1, event::EVTCHNOP_close, &mut close), 0);
    assert_eq!(
        event_op(&world, 1, event::EVTCHNOP_close, &mut close),
        fails(errno::EINVAL)
    );
    assert_eq!(event_op(&world, 1, event::EVTCHNOP_bind_virq, &mut timer), 0);
}

#[test]
fn queues_of_events_are_set_up_and_grow() {
    let world = one();
    let mut control = event::InitControl {
        control_gfn: FREE,
        offset: 4,
        ..Default::default()
    };
    let command = event::EVTCHNOP_init_control;
    assert_eq!(
        event_op(&world, 1, command, &mut control),
        fails(errno::EINVAL),
        "not aligned"
    );
    control.offset = 0;
    assert_eq!(event_op(&world, 1, command, &mut control), 0);
    assert_eq!(control.link_bits, 17);
    let mut array = event::ExpandArray { array_gfn: FREE + 1 };
    assert_eq!(event_op(&world, 1, event::EVTCHNOP_expand_array, &mut array), 0);
    let mut port = event::BindVirq {
        virq: xen::VIRQ_TIMER,
        ..Default::default()
    };
    assert_eq!(event_op(&world, 1, event::EVTCHNOP_bind_virq, &mut port), 0);
    let port = port.port;
    for (priority, result) in [(0, 0), (15, 0), (16, fails(errno::EINVAL))] {
        let mut argument = event::SetPriority { port, priority };
        assert_eq!(
            event_op(&world, 1, event::EVTCHNOP_set_priority, &mut argument),
            result
        );
    }
    assert_eq!(
        event_op(&world, 1, event::EVTCHNOP_unmask, &mut event::Unmask { port }),
        0
    );
    let mut beyond = event::Unmask { port: 1 << 17 };
    assert_eq!(
        event_op(&world, 1, event::EVTCHNOP_unmask, &mut beyond),
        fails(errno::EINVAL)
    );
}

#[test]
fn parameters_are_read_and_written_by_the_rules() {
    let world = one();
    let read = |index| hvm_param(&world, hvm_op::HVMOP_get_param, index, 0);
    let write = |index, value| hvm_param(&world, hvm_op::HVMOP_set_param, index, value).0;
    let (result, port) = read(param::HVM_PARAM_CONSOLE_EVTCHN);
    assert_eq!(result, 0);
    assert_ne!(port, 0);
    assert_eq!(read(param::HVM_PARAM_STORE_PFN), (0, 0), "there is no store");
    assert_eq!(write(param::HVM_PARAM_CALLBACK_IRQ, 2 << 56 | 0xf3), 0);
    assert_eq!(read(param::HVM_PARAM_CALLBACK_IRQ), (0, 2 << 56 | 0xf3));
    assert_eq!(write(param::HVM_PARAM_CONSOLE_PFN, 1), fails(errno::EPERM));
    assert_eq!(read(param::HVM_PARAM_IDENT_PT).0, fails(errno::EPERM));
    assert_eq!(read(param::HVM_PARAM_PAE_ENABLED).0, fails(errno::EINVAL));
    assert_eq!(read(param::HVM_NR_PARAMS).0, fails(errno::EINVAL));
}

#[test]
fn nothing_hints_at_dying_page_tables_and_vectors_are_those_of_interrupts() {
    let world = one();
    let mut dying = hvm_op::PagetableDying {
        domid: DOMID_SELF,
        ..Default::default()
    };
    let number = xen::HYPERVISOR_hvm_op;
    let result = world.call_with(1, number, hvm_op::HVMOP_pagetable_dying, &mut dying);
    assert_eq!(result, fails(errno::EINVAL));
    for (vcpu, vector, expected) in [
        (0, 0xf3, 0),
        (0, 0x0f, fails(errno::EINVAL)),
        (1, 0xf3, fails(errno::ENOENT)),
    ] {
        let mut argument = hvm_op::EvtchnUpcallVector {
            vcpu,
            vector,
            ..Default::default()
        };
        let command = hvm_op::HVMOP_set_evtchn_upcall_vector;
        assert_eq!(world.call_with(1, number, command, &mut argument), expected);
    }
}
