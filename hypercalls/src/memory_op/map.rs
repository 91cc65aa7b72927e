//! The memory map as firmware would report it: e820 entries of 20 bytes without padding.

use xenvisor_core::domain::settings::MapEntry;
use xenvisor_core::machine::Call;
use xenvisor_core::memory::room;
use xenvisor_core::policy::MemoryMapSet;

use super::arguments::Map;
use super::progress;
use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;

/// Most entries of a map (Xen's `E820MAX`).
const MOST: u32 = 1024;
/// Bytes of an entry.
const ENTRY: usize = 20;

/// Gives the caller its own map. `NO_CALL` if it has none.
pub(super) fn get(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    if progress(call) != 0 {
        return Err(Errno::NO_CALL);
    }
    let argument = Map::read(cx, at)?;
    let count_reply = cx.reserve::<u32>(at)?;
    let mut index: u32 = 0;
    // Guest memory is never touched with the lock held: entry by entry.
    loop {
        let (entry, length) = {
            let settings = cx.caller.settings.lock();
            let map = &settings.memory_map;
            let entry = usize::try_from(index)
                .ok()
                .and_then(|index| map.get(index).copied());
            (entry, map.len())
        };
        if length == 0 {
            return Err(Errno::NO_CALL);
        }
        match entry.filter(|_| index < argument.count) {
            None => break,
            Some(entry) => cx.write_bytes(place(argument.buffer, index)?, &pack(entry))?,
        }
        index = index.saturating_add(1);
    }
    count_reply.send(&index);
    Ok(Answer::OK)
}

/// Gives a domain another map: by default, only itself may.
pub(super) fn set(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    if progress(call) != 0 {
        return Err(Errno::NO_CALL);
    }
    let (domain, argument) = Map::read_foreign(cx, at)?;
    if argument.count > MOST {
        return Err(Errno::INVALID);
    }
    let target = cx.domain(domain)?;
    cx.authorise(MemoryMapSet {
        caller: cx.caller.id,
        target: target.id,
        entries: argument.count,
    })?;
    let count = usize::try_from(argument.count).map_err(|_| Errno::INVALID)?;
    let mut map = room::vec(count).map_err(|_| Errno::NO_MEMORY)?;
    for index in 0..argument.count {
        let mut bytes = [0; ENTRY];
        cx.read_bytes(place(argument.buffer, index)?, &mut bytes)?;
        map.push(unpack(bytes));
    }
    let old = core::mem::replace(&mut target.settings.lock().memory_map, map);
    drop(old);
    Ok(Answer::OK)
}

fn place(buffer: u64, index: u32) -> Result<u64, Errno> {
    buffer
        .checked_add(u64::from(index).saturating_mul(ENTRY as u64))
        .ok_or(Errno::FAULT)
}

fn pack(entry: MapEntry) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    let (start, rest) = bytes.split_at_mut(8);
    let (length, kind) = rest.split_at_mut(8);
    start.copy_from_slice(&entry.start.to_le_bytes());
    length.copy_from_slice(&entry.bytes.to_le_bytes());
    kind.copy_from_slice(&entry.kind.to_le_bytes());
    bytes
}

fn unpack(bytes: [u8; ENTRY]) -> MapEntry {
    let [
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        s7,
        b0,
        b1,
        b2,
        b3,
        b4,
        b5,
        b6,
        b7,
        k0,
        k1,
        k2,
        k3,
    ] = bytes;
    MapEntry {
        start: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        bytes: u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
        kind: u32::from_le_bytes([k0, k1, k2, k3]),
    }
}
