//! What is done with grants.

use super::world::{FAR, FREE, World};
use super::{AT, Operation, memory_op, place};
use xenvisor::abi::GuestHandle64;
use xenvisor::abi::grant_table as grant;
use xenvisor::abi::memory;
use xenvisor::abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op};

/// A call on one grant structure; its status must be fine as well.
fn grant_op(world: &World, command: u32, status_at: u64) -> bool {
    let result = world.call(1, HYPERVISOR_grant_table_op, &[command.into(), AT, 1]);
    result == 0 && world.get::<i16>(1, AT + status_at) == grant::GNTST_okay
}

/// Where the status of a copy is.
const COPY_STATUS: u64 = std::mem::offset_of!(grant::CopyOp, status) as u64;

/// A call on a structure without a status.
fn plain_op(world: &World, command: u32) -> bool {
    world.call(1, HYPERVISOR_grant_table_op, &[command.into(), AT, 1]) == 0
}

fn map(world: &World) {
    let argument = grant::MapGrantRef {
        host_addr: FAR << 12,
        flags: grant::MapFlags::HOST_MAP.bits(),
        reference: 8,
        dom: 2,
        ..Default::default()
    };
    world.put(1, AT, &argument);
}

/// Domain 1 gets version 2 entries, sees them and their status words, and offers its first frame in entry 9.
fn widen(world: &World) {
    world.put(1, AT, &grant::SetVersion { version: 2 });
    assert!(plain_op(world, grant::GNTTABOP_set_version));
    for (idx, gpfn) in [(0, FREE + 8), (memory::XENMAPIDX_grant_table_status, FREE + 9)] {
        place(world, 1, memory::XENMAPSPACE_grant_table, idx, gpfn);
        assert_eq!(memory_op(world, memory::XENMEM_add_to_physmap), 0);
    }
    let entry = grant::EntryV2FullPage {
        header: grant::EntryHeader {
            flags: grant::GTF_permit_access,
            domid: 1,
        },
        padding: 0,
        frame: FREE + 1,
    };
    world.put(1, ((FREE + 8) << 12) + 9 * 16, &entry);
}

/// Domain 2 passes on to 1, in its entry 10, what 1 has granted to it in its entry 9.
fn pass_on(world: &World) {
    widen(world);
    let onward = grant::EntryHeader {
        flags: grant::GTF_permit_access,
        domid: 2,
    };
    world.put(1, ((FREE + 8) << 12) + 9 * 16, &onward);
    world.put(2, AT, &grant::SetVersion { version: 2 });
    let command = grant::GNTTABOP_set_version.into();
    assert_eq!(world.call(2, HYPERVISOR_grant_table_op, &[command, AT, 1]), 0);
    let entry = grant::EntryV2Transitive {
        header: grant::EntryHeader {
            flags: grant::GTF_transitive,
            domid: 1,
        },
        trans_domid: 1,
        padding: 0,
        gref: 9,
    };
    world.put(2, (FREE << 12) + 10 * 16, &entry);
}

fn copy(world: &World, reference: u64) {
    let own = grant::CopyPointer {
        u: FREE + 3,
        domid: DOMID_SELF,
        ..Default::default()
    };
    let granted = grant::CopyPointer {
        u: reference,
        domid: 2,
        ..Default::default()
    };
    let argument = grant::CopyOp {
        source: own,
        dest: granted,
        len: 64,
        flags: grant::CopyFlags::DEST_GREF.bits(),
        ..Default::default()
    };
    world.put(1, AT, &argument);
}

#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "the grant table grows and is placed", requests: 1, books: true,
        fill: |_| {},
        prepare: |world| place(world, 1, memory::XENMAPSPACE_grant_table, 3, FAR),
        act: |world| memory_op(world, memory::XENMEM_add_to_physmap) == 0,
    },
    Operation {
        name: "grants get another format", requests: 1, books: true,
        fill: |_| {},
        prepare: |world| world.put(1, AT, &grant::SetVersion { version: 2 }),
        act: |world| {
            let command = grant::GNTTABOP_set_version.into();
            world.call(1, HYPERVISOR_grant_table_op, &[command, AT, 1]) == 0
        },
    },
    Operation {
        name: "a grant is mapped", requests: 2, books: true,
        fill: |_| {},
        prepare: |world| {
            let argument = grant::MapGrantRef {
                host_addr: FAR << 12,
                flags: grant::MapFlags::HOST_MAP.bits(),
                reference: 8,
                dom: 2,
                ..Default::default()
            };
            world.put(1, AT, &argument);
        },
        act: |world| grant_op(world, grant::GNTTABOP_map_grant_ref, 18),
    },
    Operation {
        name: "a grant is unmapped", requests: 0, books: false,
        fill: |world| {
            map(world);
            assert!(grant_op(world, grant::GNTTABOP_map_grant_ref, 18));
        },
        prepare: |world| {
            let argument = grant::UnmapGrantRef { host_addr: FAR << 12, handle: 0, ..Default::default() };
            world.put(1, AT, &argument);
        },
        act: |world| grant_op(world, grant::GNTTABOP_unmap_grant_ref, 20),
    },
    Operation {
        name: "a grant is mapped where memory was", requests: 1, books: true,
        fill: |_| {},
        prepare: |world| {
            map(world);
            world.put(1, AT, &((FREE + 6) << 12));
        },
        act: |world| grant_op(world, grant::GNTTABOP_map_grant_ref, 18),
    },
    Operation {
        name: "a frame of one's own is mapped elsewhere", requests: 2, books: true,
        fill: |world| {
            place(world, 1, memory::XENMAPSPACE_grant_table, 0, FREE + 8);
            assert_eq!(memory_op(world, memory::XENMEM_add_to_physmap), 0);
            let entry = grant::EntryV1 {
                flags: grant::GTF_permit_access,
                domid: 1,
                frame: u32::try_from(FREE + 1).unwrap(),
            };
            world.put(1, ((FREE + 8) << 12) + 9 * 8, &entry);
        },
        prepare: |world| {
            let argument = grant::MapGrantRef {
                host_addr: FAR << 12,
                flags: grant::MapFlags::HOST_MAP.bits(),
                reference: 9,
                dom: 1,
                ..Default::default()
            };
            world.put(1, AT, &argument);
        },
        act: |world| grant_op(world, grant::GNTTABOP_map_grant_ref, 18),
    },
    Operation {
        name: "bytes are copied to a grant", requests: 1, books: true,
        fill: |_| {},
        prepare: |world| copy(world, 8),
        act: |world| grant_op(world, grant::GNTTABOP_copy, COPY_STATUS),
    },
    Operation {
        name: "bytes are copied to a grant that is passed on", requests: 2, books: true,
        fill: pass_on,
        prepare: |world| copy(world, 10),
        act: |world| grant_op(world, grant::GNTTABOP_copy, COPY_STATUS),
    },
    Operation {
        name: "a table grows and its frames are listed", requests: 0, books: true,
        fill: |_| {},
        prepare: |world| {
            let argument = grant::SetupTable {
                dom: DOMID_SELF,
                nr_frames: 3,
                frame_list: GuestHandle64(AT + 512),
                ..Default::default()
            };
            world.put(1, AT, &argument);
        },
        act: |world| grant_op(world, grant::GNTTABOP_setup_table, 8),
    },
    Operation {
        name: "a table of version 2 grows for its status words", requests: 3, books: true,
        fill: widen,
        prepare: |world| {
            place(world, 1, memory::XENMAPSPACE_grant_table, memory::XENMAPIDX_grant_table_status | 1, FAR);
        },
        act: |world| memory_op(world, memory::XENMEM_add_to_physmap) == 0,
    },
    Operation {
        name: "grants get their first format again", requests: 0, books: false,
        fill: widen,
        prepare: |world| world.put(1, AT, &grant::SetVersion { version: 1 }),
        act: |world| plain_op(world, grant::GNTTABOP_set_version),
    },
    Operation {
        name: "two grants are exchanged", requests: 0, books: false,
        fill: widen,
        prepare: |world| world.put(1, AT, &grant::SwapGrantRef { ref_a: 9, ref_b: 10, ..Default::default() }),
        act: |world| grant_op(world, grant::GNTTABOP_swap_grant_ref, 8),
    },
    Operation {
        name: "the size of a table is asked for", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| world.put(1, AT, &grant::QuerySize { dom: DOMID_SELF, ..Default::default() }),
        act: |world| grant_op(world, grant::GNTTABOP_query_size, 12),
    },
    Operation {
        name: "the version of a table is asked for", requests: 0, books: false,
        fill: |_| {},
        prepare: |world| world.put(1, AT, &grant::GetVersion { dom: DOMID_SELF, ..Default::default() }),
        act: |world| plain_op(world, grant::GNTTABOP_get_version),
    },
];
