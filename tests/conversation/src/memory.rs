//! Talks about memory: reservations, the guest's own physical map, and what a guest may not ask for.

use core::fmt;

use xenvisor_abi::GuestHandle64;
use xenvisor_abi::describe::Described;
use xenvisor_abi::memory::*;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_memory_op};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::talk::Talk;

/// Pages of talks that hold lists.
const LIST: u64 = 2;
const OTHER_LIST: u64 = 3;
const ERRORS: u64 = 4;
/// Frames that talks play with: some have memory at first, some have not.
const FULL: u64 = 0x1800;
const EMPTY: u64 = 0x9000;
/// Frames that nobody plays with.
const FAR: u64 = 0xa000;
/// How many frames are left to a talk.
const LEFT: i64 = 200;
const NOBODY: u16 = 0x100;
const NOWHERE: u64 = 0x3000_0000;

const DOMAINS: [u16; 8] = [
    DOMID_SELF, DOMID_SELF, DOMID_SELF, DOMID_SELF, 1, NOBODY, 0x7ff4, 0xffff,
];

pub(crate) fn hold(talk: &mut Talk<'_>, calls: u32) -> fmt::Result {
    // A toolstack's own allowance is not what is talked about: as much is left to everybody.
    for far in FAR..FAR + 0x400 {
        if left(talk) <= LEFT {
            break;
        }
        talk.put(Talk::page(LIST), &far);
        let argument = Reservation {
            extent_start: GuestHandle64(Talk::page(LIST)),
            nr_extents: 1,
            domid: DOMID_SELF,
            ..Reservation::default()
        };
        talk.put(Talk::page(0), &argument);
        let command = XENMEM_populate_physmap.into();
        talk.ask_quietly(HYPERVISOR_memory_op, [command, Talk::page(0), 0, 0, 0]);
    }
    for _ in 0..calls {
        turn(talk)?;
        if talk.chance.once_in(25) {
            sizes(talk)?;
        }
    }
    sizes(talk)
}

/// How many frames the domain may still have.
fn left(talk: &mut Talk<'_>) -> i64 {
    let mut answers = [0; 2];
    for (answer, command) in answers
        .iter_mut()
        .zip([XENMEM_current_reservation, XENMEM_maximum_reservation])
    {
        talk.put(Talk::page(0), &Domain { domid: DOMID_SELF });
        *answer = talk.ask_quietly(HYPERVISOR_memory_op, [command.into(), Talk::page(0), 0, 0, 0]);
    }
    let [current, maximum] = answers;
    maximum - current
}

fn sizes(talk: &mut Talk<'_>) -> fmt::Result {
    let left = left(talk);
    talk.remark(format_args!("{left} frames are left"))
}

fn op<T>(talk: &mut Talk<'_>, name: &str, command: u64, argument: &mut T) -> Result<i64, fmt::Error>
where
    T: Described + FromBytes + IntoBytes + Immutable + Copy,
{
    talk.ask(name, HYPERVISOR_memory_op, command, argument)
}

fn frame(talk: &mut Talk<'_>) -> u64 {
    if talk.chance.once_in(12) {
        return talk
            .chance
            .of(&[0x30_0000, 0xfee00, 1 << 36, (1 << 40) - 1, 1 << 39, u64::MAX]);
    }
    let which = u64::from(talk.chance.below(12));
    if talk.chance.once_in(2) {
        FULL + which
    } else {
        EMPTY + which
    }
}

/// A frame to move something to: one that there could be. A frame that cannot be put where it should go is lost under
/// Xen.
fn place(talk: &mut Talk<'_>) -> u64 {
    loop {
        let frame = frame(talk);
        if frame < 1 << 32 {
            return frame;
        }
    }
}

/// A list of frames, written down.
fn list(talk: &mut Talk<'_>, page: u64) -> Result<u64, fmt::Error> {
    let count = u64::from(talk.chance.below(5));
    for at in 0..count {
        let frame = frame(talk);
        talk.put(Talk::page(page) + at * 8, &frame);
        talk.remark(format_args!("frame {frame:x}"))?;
    }
    Ok(count)
}

fn turn(talk: &mut Talk<'_>) -> fmt::Result {
    let domid = talk.chance.of(&DOMAINS);
    match talk.chance.below(40) {
        kind @ 0..14 => reservation(talk, kind, domid),
        14..20 => {
            let space = talk.chance.of(&[0, 1, 1, 2, 2, 2, 3, 4, 5, 6, u32::MAX]);
            let idx = match space {
                1 => talk.chance.of(&[0, 0, 1, 63, 64, 1 << 31, 1 << 32, u64::MAX]),
                _ => frame(talk),
            };
            // A frame of the grant table that has lost its place is not to be had again: these stay where they are.
            let gpfn = match space {
                1 => EMPTY + 0x800 + (idx & 1),
                _ => place(talk),
            };
            let mut argument = AddToPhysmap {
                domid,
                space,
                size: talk.chance.of(&[0, 1, 2, 3]),
                idx,
                gpfn,
            };
            op(
                talk,
                "add_to_physmap",
                XENMEM_add_to_physmap.into(),
                &mut argument,
            )?;
            // Where it has gone, it comes back from.
            talk.place_shared_info()
        }
        20..25 => {
            let gpfn = frame(talk);
            let mut argument = RemoveFromPhysmap {
                domid,
                gpfn,
                ..RemoveFromPhysmap::default()
            };
            op(
                talk,
                "remove_from_physmap",
                XENMEM_remove_from_physmap.into(),
                &mut argument,
            )
            .map(drop)
        }
        25 | 26 => batch(talk, domid),
        27 => {
            let buffer = talk.chance.of(&[Talk::page(LIST), NOWHERE]);
            let argument = MemoryMap {
                nr_entries: talk.chance.of(&[0, 1, 2, 128]),
                buffer: GuestHandle64(buffer),
                ..MemoryMap::default()
            };
            // How many entries there are is the toolstack's affair.
            let (number, command) = (HYPERVISOR_memory_op, XENMEM_memory_map.into());
            talk.ask_hiding("memory_map", number, command, &argument, |answer| {
                answer.nr_entries = 0
            })
        }
        28 => {
            let mut argument = ForeignMemoryMap {
                domid: talk.chance.of(&[NOBODY, 0x7ff4]),
                ..ForeignMemoryMap::default()
            };
            op(
                talk,
                "set_memory_map",
                XENMEM_set_memory_map.into(),
                &mut argument,
            )
            .map(drop)
        }
        29 => {
            let command = talk.chance.of(&[
                XENMEM_current_reservation,
                XENMEM_maximum_reservation,
                XENMEM_maximum_gpfn,
            ]);
            let name = "reservation of";
            let domid = talk.chance.of(&[NOBODY, 0x7ff4, 0xffff]);
            op(talk, name, command.into(), &mut Domain { domid }).map(drop)
        }
        30 => {
            let mut argument = Exchange::default();
            argument.input.nr_extents = talk.chance.of(&[0, 1, 1 << 40]);
            argument.input.domid = domid;
            argument.input.extent_start = GuestHandle64(Talk::page(LIST));
            argument.output = argument.input;
            argument.output.extent_start = GuestHandle64(Talk::page(OTHER_LIST));
            argument.nr_exchanged = talk.chance.of(&[0, 0, 1, 2]);
            op(talk, "exchange", XENMEM_exchange.into(), &mut argument).map(drop)
        }
        31 => {
            let mut argument = AcquireResource {
                domid,
                kind: talk.chance.of(&[0, 1, 1, 2, 3]),
                id: talk.chance.of(&[0, 1, 2]),
                nr_frames: talk.chance.of(&[0, 1, 2, u32::MAX]),
                padding: talk.chance.of(&[0, 0, 1]),
                frame: talk.chance.of(&[0, 1, u64::MAX]),
                frame_list: GuestHandle64(talk.chance.of(&[0, Talk::page(LIST), NOWHERE])),
            };
            op(
                talk,
                "acquire_resource",
                XENMEM_acquire_resource.into(),
                &mut argument,
            )
            .map(drop)
        }
        32 => {
            let mut argument = VnumaTopologyInfo {
                domid,
                padding: talk.chance.of(&[0, 0, 1]),
                ..VnumaTopologyInfo::default()
            };
            op(talk, "get_vnumainfo", XENMEM_get_vnumainfo.into(), &mut argument).map(drop)
        }
        33 => {
            let mut argument = ReservedDeviceMemoryMap {
                flags: talk.chance.of(&[0, 1, 2]),
                nr_entries: talk.chance.of(&[0, 1]),
                buffer: GuestHandle64(Talk::page(LIST)),
                ..ReservedDeviceMemoryMap::default()
            };
            let command = XENMEM_reserved_device_memory_map.into();
            op(talk, "reserved_device_memory_map", command, &mut argument).map(drop)
        }
        34 => {
            let command = talk.chance.of(&[XENMEM_set_pod_target, XENMEM_get_pod_target]);
            let mut argument = PodTarget {
                domid,
                ..PodTarget::default()
            };
            op(talk, "pod_target", command.into(), &mut argument).map(drop)
        }
        35 => {
            let mut argument = Reservation {
                domid,
                nr_extents: talk.chance.of(&[0, 1]),
                ..Reservation::default()
            };
            op(talk, "claim_pages", XENMEM_claim_pages.into(), &mut argument).map(drop)
        }
        36 | 37 => {
            let command = talk
                .chance
                .of(&[8, 10, 12, 13, 18, 19, 20, 21, 22, 25, 29, 30, 62, 63]);
            let at = talk.chance.of(&[Talk::page(LIST), Talk::page(LIST), NOWHERE]);
            for word in 0..8 {
                talk.put(Talk::page(LIST) + word * 8, &[NOBODY; 4]);
            }
            talk.ask_raw("memory_op", HYPERVISOR_memory_op, [command, at, 0, 0, 0])
                .map(drop)
        }
        _ => {
            let command = talk
                .chance
                .of(&[0, 1, 3, 4, 6, 7, 9, 11, 13, 14, 15, 23, 24, 26, 27, 28]);
            let at = talk
                .chance
                .of(&[NOWHERE, 0x1_0000_0000, 0x8000_0000_0000, u64::MAX]);
            talk.ask_raw("memory_op", HYPERVISOR_memory_op, [command, at, 0, 0, 0])
                .map(drop)
        }
    }
}

fn reservation(talk: &mut Talk<'_>, kind: u32, domid: u16) -> fmt::Result {
    let count = list(talk, LIST)?;
    let order = talk.chance.of(&[0, 0, 0, 0, 0, 0, 1, 9, 10, 18, 64, u32::MAX]);
    let mut argument = Reservation {
        extent_start: GuestHandle64(talk.chance.of(&[
            Talk::page(LIST),
            Talk::page(LIST),
            Talk::page(LIST),
            Talk::page(LIST),
            Talk::page(LIST),
            NOWHERE,
        ])),
        nr_extents: count,
        extent_order: order,
        mem_flags: talk
            .chance
            .of(&[0, 0, 0, 0, 32, 64, 1 << 8, 1 << 16, 1 << 17, 0xff << 8, 1 << 18]),
        domid,
        ..Reservation::default()
    };
    if talk.chance.once_in(20) {
        argument.nr_extents = talk.chance.of(&[1 << 40, u64::MAX]);
        argument.extent_start = GuestHandle64(NOWHERE);
    }
    // Now and then as if it were continued.
    let begun = if talk.chance.once_in(15) {
        u64::from(talk.chance.below(6)) << 6
    } else {
        0
    };
    let (name, command) = match kind {
        0..6 => ("decrease_reservation", XENMEM_decrease_reservation),
        6..13 => ("populate_physmap", XENMEM_populate_physmap),
        _ => ("increase_reservation", XENMEM_increase_reservation),
    };
    if kind == 13 && argument.extent_order < 9 && argument.nr_extents > 0 {
        // Frames without a place are never to be had back: not too many of them.
        argument.nr_extents = 1;
    }
    if begun != 0 {
        talk.remark(format_args!("from extent {}", begun >> 6))?;
    }
    op(talk, name, u64::from(command) | begun, &mut argument).map(drop)
}

fn batch(talk: &mut Talk<'_>, domid: u16) -> fmt::Result {
    let size = list(talk, LIST)?;
    for at in 0..size {
        let frame = place(talk);
        talk.put(Talk::page(OTHER_LIST) + at * 8, &frame);
        talk.put(Talk::page(ERRORS) + at * 4, &0x5a_i32);
        talk.remark(format_args!("to {frame:x}"))?;
    }
    let mut argument = AddToPhysmapBatch {
        domid,
        space: talk.chance.of(&[0, 0, 2, 2, 2, 3, 4, 5]),
        size: u16::try_from(size).unwrap_or(0),
        foreign_domid: talk.chance.of(&[0, 0, 0, NOBODY, DOMID_SELF]),
        idxs: GuestHandle64(Talk::page(LIST)),
        gpfns: GuestHandle64(Talk::page(OTHER_LIST)),
        errs: GuestHandle64(Talk::page(ERRORS)),
    };
    op(
        talk,
        "add_to_physmap_batch",
        XENMEM_add_to_physmap_batch.into(),
        &mut argument,
    )?;
    for at in 0..size {
        let error: i32 = talk.get(Talk::page(ERRORS) + at * 4);
        talk.remark(format_args!("error {error}"))?;
    }
    talk.place_shared_info()
}
