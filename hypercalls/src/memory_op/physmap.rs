//! What is behind a guest frame: the shared info page, frames of the grant table, frames of the guest's own.

use xenvisor_abi::memory as abi;
use xenvisor_core::domain::Domain;
use xenvisor_core::grant::table::TableFrame;
use xenvisor_core::machine::{Call, Width};
use xenvisor_core::number::Gfn;
use xenvisor_core::policy::Act;

use super::again;
use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::low;

/// Frames moved in one slice.
const SLICE: u64 = 64;
/// An index into the grant table with this bit is one of status frames.
const STATUS: u32 = 1 << 31;

/// What is to be put where.
struct Wanted {
    domain: u16,
    size: u16,
    space: u32,
    index: u64,
    at: u64,
}

fn decode(cx: &Context<'_>, at: u64) -> Result<Wanted, Errno> {
    Ok(match cx.width {
        Width::Bits64 => {
            let from: abi::AddToPhysmap = cx.read(at)?;
            Wanted {
                domain: from.domid,
                size: from.size,
                space: from.space,
                index: from.idx,
                at: from.gpfn,
            }
        }
        Width::Bits32 => {
            let from: abi::compat::AddToPhysmap = cx.read(at)?;
            let (index, at) = (u64::from(from.idx), u64::from(from.gpfn));
            Wanted {
                domain: from.domid,
                size: from.size,
                space: from.space,
                index,
                at,
            }
        }
    })
}

/// Puts a frame behind a guest frame. RAM that was there is given back, a page of the hypervisor merely unhooked.
///
/// `INVALID` for a frame there is not, `NO_CALL` for another domain's, `NOT_PERMITTED` where a device is.
pub(super) fn add(cx: &Context<'_>, call: &Call, at: u64, done: u64) -> Served {
    let wanted = decode(cx, at)?;
    let target = cx.domain(wanted.domain)?;
    cx.authorise_control(target.id, Act::Memory, "to change what is behind a guest frame")?;
    if wanted.space != abi::XENMAPSPACE_gmfn_range {
        return one(&target, wanted.space, wanted.index, wanted.at);
    }
    let end = u64::from(wanted.size);
    let slice = end.min(done.saturating_add(SLICE));
    for n in done..slice {
        let index = wanted.index.checked_add(n).ok_or(Errno::INVALID)?;
        let at = wanted.at.checked_add(n).ok_or(Errno::INVALID)?;
        one(&target, abi::XENMAPSPACE_gmfn, index, at)?;
    }
    Ok(if slice < end {
        again(call, slice)
    } else {
        Answer::OK
    })
}

fn one(target: &Domain, space: u32, index: u64, at: u64) -> Served {
    let at = Gfn::new(at);
    target.change(|leaving| match space {
        abi::XENMAPSPACE_shared_info if index == 0 => {
            Ok(target.memory.place(target.shared_info.mfn(), at, leaving)?)
        }
        abi::XENMAPSPACE_grant_table => {
            let number = low(index);
            let which = if number & STATUS == 0 {
                TableFrame::Shared(number)
            } else {
                TableFrame::Status(number & !STATUS)
            };
            Ok(target.grants.lock().show(which, at, &target.memory, leaving)?)
        }
        abi::XENMAPSPACE_gmfn => Ok(target.memory.relocate(Gfn::new(index), at, leaving)?),
        abi::XENMAPSPACE_gmfn_foreign => Err(Errno::NO_CALL),
        _ => Err(Errno::INVALID),
    })?;
    Ok(Answer::OK)
}

/// Takes away what is behind a guest frame. `NO_ENTRY` where nothing is.
pub(super) fn remove(cx: &Context<'_>, at: u64) -> Served {
    let (domain, at) = match cx.width {
        Width::Bits64 => {
            let from: abi::RemoveFromPhysmap = cx.read(at)?;
            (from.domid, from.gpfn)
        }
        Width::Bits32 => {
            let from: abi::compat::RemoveFromPhysmap = cx.read(at)?;
            (from.domid, u64::from(from.gpfn))
        }
    };
    let target = cx.domain(domain)?;
    cx.authorise_control(
        target.id,
        Act::Memory,
        "to take away what is behind a guest frame",
    )?;
    target.change(|leaving| target.memory.remove(Gfn::new(at), leaving))?;
    Ok(Answer::OK)
}
