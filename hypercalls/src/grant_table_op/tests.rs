//! What guests hear when they grant, map and copy.

mod copying;
mod mapping;
mod setup;

use alloc::vec::Vec;

use xenvisor_abi::grant_table as abi;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op as CALL};
use xenvisor_core::grant::table::TableFrame;
use xenvisor_core::machine::Width;
use xenvisor_core::number::Gfn;
use xenvisor_core::policy::{Policy, XenDefault};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::answer::Answer;
use crate::errno::Errno;
use crate::testing::{NOWHERE, World};

/// Where arguments lie in a guest's memory.
const AT: u64 = 0x3000;

/// Where each guest sees the first frame of its table.
const TABLE: u64 = 0x1000;

const OKAY: i16 = abi::GNTST_okay;

fn world() -> World {
    under(XenDefault::default())
}

fn under(policy: impl Policy + 'static) -> World {
    let world = World::new(3, 1, policy, Vec::new());
    for domain in &world.domains {
        let show = domain.change(|leaving| {
            let mut table = domain.grants.lock();
            table.show(TableFrame::Shared(0), Gfn::new(TABLE), &domain.memory, leaving)
        });
        show.unwrap();
    }
    world
}

/// Makes a call with one element; the element afterwards.
fn op<T: IntoBytes + FromBytes + Immutable>(
    world: &World,
    n: usize,
    command: u32,
    argument: T,
) -> Result<T, Errno> {
    world.put(n, AT, &argument);
    let answer = world.call_to_the_end(n, CALL, &[command.into(), AT, 1])?;
    assert_eq!(answer, Answer::OK);
    Ok(world.get(n, AT))
}

/// Domain `n` offers a frame.
fn offer(world: &World, n: usize, reference: u32, grantee: u16, frame: u32, flags: u16) {
    let entry = abi::EntryV1 {
        flags: abi::GTF_permit_access | flags,
        domid: grantee,
        frame,
    };
    world.put(n, (TABLE << 12) + u64::from(reference) * 8, &entry);
}

fn flags(world: &World, n: usize, reference: u32) -> u16 {
    world.get(n, (TABLE << 12) + u64::from(reference) * 8)
}

fn map_argument(granter: u16, reference: u32, frame: u64) -> abi::MapGrantRef {
    abi::MapGrantRef {
        host_addr: frame << 12,
        flags: abi::MapFlags::HOST_MAP.bits(),
        reference,
        dom: granter,
        status: 77,
        handle: u32::MAX,
        dev_bus_addr: u64::MAX,
    }
}

fn map(world: &World, n: usize, argument: abi::MapGrantRef) -> abi::MapGrantRef {
    op(world, n, abi::GNTTABOP_map_grant_ref, argument).unwrap()
}

fn unmap(world: &World, n: usize, handle: u32, frame: u64) -> i16 {
    let argument = abi::UnmapGrantRef {
        host_addr: frame << 12,
        dev_bus_addr: 0,
        handle,
        status: 77,
        padding: 0,
    };
    op(world, n, abi::GNTTABOP_unmap_grant_ref, argument)
        .unwrap()
        .status
}

fn end(u: u64, domid: u16, offset: u16) -> abi::CopyPointer {
    abi::CopyPointer {
        u,
        domid,
        offset,
        padding: 0,
    }
}

fn copy(world: &World, source: abi::CopyPointer, dest: abi::CopyPointer, flags: u16, len: u16) -> i16 {
    let argument = abi::CopyOp {
        source,
        dest,
        len,
        flags,
        status: 77,
        padding: 0,
    };
    op(world, 2, abi::GNTTABOP_copy, argument).unwrap().status
}
