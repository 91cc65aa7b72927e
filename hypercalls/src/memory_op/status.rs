//! How much memory a domain has, and where it is told that it is.

use xenvisor_abi::memory as abi;
use xenvisor_core::machine::Width;
use xenvisor_core::policy::Act;

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;

/// Bytes of one line of the map: start and length in 64 bits, kind in 32, without padding.
const LINE: usize = 20;

/// The domain that a `domid_t` at `at` names, if the policy lets the caller ask.
fn asked(cx: &Context<'_>, at: u64) -> Result<alloc::sync::Arc<xenvisor_core::domain::Domain>, Errno> {
    let target = cx.domain(cx.read::<u16>(at)?)?;
    cx.authorise_control(
        target.id,
        Act::MemoryStatus,
        "to ask how much memory a domain has",
    )?;
    Ok(target)
}

/// How many frames the domain has.
pub(super) fn current_reservation(cx: &Context<'_>, at: u64) -> Served {
    Ok(Answer::Done(asked(cx, at)?.memory.account().used))
}

/// How many frames it may have.
pub(super) fn maximum_reservation(cx: &Context<'_>, at: u64) -> Served {
    Ok(Answer::Done(asked(cx, at)?.memory.account().limit))
}

/// The highest guest frame that was ever mapped.
pub(super) fn maximum_gpfn(cx: &Context<'_>, at: u64) -> Served {
    Ok(Answer::Done(asked(cx, at)?.memory.highest().raw()))
}

/// The memory map as the domain's builder set it: as many lines as there is room for.
pub(super) fn memory_map(cx: &Context<'_>, at: u64) -> Served {
    let (room, buffer) = match cx.width {
        Width::Bits64 => {
            let argument: abi::MemoryMap = cx.read(at)?;
            (argument.nr_entries, argument.buffer.0)
        }
        Width::Bits32 => {
            let argument: abi::compat::MemoryMap = cx.read(at)?;
            (argument.nr_entries, u64::from(argument.buffer.0))
        }
    };
    let map = cx.caller.settings.lock().memory_map.clone();
    if map.is_empty() {
        return Err(Errno::NO_CALL);
    }
    // The number is the first field in both layouts.
    let number = cx.reserve::<u32>(at)?;
    let mut written: u32 = 0;
    for (entry, place) in map.iter().zip(0..u64::from(room)) {
        let mut line = [0; LINE];
        let fields = entry
            .start
            .to_le_bytes()
            .into_iter()
            .chain(entry.bytes.to_le_bytes());
        line.iter_mut()
            .zip(fields.chain(entry.kind.to_le_bytes()))
            .for_each(|(to, from)| *to = from);
        let offset = place.saturating_mul(LINE as u64);
        cx.write_bytes(buffer.checked_add(offset).ok_or(Errno::FAULT)?, &line)?;
        written = written.saturating_add(1);
    }
    number.send(&written);
    Ok(Answer::OK)
}
