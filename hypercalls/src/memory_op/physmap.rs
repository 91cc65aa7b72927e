//! Placing frames at guest frames of the caller's choice, and taking them away.

use alloc::sync::Arc;

use xenvisor_abi::memory as abi;
use xenvisor_core::domain::Domain;
use xenvisor_core::grant::table::TableFrame;
use xenvisor_core::machine::Call;
use xenvisor_core::memory::domain_memory::TakeError;
use xenvisor_core::number::Gfn;
use xenvisor_core::policy::{PhysmapAdd, PhysmapForeign, PhysmapRemove};

use super::arguments::{self, AddToPhysmap, AddToPhysmapBatch};
use super::{again, progress};
use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::low;

/// Xen's `INVALID_GFN`: it ends a batch, without an outcome of its own.
const NO_FRAME: u64 = u64::MAX;
/// Frames placed before others get their turn.
const SLICE: u16 = 64;

/// Places one frame, or moves a range of the domain's own.
pub(super) fn add(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    let start = u16::try_from(progress(call)).map_err(|_| Errno::DOMAIN)?;
    let argument = AddToPhysmap::read(cx, at)?;
    if argument.space == abi::XENMAPSPACE_gmfn_foreign {
        return Err(Errno::NO_CALL);
    }
    let target = target(cx, argument.domain, argument.space)?;
    if argument.space != abi::XENMAPSPACE_gmfn_range {
        place(&target, argument.space, argument.index, Gfn::new(argument.frame))?;
        return Ok(Answer::OK);
    }
    if argument.size < start {
        return Err(Errno::SEQUENCE);
    }
    let end = argument.size.min(start.saturating_add(SLICE));
    for frame in (start..end).map(u64::from) {
        let from = argument.index.checked_add(frame).ok_or(Errno::INVALID)?;
        let to = argument.frame.checked_add(frame).ok_or(Errno::INVALID)?;
        place(&target, abi::XENMAPSPACE_gmfn, from, Gfn::new(to))?;
    }
    if end < argument.size {
        return Ok(again(call, end.into()));
    }
    Ok(Answer::OK)
}

/// Whose memory changes. `ACCESS` where devices' memory would be placed, which only the domain that drives the host may
/// have.
fn target(cx: &Context<'_>, domain: u16, space: u32) -> Result<Arc<Domain>, Errno> {
    let target = cx.domain(domain)?;
    if space == abi::XENMAPSPACE_dev_mmio {
        return Err(Errno::ACCESS);
    }
    cx.authorise(PhysmapAdd {
        caller: cx.caller.id,
        target: target.id,
    })?;
    Ok(target)
}

/// Places many frames, each with an outcome of its own.
pub(super) fn add_batch(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    let start = u16::try_from(progress(call)).map_err(|_| Errno::DOMAIN)?;
    let argument = AddToPhysmapBatch::read(cx, at)?;
    let space = u32::from(argument.space);
    if space == abi::XENMAPSPACE_gmfn_range {
        return Err(Errno::NOT_SUPPORTED);
    }
    let target = target(cx, argument.domain, space)?;
    // A call that goes on has something left to do.
    if argument.size < start || argument.size == start && start != 0 {
        return Err(Errno::SEQUENCE);
    }
    let end = argument.size.min(start.saturating_add(SLICE));
    let foreign =
        (space == abi::XENMAPSPACE_gmfn_foreign).then(|| refuse_foreign(cx, &target, argument.foreign));
    for element in (start..end).map(u64::from) {
        let index = argument.indices.get(cx, element)?;
        let frame = argument.frames.get(cx, element)?;
        if frame == NO_FRAME {
            return Err(Errno::INVALID);
        }
        let outcome_at = argument.errors.checked_add(element.saturating_mul(4));
        let outcome = cx.reserve::<i32>(outcome_at.ok_or(Errno::FAULT)?)?;
        let placed = match foreign {
            Some(refusal) => Err(refusal),
            None => place(&target, space, index, Gfn::new(frame)),
        };
        outcome.send(&placed.map_or_else(|errno| errno.raw().wrapping_neg(), |()| 0));
    }
    if end < argument.size {
        return Ok(again(call, end.into()));
    }
    Ok(Answer::OK)
}

/// Why no frame of another domain is placed: the policy does not allow it, or else there is no such mapping here (yet).
fn refuse_foreign(cx: &Context<'_>, target: &Domain, owner: u16) -> Errno {
    let request = PhysmapForeign {
        caller: cx.caller.id,
        target: target.id,
        owner: cx.domain_id(owner),
    };
    cx.authorise(request)
        .map_or_else(Errno::from, |()| Errno::NOT_SUPPORTED)
}

/// Puts what a space holds at an index behind a guest frame.
fn place(target: &Arc<Domain>, space: u32, index: u64, at: Gfn) -> Result<(), Errno> {
    target.change(|leaving| match space {
        abi::XENMAPSPACE_shared_info if index == 0 => {
            let frame = target.shared_info.mfn();
            Ok(target.memory.place(frame, at, leaving)?)
        }
        abi::XENMAPSPACE_grant_table => {
            let mut table = target.grants.lock();
            Ok(table.show(table_frame(index), at, &target.memory, leaving)?)
        }
        abi::XENMAPSPACE_gmfn => Ok(target.memory.relocate(Gfn::new(index), at, leaving)?),
        _ => Err(Errno::INVALID),
    })
}

/// Xen keeps the low 32 bits of an index here.
fn table_frame(index: u64) -> TableFrame {
    let index = u64::from(low(index));
    let of_status = index & !abi::XENMAPIDX_grant_table_status;
    if of_status == index {
        TableFrame::Shared(low(index))
    } else {
        TableFrame::Status(low(of_status))
    }
}

/// Takes one frame away. `NO_ENTRY` if there is none, or it is a grant, which its receipt alone gives up.
pub(super) fn remove(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    if progress(call) != 0 {
        return Err(Errno::INVALID);
    }
    let (domain, frame) = arguments::remove_from_physmap(cx, at)?;
    let target = cx.domain(domain)?;
    let at = Gfn::new(frame);
    cx.authorise(PhysmapRemove {
        caller: cx.caller.id,
        target: target.id,
        at,
    })?;
    let removed = target.change(|leaving| target.memory.remove(at, leaving));
    removed.map_err(|error| match error {
        TakeError::NotMapped(_) | TakeError::NotOwn(_) | TakeError::Device(_) => Errno::NO_ENTRY,
        TakeError::Map(error) => error.into(),
    })?;
    Ok(Answer::OK)
}
