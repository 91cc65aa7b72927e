//! Grants.

mod passed_on;
mod races;
mod uses;
mod versions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use xenvisor::abi::GuestHandle64;
use xenvisor::abi::errno::{EINVAL, ENOSYS};
use xenvisor::abi::grant_table as abi;
use xenvisor::abi::memory::{
    AddToPhysmap, RemoveFromPhysmap, Reservation, XENMAPIDX_grant_table_status, XENMAPSPACE_grant_table,
    XENMEM_add_to_physmap, XENMEM_decrease_reservation, XENMEM_remove_from_physmap,
};
use xenvisor::abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op, HYPERVISOR_memory_op};
use xenvisor::model::domain::Domain;
use xenvisor::model::grant::copy::{End, Reached, copy};
use xenvisor::model::grant::entry::Version;
use xenvisor::model::grant::map::{self, MapRequest, Progress};
use xenvisor::model::grant::pin::PinError;
use xenvisor::model::grant::table::TableFrame;
use xenvisor::model::machine::Access;
use xenvisor::model::memory::frames::Owner;
use xenvisor::model::number::{DomainId, Gfn, GrantHandle, GrantRef, GuestAddr, Mfn};
use xenvisor::prelude::XenDefault;

use super::world::{ARGUMENTS, FREE, World};

/// Where a domain sees the first frame of its table, and the first of its status words.
const TABLE: u64 = FREE;

const STATUS: u64 = FREE + 1;

/// A frame of each domain, to be granted.
const FRAME: u64 = FREE + 2;

/// Where nothing is, to map grants at.
const AT: u64 = 1 << 20;

/// Rounds of a race.
const ROUNDS: u32 = 300;

const OKAY: i16 = abi::GNTST_okay;

const GENERAL: i16 = abi::GNTST_general_error;

const READ_ONLY: u32 = abi::MapFlags::READONLY.bits();

/// Domains that see the first frame of their tables.
fn world(domains: u16) -> World {
    let world = World::new(domains, XenDefault::default());
    for n in 1..=domains {
        assert_eq!(place(&world, n, 0, TABLE), 0);
    }
    world
}

fn place(world: &World, n: u16, idx: u64, gpfn: u64) -> i64 {
    let mut argument = AddToPhysmap {
        domid: DOMID_SELF,
        space: XENMAPSPACE_grant_table,
        idx,
        gpfn,
        ..AddToPhysmap::default()
    };
    world.call_with(n, HYPERVISOR_memory_op, XENMEM_add_to_physmap, &mut argument)
}

fn place_status(world: &World, n: u16, index: u64, gpfn: u64) -> i64 {
    place(world, n, XENMAPIDX_grant_table_status | index, gpfn)
}

fn set_version(world: &World, n: u16, version: u32) {
    let mut argument = abi::SetVersion { version };
    let command = abi::GNTTABOP_set_version;
    let result = world.call_with(n, HYPERVISOR_grant_table_op, command, &mut argument);
    assert_eq!(result, 0);
}

fn offer(world: &World, n: u16, reference: u32, grantee: u16, frame: u64) {
    let entry = abi::EntryV1 {
        flags: abi::GTF_permit_access,
        domid: grantee,
        frame: u32::try_from(frame).unwrap(),
    };
    world.put(n, (TABLE << 12) + u64::from(reference) * 8, &entry);
}

/// The flags of a version 1 entry.
fn flags(world: &World, n: u16, reference: u32) -> u16 {
    world.get(n, (TABLE << 12) + u64::from(reference) * 8)
}

fn map(world: &World, n: u16, granter: u16, reference: u32, at: u64, flags: u32) -> Result<u32, i16> {
    let mut argument = abi::MapGrantRef {
        host_addr: at << 12,
        flags: abi::MapFlags::HOST_MAP.bits() | flags,
        reference,
        dom: granter,
        ..Default::default()
    };
    let command = abi::GNTTABOP_map_grant_ref;
    let result = world.call_with(n, HYPERVISOR_grant_table_op, command, &mut argument);
    assert_eq!(result, 0);
    match argument.status {
        OKAY => Ok(argument.handle),
        status => Err(status),
    }
}

fn unmap(world: &World, n: u16, handle: u32, at: u64) -> i16 {
    let mut argument = abi::UnmapGrantRef {
        host_addr: at << 12,
        handle,
        ..Default::default()
    };
    let command = abi::GNTTABOP_unmap_grant_ref;
    let result = world.call_with(n, HYPERVISOR_grant_table_op, command, &mut argument);
    assert_eq!(result, 0);
    argument.status
}

/// Copies from a grant to a frame of the caller's.
fn copy_from(world: &World, n: u16, granter: u16, reference: u32, frame: u64, bytes: u16) -> i16 {
    let mut argument = abi::CopyOp {
        source: abi::CopyPointer {
            u: reference.into(),
            domid: granter,
            ..Default::default()
        },
        dest: abi::CopyPointer {
            u: frame,
            domid: DOMID_SELF,
            ..Default::default()
        },
        len: bytes,
        flags: abi::CopyFlags::SOURCE_GREF.bits(),
        ..Default::default()
    };
    let command = abi::GNTTABOP_copy;
    let result = world.call_with(n, HYPERVISOR_grant_table_op, command, &mut argument);
    assert_eq!(result, 0);
    argument.status
}

fn mfn(domain: &Domain, at: u64) -> Option<Mfn> {
    let leaf = domain.memory.stage().lock().translate(Gfn::new(at))?;
    Some(leaf.target.mfn)
}

/// The uses of a frame.
fn usage(world: &World, mfn: Mfn) -> Option<(Owner, u32)> {
    world.hypervisor.frames.usage(mfn)
}

/// A domain gives a frame back.
fn take_away(world: &World, n: u16, frame: u64) {
    world.put(n, ARGUMENTS + 512, &frame);
    let mut argument = Reservation {
        extent_start: GuestHandle64(ARGUMENTS + 512),
        nr_extents: 1,
        domid: DOMID_SELF,
        ..Default::default()
    };
    let command = XENMEM_decrease_reservation;
    let result = world.call_with(n, HYPERVISOR_memory_op, command, &mut argument);
    assert_eq!(result, 1);
}

/// A frame of a domain loses its place: it is nobody's then, and counts on.
fn lose(world: &World, n: u16, frame: u64) {
    let mut argument = RemoveFromPhysmap {
        domid: DOMID_SELF,
        gpfn: frame,
        ..Default::default()
    };
    let command = XENMEM_remove_from_physmap;
    let result = world.call_with(n, HYPERVISOR_memory_op, command, &mut argument);
    assert_eq!(result, 0);
}

/// Everything the domains had is back when they end.
fn end(world: &World, domains: &[u16]) {
    domains.iter().for_each(|n| world.destroy(*n));
    assert_eq!(world.hypervisor.frames.free(), world.free_before());
}

fn request(reference: u32, at: u64, access: Access) -> MapRequest {
    MapRequest {
        reference: GrantRef::new(reference),
        at: Some(Gfn::new(at)),
        access,
    }
}

fn map_at(grantee: &Domain, granter: &Domain, request: &MapRequest) -> Option<GrantHandle> {
    let mapped = grantee.change(|leaving| map::map(grantee.party(), granter.party(), request, leaving));
    mapped.ok()
}

/// Whether it was unmapped.
fn unmap_at(grantee: &Domain, granter: &Domain, handle: GrantHandle, at: u64) -> bool {
    let unmapped = grantee.change(|leaving| map::unmap(grantee.party(), handle, Gfn::new(at), leaving));
    let Ok(mapping) = unmapped else {
        return false;
    };
    map::finish(grantee.party(), handle, &mapping, Some(&granter.grants));
    true
}

/// Domain `n` passes on to `grantee`, in its entry, what `via` has granted to it. Both have version 2.
fn pass_on(world: &World, n: u16, reference: u64, grantee: u16, via: u16, gref: u32) {
    let entry = abi::EntryV2Transitive {
        header: abi::EntryHeader {
            flags: abi::GTF_transitive,
            domid: grantee,
        },
        trans_domid: via,
        padding: 0,
        gref,
    };
    world.put(n, (TABLE << 12) + reference * 16, &entry);
}

fn offer_wide(world: &World, n: u16, reference: u64, grantee: u16, frame: u64) {
    let entry = abi::EntryV2FullPage {
        header: abi::EntryHeader {
            flags: abi::GTF_permit_access,
            domid: grantee,
        },
        padding: 0,
        frame,
    };
    world.put(n, (TABLE << 12) + reference * 16, &entry);
}

fn nothing_is_pinned(world: &World, domains: &[u16]) {
    for n in domains {
        let domain = world.domain(*n);
        let grants = domain.grants.lock();
        assert!((0..256).all(|reference| !grants.is_pinned(GrantRef::new(reference))));
    }
}
