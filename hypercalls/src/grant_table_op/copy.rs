//! Copying between frames, each the caller's own or granted to it.

use alloc::sync::Arc;

use xenvisor_abi::grant_table as abi;
use xenvisor_abi::xen::DOMID_SELF;
use xenvisor_core::domain::Domain;
use xenvisor_core::grant::copy::{End, Onward, Reached, copy};
use xenvisor_core::machine::{Access, Call};
use xenvisor_core::number::{DomainId, Gfn, GrantRef};
use xenvisor_core::policy::GrantCopy;

use super::List;
use super::status::{Refusal, Status, number};
use crate::answer::Served;
use crate::context::Context;
use crate::errno::Errno;
use crate::shape::{bytes_of, field_at};
use crate::table::low;

/// Serves a slice of copies.
pub(super) fn serve(cx: &Context<'_>, call: &Call, list: List) -> Served {
    list.serve(call, |at| {
        let wanted = decode(cx, at)?;
        let status_at = at.checked_add(field_at!(cx.width, abi::CopyOp, status));
        let reply = cx.reserve::<i16>(status_at.ok_or(Errno::FAULT)?)?;
        reply.send(&number(copy_one(cx, &wanted)));
        Ok(bytes_of::<abi::CopyOp>(cx.width))
    })
}

/// One copy, in whatever layout it came.
struct Wanted {
    source: Place,
    destination: Place,
    bytes: u16,
}

/// One end of it.
struct Place {
    domain: u16,
    /// A grant, or a frame of the caller's own.
    which: Which,
    offset: u16,
}

#[derive(Clone, Copy)]
enum Which {
    Grant(GrantRef),
    Frame(Gfn),
}

fn decode(cx: &Context<'_>, at: u64) -> Result<Wanted, Errno> {
    let raw: abi::CopyOp = cx.read_shaped(at)?;
    let flags = abi::CopyFlags::from_bits_retain(raw.flags);
    let place = |is_grant, from: abi::CopyPointer| Place {
        domain: from.domid,
        which: if is_grant {
            Which::Grant(GrantRef::new(low(from.u)))
        } else {
            Which::Frame(Gfn::new(from.u))
        },
        offset: from.offset,
    };
    Ok(Wanted {
        source: place(flags.contains(abi::CopyFlags::SOURCE_GREF), raw.source),
        destination: place(flags.contains(abi::CopyFlags::DEST_GREF), raw.dest),
        bytes: raw.len,
    })
}

fn copy_one(cx: &Context<'_>, wanted: &Wanted) -> Status {
    let source = owner(cx, &wanted.source)?;
    let destination = owner(cx, &wanted.destination)?;
    authorise(cx, source.id, destination.id)?;
    // Where a grant is passed on, the frame is a third domain's; these keep it alive meanwhile.
    let (source_via, destination_via);
    let from = match end(cx, &source, &wanted.source, Access::Read)? {
        Reached::End(end) => end,
        Reached::Onward(onward) => {
            source_via = passed_on(cx, &onward)?;
            authorise(cx, source_via.id, destination.id)?;
            onward.through(source_via.party())?
        }
    };
    let to = match end(cx, &destination, &wanted.destination, Access::ReadWrite)? {
        Reached::End(end) => end,
        Reached::Onward(onward) => {
            destination_via = passed_on(cx, &onward)?;
            authorise(cx, source.id, destination_via.id)?;
            onward.through(destination_via.party())?
        }
    };
    let memory = cx.hypervisor.machine.memory().as_ref();
    let (from, to) = ((&from, wanted.source.offset), (&to, wanted.destination.offset));
    Ok(copy(memory, from, to, wanted.bytes)?)
}

/// The domain an end belongs to.
fn owner(cx: &Context<'_>, place: &Place) -> Result<Arc<Domain>, Refusal> {
    cx.domain(place.domain).map_err(|_| Refusal::NO_DOMAIN)
}

fn authorise(cx: &Context<'_>, source: DomainId, destination: DomainId) -> Status {
    Ok(cx.authorise(GrantCopy {
        caller: cx.caller.id,
        source,
        destination,
    })?)
}

/// An end, held. A frame by its number can only be of `DOMID_SELF`, by that name.
fn end<'a>(
    cx: &Context<'_>,
    owner: &'a Domain,
    place: &Place,
    access: Access,
) -> Result<Reached<'a>, Refusal> {
    Ok(match place.which {
        Which::Frame(_) if place.domain != DOMID_SELF => return Err(Refusal::NOT_PERMITTED),
        Which::Frame(frame) => Reached::End(End::own(&owner.memory, frame, access)?),
        Which::Grant(reference) => End::granted(owner.party(), reference, cx.caller.id, access)?,
    })
}

/// The domain whose grant is passed on.
fn passed_on(cx: &Context<'_>, onward: &Onward<'_>) -> Result<Arc<Domain>, Refusal> {
    cx.domain_by_id(onward.via()).ok_or(Refusal::GENERAL)
}
