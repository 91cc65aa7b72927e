//! Giving frames for others: what a PV guest does to get memory that a device can reach. A guest whose memory is
//! translated has no use for it, and Xen takes no frame of it (since XSA-217, frames of such a guest are not stolen).
//!
//! So the call looks at its argument, finds the first frame that would go, and says why it does not. How many frames
//! have gone is answered all the same: none since the call began.

use xenvisor_abi::memory as abi;
use xenvisor_core::machine::Call;
use xenvisor_core::number::{Gfn, Order};
use xenvisor_core::policy::{Change, MemoryReserve};

use super::{progress, reservation};
use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::shape::field_at;

/// `INVALID` for a call that says it goes on; `FAULT`; `NOT_PERMITTED` for extents that are too large; `INVALID` for
/// lists that do not fit each other; `NO_DOMAIN`, `NOT_PERMITTED`; and then what is wrong with the first frame:
/// `FAULT`, `INVALID` for none, `NOT_SUPPORTED` for any.
pub(super) fn exchange(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    if progress(call) != 0 {
        return Err(Errno::INVALID);
    }
    let argument: abi::Exchange = cx.read_shaped(at)?;
    let field = at.checked_add(field_at!(cx.width, abi::Exchange, nr_exchanged));
    let exchanged = cx.words(field.ok_or(Errno::FAULT)?).reserve(cx, 0)?;
    let (done, outcome) = attempt(cx, &argument);
    exchanged.send(done);
    outcome.map(|()| Answer::OK)
}

/// How many frames of the first list have gone in the end, and why no more.
fn attempt(cx: &Context<'_>, argument: &abi::Exchange) -> (u64, Result<(), Errno>) {
    let (input, output) = (&argument.input, &argument.output);
    let before = argument.nr_exchanged;
    if let Err(errno) = check(cx, argument) {
        return (before, Err(errno));
    }
    if before == input.nr_extents {
        // Nothing is left to do, whoever it is for.
        return (before, Ok(()));
    }
    if let Err(errno) = authorise(cx, input) {
        return (before, Err(errno));
    }
    // Frames go in chunks of the larger of the two orders.
    let chunk = output.extent_order.saturating_sub(input.extent_order);
    let next = before >> chunk;
    if next >= input.nr_extents >> chunk {
        return (input.nr_extents, Ok(()));
    }
    let refused = first_frame(cx, argument, next << chunk).unwrap_or_else(|errno| errno);
    (next << chunk, Err(refused))
}

fn check(cx: &Context<'_>, argument: &abi::Exchange) -> Result<(), Errno> {
    let (input, output) = (&argument.input, &argument.output);
    let largest = u32::from(reservation::LARGEST.raw());
    if input.extent_order > largest || output.extent_order > largest {
        return Err(Errno::NOT_PERMITTED);
    }
    let frames = |list: &abi::Reservation| {
        let order = Order::new(u8::try_from(list.extent_order).ok()?)?;
        list.nr_extents.checked_mul(order.frames())
    };
    let fits = argument.nr_exchanged <= input.nr_extents
        && input.domid == output.domid
        && frames(input).is_some()
        && frames(input) == frames(output);
    if !fits || !reservation::may_name_node(cx, output.mem_flags) {
        return Err(Errno::INVALID);
    }
    Ok(())
}

fn authorise(cx: &Context<'_>, input: &abi::Reservation) -> Result<(), Errno> {
    let target = cx.domain(input.domid)?;
    Ok(cx.authorise(MemoryReserve {
        caller: cx.caller.id,
        target: target.id,
        change: Change::Exchange,
        extents: input.nr_extents,
        order: input.extent_order,
    })?)
}

/// Why the frame of this extent does not go.
fn first_frame(cx: &Context<'_>, argument: &abi::Exchange, extent: u64) -> Result<Errno, Errno> {
    let list = cx.words(argument.input.extent_start.0);
    let gfn = Gfn::new(list.get(cx, extent)?);
    let target = cx.domain(argument.input.domid)?;
    let there = target.memory.stage().lock().translate(gfn).is_some();
    Ok(if there {
        Errno::NOT_SUPPORTED
    } else {
        Errno::INVALID
    })
}
