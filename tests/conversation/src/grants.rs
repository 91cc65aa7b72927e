//! Talks about grant tables: a domain alone, which offers its frames to itself and to nobody.

use core::fmt;

use xenvisor_abi::GuestHandle64;
use xenvisor_abi::describe::Described;
use xenvisor_abi::grant_table::*;
use xenvisor_abi::memory::{AddToPhysmap, XENMAPSPACE_grant_table, XENMEM_add_to_physmap};
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op, HYPERVISOR_memory_op};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::talk::Talk;

/// The first entries are the toolstack's.
const FIRST: u32 = 8;
const ENTRIES: u32 = 12;
/// Pages of talks: the table, the list for frames, frames to offer, and places for mappings.
const TABLE: u64 = 4;
const STATUS: u64 = 5;
const LIST: u64 = 6;
const OFFERED: u64 = 8;
const PLACES: u64 = 16;
const NOBODY: u16 = 0x100;
/// The domain's own number, which a first guest has.
const OWN: u16 = 1;

const DOMAINS: [u16; 8] = [DOMID_SELF, DOMID_SELF, OWN, OWN, OWN, NOBODY, 0x7ff4, 0xffff];
const FLAGS: [u16; 12] = [0, 1, 1, 1, 5, 5, 2, 3, 0x101, 0x105, 0x21, 9];
const LENGTHS: [u16; 8] = [0, 1, 8, 64, 4095, 4096, 4097, 0xffff];
const OFFSETS: [u16; 6] = [0, 0, 8, 4088, 4096, 0xffff];

struct State {
    version: u32,
    handles: [Option<(u32, u64)>; 8],
}

pub(crate) fn hold(talk: &mut Talk<'_>, calls: u32) -> fmt::Result {
    for (index, page) in [(0, TABLE), (1 << 31, STATUS), (64, STATUS), (1 << 20, STATUS)] {
        let mut argument = AddToPhysmap {
            domid: DOMID_SELF,
            space: XENMAPSPACE_grant_table,
            idx: index,
            gpfn: Talk::page(page) >> 12,
            ..AddToPhysmap::default()
        };
        talk.ask(
            "grant_table",
            HYPERVISOR_memory_op,
            XENMEM_add_to_physmap.into(),
            &mut argument,
        )?;
    }
    for page in OFFERED..OFFERED + 8 {
        for at in (0..4096).step_by(8) {
            talk.put(Talk::page(page) + at, &(page << 32 | at));
        }
    }
    let mut state = State {
        version: 1,
        handles: [None; 8],
    };
    for _ in 0..calls {
        let (before, held) = (entries(talk), contents(talk));
        turn(talk, &mut state)?;
        let (after, holds) = (entries(talk), contents(talk));
        for (page, (before, after)) in (OFFERED..).zip(held.iter().zip(&holds)) {
            if before != after {
                talk.remark(format_args!("page {page} holds {after:x}"))?;
            }
        }
        for (number, (before, after)) in before.iter().zip(&after).enumerate() {
            if before != after {
                talk.remark(format_args!("word {number}: {after:x}"))?;
            }
        }
        if talk.chance.once_in(3) {
            offer(talk, &state)?;
        }
    }
    Ok(())
}

/// The flags of all entries that talks use.
fn entries(talk: &mut Talk<'_>) -> [u64; ENTRIES as usize * 2] {
    talk.get(Talk::page(TABLE) + u64::from(FIRST) * 8)
}

fn reference(talk: &mut Talk<'_>) -> u32 {
    if talk.chance.once_in(10) {
        talk.chance.of(&[511, 512, 2047, 32_767, 1 << 20, u32::MAX])
    } else {
        FIRST + talk.chance.below(ENTRIES)
    }
}

/// The guest writes an entry.
fn offer(talk: &mut Talk<'_>, state: &State) -> fmt::Result {
    let flags = talk.chance.of(&FLAGS);
    let domid = talk.chance.of(&[OWN, OWN, OWN, NOBODY, DOMID_SELF]);
    let frame = if talk.chance.once_in(8) {
        talk.chance.of(&[0x30_0000, u64::MAX >> 12, 0xfee00])
    } else {
        (Talk::page(OFFERED) >> 12) + u64::from(talk.chance.below(8))
    };
    let entry = FIRST + talk.chance.below(ENTRIES / 2);
    talk.remark(format_args!(
        "the guest: entry {entry} = {flags:x} {domid:x} {frame:x}"
    ))?;
    let header = EntryHeader { flags, domid };
    if state.version == 2 {
        let at = Talk::page(TABLE) + u64::from(entry) * 16;
        if flags & 3 == 3 {
            let value = EntryV2Transitive {
                header,
                trans_domid: domid,
                padding: 0,
                gref: FIRST,
            };
            talk.put(at, &value);
        } else if flags & 0x100 != 0 {
            let value = EntryV2SubPage {
                header,
                page_off: 8,
                length: 64,
                frame,
            };
            talk.put(at, &value);
        } else {
            let value = EntryV2FullPage {
                header,
                padding: 0,
                frame,
            };
            talk.put(at, &value);
        }
    } else {
        let value = EntryV1 {
            flags,
            domid,
            frame: u32::try_from(frame & 0xffff_ffff).unwrap_or(0),
        };
        talk.put(Talk::page(TABLE) + u64::from(entry) * 8, &value);
    }
    Ok(())
}

fn op<T>(talk: &mut Talk<'_>, name: &str, command: u32, argument: &mut T) -> Result<i64, fmt::Error>
where
    T: Described + FromBytes + IntoBytes + Immutable + Copy,
{
    talk.ask(name, HYPERVISOR_grant_table_op, command.into(), argument)
}

fn turn(talk: &mut Talk<'_>, state: &mut State) -> fmt::Result {
    let dom = talk.chance.of(&DOMAINS);
    match talk.chance.below(32) {
        0..7 => map(talk, state, dom),
        7..13 => unmap(talk, state),
        13..21 => copy(talk),
        21 => op(
            talk,
            "query_size",
            GNTTABOP_query_size,
            &mut QuerySize {
                dom,
                ..QuerySize::default()
            },
        )
        .map(drop),
        22 => {
            let list = if talk.chance.once_in(5) {
                0x3000_0000
            } else {
                Talk::page(LIST)
            };
            let mut argument = SetupTable {
                dom,
                nr_frames: talk.chance.of(&[0, 1, 1, 2, 65, u32::MAX]),
                frame_list: GuestHandle64(list),
                ..SetupTable::default()
            };
            op(talk, "setup_table", GNTTABOP_setup_table, &mut argument).map(drop)
        }
        23 | 24 => {
            let version = talk.chance.of(&[1, 1, 2, 2, 0, 3, u32::MAX]);
            let mut argument = SetVersion { version };
            if op(talk, "set_version", GNTTABOP_set_version, &mut argument)? == 0 {
                state.version = argument.version;
            }
            Ok(())
        }
        25 => {
            let mut argument = GetVersion {
                dom,
                ..GetVersion::default()
            };
            op(talk, "get_version", GNTTABOP_get_version, &mut argument).map(drop)
        }
        26 | 27 => {
            let mut argument = SwapGrantRef {
                ref_a: reference(talk),
                ref_b: reference(talk),
                ..SwapGrantRef::default()
            };
            op(talk, "swap_grant_ref", GNTTABOP_swap_grant_ref, &mut argument).map(drop)
        }
        28 => op(
            talk,
            "transfer",
            GNTTABOP_transfer,
            &mut Transfer {
                mfn: Talk::page(OFFERED) >> 12,
                domid: dom,
                reference: FIRST,
                ..Transfer::default()
            },
        )
        .map(drop),
        29 => op(
            talk,
            "unmap_and_replace",
            GNTTABOP_unmap_and_replace,
            &mut UnmapAndReplace::default(),
        )
        .map(drop),
        30 => {
            let command = talk.chance.of(&[3, 9, 12, 13, 99, u32::MAX]);
            talk.ask_raw(
                "grant_table_op",
                HYPERVISOR_grant_table_op,
                [command.into(), Talk::page(LIST), 1, 0, 0],
            )
            .map(drop)
        }
        _ => {
            let command = u64::from(talk.chance.below(13));
            let at = talk
                .chance
                .of(&[0x3000_0000, 0x1_0000_0000, u64::MAX, Talk::page(LIST)]);
            let count = talk.chance.of(&[0, 1, 0x1_0000_0000, u64::MAX]);
            if at == Talk::page(LIST) && count != 0 {
                return Ok(());
            }
            talk.ask_raw(
                "grant_table_op",
                HYPERVISOR_grant_table_op,
                [command, at, count, 0, 0],
            )
            .map(drop)
        }
    }
}

/// Maps what it does not own: of a frame of one's own Xen takes the place it has already.
fn map(talk: &mut Talk<'_>, state: &mut State, dom: u16) -> fmt::Result {
    if dom == OWN || dom == DOMID_SELF {
        return Ok(());
    }
    // A handle's number means nothing to others, and neither does an address for devices.
    let Some(free) = state.handles.iter().position(Option::is_none) else {
        return Ok(());
    };
    // Where a grant is mapped already, Xen ends a domain that maps another.
    let place = PLACES + free as u64;
    let at = if talk.chance.once_in(8) {
        talk.chance
            .of(&[0x3000_0000_u64, 1 << 52, u64::MAX, Talk::page(PLACES + 20) + 8])
    } else {
        Talk::page(place)
    };
    let argument = MapGrantRef {
        host_addr: at,
        flags: talk
            .chance
            .of(&[2, 2, 2, 6, 6, 0, 1, 3, 10, 18, 22, 0x40, u32::MAX]),
        reference: reference(talk),
        dom,
        ..MapGrantRef::default()
    };
    let command = GNTTABOP_map_grant_ref;
    let (status, handle) = talk.ask_hiding(
        "map_grant_ref",
        HYPERVISOR_grant_table_op,
        command.into(),
        &argument,
        |answer| {
            let seen = (answer.status, answer.handle);
            answer.handle = 0;
            answer.dev_bus_addr = 0;
            seen
        },
    )?;
    if status == GNTST_okay
        && argument.flags & 2 != 0
        && let Some(slot) = state.handles.get_mut(free)
    {
        talk.remark(format_args!("handle {free}"))?;
        *slot = Some((handle, at));
    }
    Ok(())
}

fn unmap(talk: &mut Talk<'_>, state: &mut State) -> fmt::Result {
    let which = talk.chance.below(10);
    let slot = usize::try_from(which)
        .ok()
        .and_then(|which| state.handles.get_mut(which));
    let wrong = talk.chance.once_in(6);
    let (handle, at, known) = match slot.as_deref() {
        Some(Some((handle, at))) => (*handle, if wrong { at ^ 0x1000 } else { *at }, true),
        _ => (0xffff_0000 + which, Talk::page(PLACES), false),
    };
    talk.remark(format_args!("handle {which}"))?;
    let argument = UnmapGrantRef {
        host_addr: if talk.chance.once_in(8) { 0 } else { at },
        handle,
        ..UnmapGrantRef::default()
    };
    let shown = argument.host_addr;
    let command = GNTTABOP_unmap_grant_ref;
    let status = talk.ask_hiding(
        "unmap_grant_ref",
        HYPERVISOR_grant_table_op,
        command.into(),
        &argument,
        |answer| {
            answer.handle = 0;
            answer.status
        },
    )?;
    if known
        && status == GNTST_okay
        && shown != 0
        && let Some(slot) = slot
    {
        *slot = None;
    }
    Ok(())
}

fn end(talk: &mut Talk<'_>, by_reference: bool) -> CopyPointer {
    let u = if by_reference {
        reference(talk).into()
    } else if talk.chance.once_in(8) {
        talk.chance.of(&[0x30_0000, u64::MAX >> 12])
    } else {
        (Talk::page(OFFERED) >> 12) + u64::from(talk.chance.below(8))
    };
    CopyPointer {
        u,
        domid: talk.chance.of(&DOMAINS),
        offset: talk.chance.of(&OFFSETS),
        padding: 0,
    }
}

fn copy(talk: &mut Talk<'_>) -> fmt::Result {
    let flags = talk.chance.of(&[0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 0xffff]);
    let mut argument = CopyOp {
        source: end(talk, flags & 1 != 0),
        dest: end(talk, flags & 2 != 0),
        len: talk.chance.of(&LENGTHS),
        flags,
        ..CopyOp::default()
    };
    op(talk, "copy", GNTTABOP_copy, &mut argument)?;
    Ok(())
}

/// What is in each of the frames that are offered, in short.
fn contents(talk: &mut Talk<'_>) -> [u64; 8] {
    let mut sums = [0_u64; 8];
    for (sum, page) in sums.iter_mut().zip(OFFERED..) {
        for at in [0, 8, 16, 64, 4088] {
            let word: u64 = talk.get(Talk::page(page) + at);
            *sum = sum.rotate_left(7) ^ word;
        }
    }
    sums
}
