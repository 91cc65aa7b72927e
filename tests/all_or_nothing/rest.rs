//! What is done with vcpus, parameters, and the rest.

use super::world::{FAR, FREE, World};
use super::{AT, Operation, reservation};
use xenvisor::abi::GuestHandle64;
use xenvisor::abi::hvm::{hvm_op, params};
use xenvisor::abi::memory::XENMEM_populate_physmap;
use xenvisor::abi::xen::{self, DOMID_SELF, MulticallEntry};
use xenvisor::abi::{sched, vcpu, version};

fn sched_op(world: &World, command: u32) -> i64 {
    world.call(1, xen::HYPERVISOR_sched_op, &[command.into(), AT])
}

fn vcpu_op(world: &World, command: u32) -> bool {
    world.call(1, xen::HYPERVISOR_vcpu_op, &[command.into(), 0, AT]) == 0
}

fn hvm_op(world: &World, command: u32) -> bool {
    world.call(1, xen::HYPERVISOR_hvm_op, &[command.into(), AT]) == 0
}

fn param(world: &World, index: u32, value: u64) {
    let argument = hvm_op::Param {
        domid: DOMID_SELF,
        index,
        value,
        ..Default::default()
    };
    world.put(1, AT, &argument);
}

fn area(world: &World) {
    let argument = vcpu::RegisterRunstateMemoryArea {
        addr: GuestHandle64(FREE << 12),
    };
    world.put(1, AT, &argument);
}

/// A batch that adds a frame and asks for the version.
fn batch(world: &World) {
    reservation(world, FAR, 0);
    let entries = [
        (
            xen::HYPERVISOR_memory_op,
            [u64::from(XENMEM_populate_physmap), AT],
        ),
        (xen::HYPERVISOR_xen_version, [version::XENVER_version.into(), 0]),
    ];
    for (at, (op, [first, second])) in (BATCH..).step_by(size_of::<MulticallEntry>()).zip(entries) {
        let entry = MulticallEntry {
            op: op.into(),
            result: 0,
            args: [first, second, 0, 0, 0, 0],
        };
        world.put(1, at, &entry);
    }
}

/// Where a batch lies.
const BATCH: u64 = AT + 1024;

#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "a batch adds a frame", requests: 2, books: false,
        fill: |_| {},
        prepare: batch,
        act: |world| {
            assert_eq!(world.call(1, xen::HYPERVISOR_multicall, &[BATCH, 2]), 0);
            world.get::<MulticallEntry>(1, BATCH).result == 1
        },
    },
    Operation {
        name: "a watchdog is taken into use", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| world.put(1, AT, &sched::Watchdog { id: 0, timeout: 9 }),
        act: |world| sched_op(world, sched::SCHEDOP_watchdog) == 1,
    },
    Operation {
        name: "a reason is noted and the domain ends", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| world.put(1, AT, &sched::Shutdown { reason: sched::SHUTDOWN_reboot }),
        act: |world| sched_op(world, sched::SCHEDOP_shutdown_code) == 0 && sched_op(world, sched::SCHEDOP_shutdown) == 0,
    },
    Operation {
        name: "a port is waited for", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| {
            world.put(1, AT + 512, &1_u32);
            let argument = sched::Poll { ports: GuestHandle64(AT + 512), nr_ports: 1, timeout: 5, ..Default::default() };
            world.put(1, AT, &argument);
        },
        act: |world| sched_op(world, sched::SCHEDOP_poll) == 0,
    },
    Operation {
        name: "run states are told to a place", requests: 0, books: false,
        fill: |_| {},
        prepare: area,
        act: |world| vcpu_op(world, vcpu::VCPUOP_register_runstate_memory_area),
    },
    Operation {
        name: "the time is told to a place", requests: 0, books: false,
        fill: |_| {},
        prepare: area,
        act: |world| vcpu_op(world, vcpu::VCPUOP_register_vcpu_time_memory_area),
    },
    Operation {
        name: "timers are set and stopped", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| world.put(1, AT, &vcpu::SetPeriodicTimer { period_ns: 5_000_000 }),
        act: |world| vcpu_op(world, vcpu::VCPUOP_set_periodic_timer)
            && vcpu_op(world, vcpu::VCPUOP_set_singleshot_timer)
            && vcpu_op(world, vcpu::VCPUOP_stop_singleshot_timer)
            && vcpu_op(world, vcpu::VCPUOP_stop_periodic_timer)
            && world.call(1, xen::HYPERVISOR_set_timer_op, &[7]) == 0,
    },
    Operation {
        name: "a parameter is written and read", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| param(world, params::HVM_PARAM_CALLBACK_IRQ, 2 << 56 | 0xf3),
        act: |world| hvm_op(world, hvm_op::HVMOP_set_param) && hvm_op(world, hvm_op::HVMOP_get_param),
    },
    Operation {
        name: "a vcpu gets a vector of its own", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| world.put(1, AT, &hvm_op::EvtchnUpcallVector { vcpu: 0, vector: 0xf3, ..Default::default() }),
        act: |world| hvm_op(world, hvm_op::HVMOP_set_evtchn_upcall_vector),
    },
    Operation {
        name: "an assist is switched on", requests: 0, books: false,
        fill: |_| {},
        prepare: |_| {},
        act: |world| {
            let arguments = [xen::VMASST_CMD_enable.into(), xen::VMASST_TYPE_runstate_update_flag.into()];
            world.call(1, xen::HYPERVISOR_vm_assist, &arguments) == 0
        },
    },
    Operation {
        name: "the hypervisor says what it is", requests: 0, books: false,
        fill: |_| {},
        prepare: |_| {},
        act: |world| [version::XENVER_extraversion, version::XENVER_capabilities, version::XENVER_commandline]
            .iter()
            .all(|command| world.call(1, xen::HYPERVISOR_xen_version, &[u64::from(*command), AT]) == 0),
    },
];
