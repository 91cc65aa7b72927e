//! Extents: runs of frames that a guest gets or gives back.
//!
//! Each row returns how many extents are done; a call that was stopped can be made again for the rest. A long one is
//! cut into slices.

use xenvisor_abi::memory as abi;
use xenvisor_core::domain::Domain;
use xenvisor_core::machine::Call;
use xenvisor_core::memory::leaving::Leaving;
use xenvisor_core::number::{FRAME_SHIFT, Gfn, Order};
use xenvisor_core::policy::{Change, HostManage, MemoryReserve, Verdict};

use super::arguments::Reservation;
use super::{again, progress};
use crate::answer::{Answer, Served};
use crate::context::Context;

/// Largest extent of a guest without devices of its own: 2 MiB (Xen's `memop-max-order`).
pub(super) const LARGEST: Order = Order::LARGE;
/// Frames handled before others get their turn.
const SLICE: u64 = 1024;
/// More extents than that leave no room for the progress beside the command.
const MOST_EXTENTS: u64 = (u32::MAX >> super::PROGRESS_SHIFT) as u64;
/// NUMA nodes that can be named (Xen's `MAX_NUMNODES`).
const NODES: u8 = 64;
/// No node in particular.
const ANY_NODE: u8 = 0xff;

/// What one extent came to.
enum Step {
    Done,
    Stop,
}

/// Counts extents for the domain, without a place: what a translated guest gets from this in Xen.
pub(super) fn increase(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    each(cx, call, at, |domain, _, order, _| {
        if domain.memory.reserve(order.frames()) {
            Step::Done
        } else {
            Step::Stop
        }
    })
}

/// Takes extents away.
pub(super) fn decrease(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    each(cx, call, at, |domain, first, order, leaving| {
        let Some(first) = first(cx) else {
            return Step::Stop;
        };
        for frame in 0..order.frames() {
            let taken = first
                .checked_add(frame)
                .is_some_and(|gfn| domain.memory.take(gfn, leaving).is_ok());
            if !taken {
                return Step::Stop;
            }
        }
        Step::Done
    })
}

/// Puts fresh memory behind extents.
pub(super) fn populate(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    each(cx, call, at, |domain, first, order, leaving| {
        let first = first(cx);
        let done = first.is_some_and(|first| domain.memory.populate(first, order, leaving).is_ok());
        if done { Step::Done } else { Step::Stop }
    })
}

/// Serves extents one by one: `serve` gets the domain, how to read where the extent is, its size, and where frames go.
fn each(
    cx: &Context<'_>,
    call: &Call,
    at: u64,
    serve: impl Fn(&Domain, &dyn Fn(&Context<'_>) -> Option<Gfn>, Order, &mut Leaving<'_>) -> Step,
) -> Served {
    let start = progress(call);
    let nothing = Ok(Answer::Done(start));
    let Ok(reservation) = Reservation::read(cx, at) else {
        return nothing;
    };
    if reservation.count > MOST_EXTENTS || start >= reservation.count {
        return nothing;
    }
    let Ok(target) = cx.domain(reservation.domain) else {
        return nothing;
    };
    let change = match crate::table::command(call) & super::COMMAND {
        abi::XENMEM_increase_reservation => Change::Increase,
        abi::XENMEM_decrease_reservation => Change::Decrease,
        _ => Change::Populate,
    };
    if !is_possible(cx, reservation.flags, change) {
        return nothing;
    }
    let request = MemoryReserve {
        caller: cx.caller.id,
        target: target.id,
        change,
        extents: reservation.count,
        order: reservation.order,
    };
    if cx.authorise(request).is_err() {
        return nothing;
    }
    let order = u8::try_from(reservation.order).ok().and_then(Order::new);
    let Some(order) = order.filter(|order| *order <= LARGEST) else {
        return nothing;
    };
    let populate_on_demand = abi::MemoryFlags::POPULATE_ON_DEMAND.bits();
    if reservation.flags & populate_on_demand != 0 && change == Change::Populate {
        // It would be for a builder; a guest may not do it to itself.
        return nothing;
    }
    let slice = (SLICE >> order.raw()).max(1);
    let end = reservation.count.min(start.saturating_add(slice));
    let done = target.change(|leaving| {
        let stopped = (start..end).find(|extent| {
            let first = |cx: &Context<'_>| reservation.extents.get(cx, *extent).ok().map(Gfn::new);
            matches!(serve(&target, &first, order, leaving), Step::Stop)
        });
        stopped.unwrap_or(end)
    });
    if done == end && end < reservation.count {
        return Ok(again(call, done));
    }
    Ok(Answer::Done(done))
}

/// Whether memory as the flags want it could exist. A guest cannot see how wide its machine addresses are, so that
/// nothing more is made of it than that.
fn is_possible(cx: &Context<'_>, flags: u32, change: Change) -> bool {
    let [bits, ..] = flags.to_le_bytes();
    let below = u32::from(bits)
        .checked_sub(FRAME_SHIFT)
        .filter(|width| *width > 0)
        .map(|width| 1_u64.checked_shl(width).unwrap_or(u64::MAX));
    let exists = match below {
        _ if bits == 0 => true,
        None => false,
        Some(end) => change == Change::Decrease || cx.hypervisor.frames.start().raw() < end,
    };
    let virtual_node = flags & abi::MemoryFlags::VNODE.bits() != 0;
    exists && (virtual_node || may_name_node(cx, flags))
}

/// Whether the caller may want memory of the node it names. Who manages the host may name any that can be; what others
/// say is ignored, unless they insist: there is no node that a guest may insist on (XSA-231).
pub(super) fn may_name_node(cx: &Context<'_>, flags: u32) -> bool {
    let [_, node, ..] = flags.to_le_bytes();
    let node = node.wrapping_sub(1);
    if node == ANY_NODE {
        return true;
    }
    let request = HostManage { caller: cx.caller.id };
    if cx.hypervisor.policy.host_manage(&request) == Verdict::Allow {
        return node < NODES;
    }
    flags & abi::MemoryFlags::EXACT_NODE_REQUEST.bits() == 0
}
