//! What is done with memory.

use super::world::{FAR, FREE, World};
use super::{AT, Operation, memory_op, reservation};
use xenvisor::abi::GuestHandle64;
use xenvisor::abi::errno::EOPNOTSUPP;
use xenvisor::abi::memory as abi;
use xenvisor::abi::xen::DOMID_SELF;

/// Where lists lie.
const LIST: u64 = AT + 512;
const FRAMES: u64 = AT + 768;
const OUTCOMES: u64 = AT + 1024;

fn range(world: &World, size: u16) {
    let argument = abi::AddToPhysmap {
        domid: DOMID_SELF,
        size,
        space: abi::XENMAPSPACE_gmfn_range,
        idx: FREE + 3,
        gpfn: FAR,
    };
    world.put(1, AT, &argument);
}

/// Two frames are to go to places side by side.
fn batch(world: &World) {
    world.put(1, LIST, &[FREE + 3, FREE + 4]);
    world.put(1, FRAMES, &[FAR, FAR + 1]);
    world.put(1, OUTCOMES, &[0_i32; 2]);
    let argument = abi::AddToPhysmapBatch {
        domid: DOMID_SELF,
        space: u16::try_from(abi::XENMAPSPACE_gmfn).unwrap(),
        size: 2,
        idxs: GuestHandle64(LIST),
        gpfns: GuestHandle64(FRAMES),
        errs: GuestHandle64(OUTCOMES),
        ..Default::default()
    };
    world.put(1, AT, &argument);
}

fn memory_map(world: &World) {
    world.put(1, LIST, &[0x10_0000_u64, 0x20_0000]);
    world.put(1, LIST + 16, &1_u32);
    let argument = abi::ForeignMemoryMap {
        domid: DOMID_SELF,
        map: abi::MemoryMap {
            nr_entries: 1,
            buffer: GuestHandle64(LIST),
            ..Default::default()
        },
        ..Default::default()
    };
    world.put(1, AT, &argument);
}

fn exchange(world: &World) {
    world.put(1, LIST, &(FREE + 3));
    let list = abi::Reservation {
        extent_start: GuestHandle64(LIST),
        nr_extents: 1,
        domid: DOMID_SELF,
        ..Default::default()
    };
    let argument = abi::Exchange {
        input: list,
        output: list,
        nr_exchanged: 0,
    };
    world.put(1, AT, &argument);
}

fn of_itself(world: &World) {
    world.put(1, AT, &abi::Domain { domid: DOMID_SELF });
}

#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "frames are counted", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| reservation(world, 0, 2),
        act: |world| memory_op(world, abi::XENMEM_increase_reservation) == 1,
    },
    Operation {
        name: "a frame is added where memory was", requests: 1, books: false,
        fill: |_| {},
        prepare: |world| reservation(world, FREE + 3, 0),
        act: |world| memory_op(world, abi::XENMEM_populate_physmap) == 1,
    },
    Operation {
        name: "a block of frames is added", requests: 2, books: false,
        fill: |_| {},
        prepare: |world| reservation(world, FAR, 4),
        act: |world| memory_op(world, abi::XENMEM_populate_physmap) == 1,
    },
    Operation {
        name: "a block of frames is added across two tables", requests: 3, books: false,
        fill: |_| {},
        prepare: |world| reservation(world, FAR + 512 - 7, 4),
        act: |world| memory_op(world, abi::XENMEM_populate_physmap) == 1,
    },
    Operation {
        name: "a range of frames is moved", requests: 2, books: false,
        fill: |_| {},
        prepare: |world| range(world, 2),
        act: |world| memory_op(world, abi::XENMEM_add_to_physmap) == 0,
    },
    Operation {
        name: "a batch of frames is moved", requests: 2, books: false,
        fill: |_| {},
        prepare: batch,
        // Each has an outcome of its own: memory that is refused for one is there for the next.
        act: |world| {
            assert_eq!(memory_op(world, abi::XENMEM_add_to_physmap_batch), 0);
            let outcomes: [i32; 2] = world.get(1, OUTCOMES);
            outcomes == [0, 0]
        },
    },
    Operation {
        name: "a memory map is set", requests: 1, books: false,
        fill: |_| {},
        prepare: memory_map,
        act: |world| memory_op(world, abi::XENMEM_set_memory_map) == 0,
    },
    Operation {
        name: "the memory map is asked for", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| {
            let argument = abi::MemoryMap { nr_entries: 4, buffer: GuestHandle64(LIST), ..Default::default() };
            world.put(1, AT, &argument);
        },
        act: |world| memory_op(world, abi::XENMEM_memory_map) == 0,
    },
    Operation {
        name: "frames are offered for others in vain", requests: 0, books: false,
        fill: |_| {},
        prepare: exchange,
        act: |world| memory_op(world, abi::XENMEM_exchange) == -i64::from(EOPNOTSUPP),
    },
    Operation {
        name: "the reservation is asked for", requests: 0, books: false,
        fill: |_| {},
        prepare: of_itself,
        act: |world| memory_op(world, abi::XENMEM_current_reservation) > 0
            && memory_op(world, abi::XENMEM_maximum_reservation) > 0
            && memory_op(world, abi::XENMEM_maximum_gpfn) > 0
            && memory_op(world, abi::XENMEM_maximum_ram_page) > 0,
    },
];
