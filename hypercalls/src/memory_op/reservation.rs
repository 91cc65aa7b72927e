//! Reservations: lists of extents that a guest gives back, asks for, or asks to have put somewhere.
//!
//! The result is the number of extents that were done, an error only where nothing could be begun. An extent that
//! fails ends the call with the number before it.

use alloc::sync::Arc;

use xenvisor_abi::memory as abi;
use xenvisor_core::domain::Domain;
use xenvisor_core::machine::{Call, Width};
use xenvisor_core::number::{Gfn, Order};
use xenvisor_core::policy::Act;

use super::again;
use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;

/// Extents in one slice: with the largest order, a few milliseconds of work.
const SLICE: u64 = 32;
/// The largest extent a guest may ask for: 2 MiB, as Xen allows domains without privilege.
const LARGEST: Order = Order::LARGE;
/// What `done` can grow to in the command's upper bits.
const MOST_EXTENTS: u64 = 1 << 26;
/// The node field of the flags: 0 for none, else a node's number plus 1 (public header, `XENMEMF_node`).
const NODES: u32 = 64;

/// A list of extents.
struct Request {
    list: u64,
    extents: u64,
    order: Option<Order>,
    flags: u32,
    domain: u16,
    width: Width,
}

impl Request {
    fn decode(cx: &Context<'_>, at: u64) -> Result<Self, Errno> {
        let (list, extents, order, flags, domain) = match cx.width {
            Width::Bits64 => {
                let from: abi::Reservation = cx.read(at)?;
                (
                    from.extent_start.0,
                    from.nr_extents,
                    from.extent_order,
                    from.mem_flags,
                    from.domid,
                )
            }
            Width::Bits32 => {
                let from: abi::compat::Reservation = cx.read(at)?;
                let (list, extents) = (u64::from(from.extent_start.0), u64::from(from.nr_extents));
                (list, extents, from.extent_order, from.mem_flags, from.domid)
            }
        };
        let order = u8::try_from(order)
            .ok()
            .and_then(Order::new)
            .filter(|order| *order <= LARGEST);
        Ok(Self {
            list,
            extents,
            order,
            flags,
            domain,
            width: cx.width,
        })
    }

    /// The domain whose memory it is; `Ok(None)` for one there is not, which is not an error here.
    fn target(&self, cx: &Context<'_>) -> Result<Option<Arc<Domain>>, Errno> {
        let Ok(target) = cx.domain(self.domain) else {
            return Ok(None);
        };
        cx.authorise_control(target.id, Act::Memory, "to change how much memory a domain has")?;
        Ok(Some(target))
    }

    /// Whether the flags name a node that a machine may have.
    fn node_is_fine(&self) -> bool {
        let node = self.flags >> 8 & 0xff;
        node == 0 || node <= NODES
    }

    /// The first frame of the extent at this place of the list.
    fn frame(&self, cx: &Context<'_>, n: u64) -> Result<Gfn, Errno> {
        let at = |bytes: u64| {
            n.checked_mul(bytes)
                .and_then(|offset| self.list.checked_add(offset))
        };
        Ok(Gfn::new(match self.width {
            Width::Bits64 => cx.read::<u64>(at(8).ok_or(Errno::FAULT)?)?,
            Width::Bits32 => u64::from(cx.read::<u32>(at(4).ok_or(Errno::FAULT)?)?),
        }))
    }

    /// Does the extents from `done` on, a slice of them.
    fn each(
        &self,
        call: &Call,
        done: u64,
        mut extent: impl FnMut(u64, Order) -> Result<(), Errno>,
    ) -> Served {
        let Some(order) = self.order else {
            return Ok(Answer::Done(done));
        };
        let end = self.extents.min(MOST_EXTENTS);
        let slice = end.min(done.saturating_add(SLICE));
        for n in done..slice {
            if extent(n, order).is_err() {
                return Ok(Answer::Done(n));
            }
        }
        Ok(if slice < end {
            again(call, slice)
        } else {
            Answer::Done(slice.max(done))
        })
    }
}

/// Gives frames back. A frame that is not there ends the call.
pub(super) fn decrease(cx: &Context<'_>, call: &Call, at: u64, done: u64) -> Served {
    let request = Request::decode(cx, at)?;
    let Some(target) = request.target(cx)? else {
        return Ok(Answer::Done(done));
    };
    request.each(call, done, |n, order| {
        let first = request.frame(cx, n)?;
        for further in 0..order.frames() {
            let gfn = first.checked_add(further).ok_or(Errno::INVALID)?;
            target.change(|leaving| target.memory.take(gfn, leaving))?;
        }
        Ok(())
    })
}

/// Puts fresh frames, all zeros, where the guest wants them.
pub(super) fn populate(cx: &Context<'_>, call: &Call, at: u64, done: u64) -> Served {
    let request = Request::decode(cx, at)?;
    if !request.node_is_fine() {
        return Err(Errno::INVALID);
    }
    let Some(target) = request.target(cx)? else {
        return Ok(Answer::Done(done));
    };
    request.each(call, done, |n, order| {
        let first = request.frame(cx, n)?;
        Ok(target.change(|leaving| target.memory.populate(first, order, leaving))?)
    })
}

/// Reserves frames without a place. A guest with translated memory gains nothing by it but the right to fewer others.
pub(super) fn increase(cx: &Context<'_>, call: &Call, at: u64, done: u64) -> Served {
    let request = Request::decode(cx, at)?;
    if !request.node_is_fine() {
        return Err(Errno::INVALID);
    }
    let Some(target) = request.target(cx)? else {
        return Ok(Answer::Done(done));
    };
    request.each(call, done, |_, order| {
        if target.memory.reserve(order.frames()) {
            Ok(())
        } else {
            Err(Errno::NO_MEMORY)
        }
    })
}
