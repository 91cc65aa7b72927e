//! Grants: copies, and mappings of what the other domain offers.

use core::hint::black_box;
use core::sync::atomic::Ordering;

use xenvisor_abi::grant_table::{
    CopyFlags, CopyOp, CopyPointer, GNTTABOP_copy, GNTTABOP_map_grant_ref, GNTTABOP_unmap_grant_ref,
    MapFlags, MapGrantRef, UnmapGrantRef,
};
use xenvisor_abi::memory::{AddToPhysmap, XENMAPSPACE_grant_table, XENMEM_add_to_physmap};
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op, HYPERVISOR_memory_op};
use xenvisor_guests::hypercall::{call, checked};

use crate::clock::Clock;
use crate::other::Link;
use crate::pages::Pages;

/// How many pages are offered, under references from the first that no toolstack reserves.
pub(crate) const OFFERS: usize = 16;
const FIRST: u32 = 8;
const PAGE: u16 = 4096;
/// `GTF_permit_access`.
const PERMIT: u64 = 1;

static TABLE: Pages<1> = Pages::new();
static HERE: Pages<OFFERS> = Pages::new();
static THERE: Pages<OFFERS> = Pages::new();

/// Offers pages to a domain.
pub(crate) fn offer_pages(pages: &Pages<OFFERS>, to: u16) {
    let mut argument = AddToPhysmap {
        domid: DOMID_SELF,
        space: XENMAPSPACE_grant_table,
        gpfn: TABLE.frame(0),
        ..AddToPhysmap::default()
    };
    if let Err(error) = checked(HYPERVISOR_memory_op, XENMEM_add_to_physmap, &mut argument) {
        panic!("no grant table: {error}");
    }
    for n in 0..OFFERS {
        // Version 1: flags, domain, frame.
        let entry = PERMIT | u64::from(to) << 16 | pages.frame(n) << 32;
        TABLE.word(0, FIRST as usize + n).store(entry, Ordering::Release);
    }
}

fn reference(n: usize) -> u32 {
    FIRST + n as u32
}

fn own(n: usize, pages: &Pages<OFFERS>) -> CopyPointer {
    CopyPointer {
        u: pages.frame(n),
        domid: DOMID_SELF,
        ..CopyPointer::default()
    }
}

fn of(peer: u16, n: usize, offset: u16) -> CopyPointer {
    CopyPointer {
        u: reference(n).into(),
        domid: peer,
        offset,
        ..CopyPointer::default()
    }
}

/// Makes calls with one operation or several, which must all go well.
fn operate<T>(command: u32, operations: &mut [T], status: impl Fn(&T) -> i16) {
    let at = operations.as_mut_ptr().expose_provenance() as u64;
    let arguments = [command.into(), at, operations.len() as u64, 0, 0];
    let result = call(HYPERVISOR_grant_table_op, arguments);
    let first = operations.first().map_or(0, &status);
    let last = operations.last().map_or(0, &status);
    if (result, first, last) != (0, 0, 0) {
        panic!("grant table operation {command}: {result}, {first}, {last}");
    }
}

fn copies(source: impl Fn(usize) -> CopyPointer, flags: CopyFlags, length: u16) -> [CopyOp; OFFERS] {
    core::array::from_fn(|n| CopyOp {
        source: source(n),
        dest: own(n, &HERE),
        len: length,
        flags: flags.bits(),
        ..CopyOp::default()
    })
}

fn count_copies(clock: &mut Clock<'_>, names: [&str; 4], operations: impl Fn(u16) -> [CopyOp; OFFERS]) {
    for (name, (length, count)) in names
        .into_iter()
        .zip([(64, 1), (PAGE, 1), (64, OFFERS), (PAGE, OFFERS)])
    {
        let mut operations = operations(length);
        clock.count_many(name, if count == 1 { 50 } else { 10 }, |_| {
            operate(GNTTABOP_copy, &mut operations[..count], |operation| {
                operation.status
            });
        });
    }
}

/// Copies from this domain to itself.
pub(crate) fn within(clock: &mut Clock<'_>) {
    let names = [
        "copy-own-64",
        "copy-own-4096",
        "copy-own-64-x16",
        "copy-own-4096-x16",
    ];
    count_copies(clock, names, |length| {
        copies(|n| own(n, &THERE), CopyFlags::empty(), length)
    });
}

/// Copies from the other domain, and mappings of its pages.
pub(crate) fn with(clock: &mut Clock<'_>, link: &Link) {
    let peer = link.peer();
    let names = [
        "copy-peer-64",
        "copy-peer-4096",
        "copy-peer-64-x16",
        "copy-peer-4096-x16",
    ];
    count_copies(clock, names, |length| {
        copies(|n| of(peer, n, 0), CopyFlags::SOURCE_GREF, length)
    });
    for (name, count) in [("map-unmap", 1), ("map-unmap-x16", OFFERS)] {
        clock.count_many(name, 10, |_| cycle(peer, count, || ()));
    }
    clock.count_many("map-touch-unmap", 10, |_| {
        cycle(peer, 1, || {
            black_box(THERE.word(0, 0).load(Ordering::Relaxed));
        });
    });
}

/// Maps pages, and unmaps them.
fn cycle(peer: u16, count: usize, between: impl Fn()) {
    let mut maps: [MapGrantRef; OFFERS] = core::array::from_fn(|n| MapGrantRef {
        host_addr: THERE.address(n),
        flags: MapFlags::HOST_MAP.bits(),
        reference: reference(n),
        dom: peer,
        ..MapGrantRef::default()
    });
    operate(GNTTABOP_map_grant_ref, &mut maps[..count], |map| map.status);
    between();
    let mut unmaps: [UnmapGrantRef; OFFERS] = core::array::from_fn(|n| UnmapGrantRef {
        host_addr: THERE.address(n),
        handle: maps[n].handle,
        ..UnmapGrantRef::default()
    });
    operate(GNTTABOP_unmap_grant_ref, &mut unmaps[..count], |unmap| {
        unmap.status
    });
}

/// Writes a word into the n-th page that the other domain offers.
pub(crate) fn write_offered(peer: u16, n: usize, offset: usize, value: u64) {
    HERE.word(0, 0).store(value, Ordering::Release);
    let mut operation = [CopyOp {
        source: own(0, &HERE),
        dest: of(peer, n, offset as u16),
        len: 8,
        flags: CopyFlags::DEST_GREF.bits(),
        ..CopyOp::default()
    }];
    operate(GNTTABOP_copy, &mut operation, |operation| operation.status);
}
