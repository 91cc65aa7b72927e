//! The test that guards every operation: whichever request for memory is refused, the operation fails and nothing
//! differs, or it succeeds; and with memory, it succeeds afterwards.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    reason = "a test may fail loudly; that is what it is for"
)]

#[path = "all_or_nothing/grants.rs"]
mod grants;
#[path = "all_or_nothing/memory.rs"]
mod of_memory;
#[path = "all_or_nothing/rest.rs"]
mod rest;
mod world;

use world::{FAR, FREE, World};
use xenvisor::abi::event_channel as event;
use xenvisor::abi::grant_table as grant;
use xenvisor::abi::memory::{self, AddToPhysmap, RemoveFromPhysmap, Reservation};
use xenvisor::abi::vcpu::{RegisterVcpuInfo, VCPUOP_register_vcpu_info};
use xenvisor::abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op, HYPERVISOR_memory_op, HYPERVISOR_vcpu_op};
use xenvisor::abi::{GuestHandle64, xen};
use xenvisor::prelude::XenDefault;
use xenvisor::sim::starve;

/// More requests than any operation makes.
const MOST: u32 = 2000;

/// An operation of domain 1, in a world where domain 2 has offered port 2 and granted reference 8.
struct Operation {
    name: &'static str,
    /// Makes what has to be there before.
    fill: fn(&World),
    /// Puts the arguments in place.
    prepare: fn(&World),
    /// Does it; whether it worked.
    act: fn(&World) -> bool,
    /// The fewest requests it makes.
    requests: u32,
    /// The hypervisor's books may have grown after a refusal: they are used at the next attempt.
    books: bool,
}

/// Where arguments lie in domain 1.
const AT: u64 = world::ARGUMENTS;

fn event_op(world: &World, command: u32) -> bool {
    world.call(1, HYPERVISOR_event_channel_op, &[command.into(), AT]) == 0
}

fn memory_op(world: &World, command: u32) -> i64 {
    world.call(1, HYPERVISOR_memory_op, &[command.into(), AT])
}

fn place(world: &World, n: u16, space: u32, idx: u64, gpfn: u64) {
    let argument = AddToPhysmap {
        domid: DOMID_SELF,
        space,
        idx,
        gpfn,
        ..AddToPhysmap::default()
    };
    world.put(n, AT, &argument);
}

/// Ports of domain 1 until the next one needs memory of its own: they come in buckets of 64.
fn fill_bucket(world: &World) {
    for _ in 2..64 {
        let offer = event::AllocUnbound {
            dom: DOMID_SELF,
            remote_dom: 2,
            port: 0,
        };
        world.put(1, AT, &offer);
        assert!(event_op(world, event::EVTCHNOP_alloc_unbound));
    }
}

/// The port that [`bind`] opens: the first is the console's.
const BOUND: u32 = 2;

/// Binds a port of domain 1 to the one that domain 2 offers.
fn bind(world: &World) {
    let argument = event::BindInterdomain {
        remote_dom: 2,
        remote_port: 2,
        local_port: 0,
        padding: 0,
    };
    world.put(1, AT, &argument);
    assert!(event_op(world, event::EVTCHNOP_bind_interdomain));
    assert_eq!(world.get::<event::BindInterdomain>(1, AT).local_port, BOUND);
}

fn init_control(world: &World) {
    let argument = event::InitControl {
        control_gfn: FREE,
        ..event::InitControl::default()
    };
    world.put(1, AT, &argument);
}

fn reservation(world: &World, frame: u64, order: u32) {
    world.put(1, AT + 512, &frame);
    let argument = Reservation {
        extent_start: GuestHandle64(AT + 512),
        nr_extents: 1,
        extent_order: order,
        domid: DOMID_SELF,
        ..Reservation::default()
    };
    world.put(1, AT, &argument);
}

#[rustfmt::skip]
const OPERATIONS: &[Operation] = &[
    Operation {
        name: "a port is offered", requests: 1, books: false,
        fill: fill_bucket,
        prepare: |world| world.put(1, AT, &event::AllocUnbound { dom: DOMID_SELF, remote_dom: 2, port: 0 }),
        act: |world| event_op(world, event::EVTCHNOP_alloc_unbound),
    },
    Operation {
        name: "a port is bound to another's", requests: 1, books: false,
        fill: fill_bucket,
        prepare: |world| {
            let argument = event::BindInterdomain { remote_dom: 2, remote_port: 2, ..Default::default() };
            world.put(1, AT, &argument);
        },
        act: |world| event_op(world, event::EVTCHNOP_bind_interdomain),
    },
    Operation {
        name: "a virtual interrupt is bound", requests: 1, books: false,
        fill: fill_bucket,
        prepare: |world| world.put(1, AT, &event::BindVirq { virq: xen::VIRQ_TIMER, vcpu: 0, port: 0 }),
        act: |world| event_op(world, event::EVTCHNOP_bind_virq),
    },
    Operation {
        name: "a physical interrupt is bound", requests: 1, books: false,
        fill: fill_bucket,
        prepare: |world| world.put(1, AT, &event::BindPirq { pirq: 20, flags: 0, port: 0 }),
        act: |world| event_op(world, event::EVTCHNOP_bind_pirq),
    },
    Operation {
        name: "an interrupt between processors is bound", requests: 1, books: false,
        fill: fill_bucket,
        prepare: |world| world.put(1, AT, &event::BindIpi { vcpu: 0, port: 0 }),
        act: |world| event_op(world, event::EVTCHNOP_bind_ipi),
    },
    Operation {
        name: "events are told by queues from now on", requests: 1, books: false,
        fill: |_| {},
        prepare: init_control,
        act: |world| event_op(world, event::EVTCHNOP_init_control),
    },
    Operation {
        name: "event words are added", requests: 0, books: false,
        fill: |world| {
            init_control(world);
            assert!(event_op(world, event::EVTCHNOP_init_control));
        },
        prepare: |world| world.put(1, AT, &event::ExpandArray { array_gfn: FREE + 1 }),
        act: |world| event_op(world, event::EVTCHNOP_expand_array),
    },
    Operation {
        name: "a port is closed", requests: 0, books: false,
        fill: bind,
        prepare: |world| world.put(1, AT, &event::Close { port: BOUND }),
        act: |world| event_op(world, event::EVTCHNOP_close),
    },
    Operation {
        name: "an event is sent", requests: 0, books: false,
        fill: bind,
        prepare: |world| world.put(1, AT, &event::Send { port: BOUND }),
        act: |world| event_op(world, event::EVTCHNOP_send),
    },
    Operation {
        name: "a port is looked at", requests: 0, books: false,
        fill: bind,
        prepare: |world| {
            let argument = event::Status { dom: DOMID_SELF, port: BOUND, ..Default::default() };
            world.put(1, AT, &argument);
        },
        act: |world| event_op(world, event::EVTCHNOP_status),
    },
    Operation {
        name: "a port is given to a vcpu", requests: 0, books: false,
        fill: bind,
        prepare: |world| world.put(1, AT, &event::BindVcpu { port: BOUND, vcpu: 0 }),
        act: |world| event_op(world, event::EVTCHNOP_bind_vcpu),
    },
    Operation {
        name: "a port is unmasked", requests: 0, books: false,
        fill: bind,
        prepare: |world| world.put(1, AT, &event::Unmask { port: BOUND }),
        act: |world| event_op(world, event::EVTCHNOP_unmask),
    },
    Operation {
        name: "a port is made urgent", requests: 0, books: false,
        fill: |world| {
            init_control(world);
            assert!(event_op(world, event::EVTCHNOP_init_control));
            bind(world);
        },
        prepare: |world| world.put(1, AT, &event::SetPriority { port: BOUND, priority: 0 }),
        act: |world| event_op(world, event::EVTCHNOP_set_priority),
    },
    Operation {
        name: "all ports are closed, and events are told by bits again", requests: 0, books: false,
        fill: |world| {
            init_control(world);
            assert!(event_op(world, event::EVTCHNOP_init_control));
            bind(world);
        },
        prepare: |world| world.put(1, AT, &event::Reset { dom: DOMID_SELF }),
        act: |world| event_op(world, event::EVTCHNOP_reset),
    },
    Operation {
        name: "the shared page is placed where memory was", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| place(world, 1, memory::XENMAPSPACE_shared_info, 0, FREE),
        act: |world| memory_op(world, memory::XENMEM_add_to_physmap) == 0,
    },
    Operation {
        name: "the shared page is placed where nothing was", requests: 2, books: false,
        fill: |_| {},
        prepare: |world| place(world, 1, memory::XENMAPSPACE_shared_info, 0, FAR),
        act: |world| memory_op(world, memory::XENMEM_add_to_physmap) == 0,
    },
    Operation {
        name: "a frame is moved", requests: 2, books: false,
        fill: |_| {},
        prepare: |world| place(world, 1, memory::XENMAPSPACE_gmfn, FREE + 3, FAR),
        act: |world| memory_op(world, memory::XENMEM_add_to_physmap) == 0,
    },
    Operation {
        name: "a frame is added", requests: 2, books: false,
        fill: |_| {},
        prepare: |world| reservation(world, FAR, 0),
        act: |world| memory_op(world, memory::XENMEM_populate_physmap) == 1,
    },
    Operation {
        name: "a frame is given back", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| reservation(world, FREE + 4, 0),
        act: |world| memory_op(world, memory::XENMEM_decrease_reservation) == 1,
    },
    Operation {
        name: "a frame is removed", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| {
            let argument = RemoveFromPhysmap { domid: DOMID_SELF, gpfn: FREE + 5, ..Default::default() };
            world.put(1, AT, &argument);
        },
        act: |world| memory_op(world, memory::XENMEM_remove_from_physmap) == 0,
    },
    Operation {
        name: "a vcpu_info is moved", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| {
            let argument = RegisterVcpuInfo { mfn: FREE, offset: 64, rsvd: 0 };
            world.put(1, AT, &argument);
        },
        act: |world| {
            let command = VCPUOP_register_vcpu_info.into();
            world.call(1, HYPERVISOR_vcpu_op, &[command, 0, AT]) == 0
        },
    },
];

/// All of them.
fn all() -> impl Iterator<Item = &'static Operation> {
    let others = [grants::OPERATIONS, of_memory::OPERATIONS, rest::OPERATIONS];
    OPERATIONS.iter().chain(others.into_iter().flatten())
}

/// Two domains; the second one offers the first a port, 2, and a grant, 8.
fn world() -> World {
    let world = World::new(2, XenDefault::default());
    let mut port = event::AllocUnbound {
        dom: DOMID_SELF,
        remote_dom: 1,
        port: 0,
    };
    let command = event::EVTCHNOP_alloc_unbound;
    assert_eq!(
        world.call_with(2, HYPERVISOR_event_channel_op, command, &mut port),
        0
    );
    assert_eq!(port.port, 2);
    place(&world, 2, memory::XENMAPSPACE_grant_table, 0, FREE);
    let command = memory::XENMEM_add_to_physmap.into();
    assert_eq!(world.call(2, HYPERVISOR_memory_op, &[command, AT]), 0);
    let entry = grant::EntryV1 {
        flags: grant::GTF_permit_access,
        domid: 1,
        frame: u32::try_from(FREE + 1).unwrap(),
    };
    world.put(2, (FREE << 12) + 64, &entry);
    world
}

#[test]
fn whichever_request_of_a_hypercall_is_refused_nothing_differs() {
    for operation in all() {
        let mut granted = 0;
        loop {
            let world = world();
            (operation.fill)(&world);
            (operation.prepare)(&world);
            let before = world.state();
            let done = starve::after(granted, || (operation.act)(&world));
            if done {
                break;
            }
            // What a refused element was told stands in its own argument.
            (operation.prepare)(&world);
            let (after, before) = if operation.books {
                (world.state().without_books(), before.without_books())
            } else {
                (world.state(), before)
            };
            let difference = after.difference(&before);
            assert!(
                difference.is_empty(),
                "{}, refused after {granted} requests, and still:
{difference}",
                operation.name
            );
            assert!(
                (operation.act)(&world),
                "{}, after {granted} and then all",
                operation.name
            );
            for n in [1, 2] {
                world.destroy(n);
            }
            let free = world.hypervisor.frames.free();
            assert_eq!(
                free,
                world.free_before(),
                "{}, refused after {granted}",
                operation.name
            );
            granted += 1;
            assert!(granted < MOST, "{} never succeeds", operation.name);
        }
        assert!(
            granted >= operation.requests,
            "{}: {granted} requests seen, {} expected at least: is it starved at all?",
            operation.name,
            operation.requests
        );
    }
}

#[test]
fn whichever_request_of_a_domains_creation_is_refused_nothing_is_left_of_it() {
    let mut granted = 0;
    loop {
        let world = World::empty(2, XenDefault::default());
        world.create(1).unwrap();
        let before = world.state();
        let made = starve::after(granted, || world.create(2).is_ok());
        if made {
            break;
        }
        let difference = world.state().difference(&before);
        assert!(
            difference.is_empty(),
            "refused after {granted} requests, and still:
{difference}"
        );
        if granted.is_multiple_of(7) {
            world.create(2).unwrap();
        }
        granted += 1;
        assert!(granted < MOST, "a domain can never be made");
    }
    assert!(granted > 10, "{granted} requests: is it starved at all?");
}

#[test]
fn everything_a_domain_had_comes_back_whatever_it_did() {
    for operation in all() {
        let world = world();
        (operation.fill)(&world);
        (operation.prepare)(&world);
        assert!((operation.act)(&world), "{}", operation.name);
        for n in [2, 1] {
            world.destroy(n);
        }
        let free = world.hypervisor.frames.free();
        assert_eq!(free, world.free_before(), "after {}", operation.name);
    }
}
