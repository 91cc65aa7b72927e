//! Mapping what others granted, and giving the mappings up.

use core::mem::offset_of;

use xenvisor_abi::grant_table as abi;
use xenvisor_abi::xen::DOMID_SELF;
use xenvisor_core::grant::handles::Mapping;
use xenvisor_core::grant::map::{self, MapRequest};
use xenvisor_core::machine::{Access, Call};
use xenvisor_core::memory::leaving::Leaving;
use xenvisor_core::number::{GrantHandle, GrantRef, GuestAddr};
use xenvisor_core::policy::GrantMap;

use super::status::{Refusal, Status, number};
use super::{List, SLICE};
use crate::answer::Served;
use crate::context::Context;
use crate::errno::Errno;

/// Maps one grant. `handle` and `dev_bus_addr` of the answer mean something if its status is okay.
pub(super) fn map(cx: &Context<'_>, at: u64) -> Result<u64, Errno> {
    let mut argument: abi::MapGrantRef = cx.read(at)?;
    let reply = cx.reserve(at)?;
    let mapped = map_one(cx, &argument);
    if let Ok(handle) = mapped {
        argument.handle = handle.raw();
        // There is no address for devices: mappings are for the processor alone.
        argument.dev_bus_addr = 0;
    }
    argument.status = number(mapped.map(|_| ()));
    reply.send(&argument);
    Ok(size_of::<abi::MapGrantRef>() as u64)
}

fn map_one(cx: &Context<'_>, argument: &abi::MapGrantRef) -> Result<GrantHandle, Refusal> {
    let flags = abi::MapFlags::from_bits_retain(argument.flags);
    if !flags.intersects(abi::MapFlags::HOST_MAP | abi::MapFlags::DEVICE_MAP) {
        return Err(Refusal::NO_ENTRY);
    }
    if flags.difference(abi::MapFlags::READONLY) != abi::MapFlags::HOST_MAP {
        return Err(Refusal::GENERAL);
    }
    let access = if flags.contains(abi::MapFlags::READONLY) {
        Access::Read
    } else {
        Access::ReadWrite
    };
    // A granter is named by its number, even if it is the caller.
    if argument.dom == DOMID_SELF {
        return Err(Refusal::NO_DOMAIN);
    }
    let granter = cx.domain(argument.dom).map_err(|_| Refusal::NO_DOMAIN)?;
    let reference = GrantRef::new(argument.reference);
    cx.authorise(GrantMap {
        grantee: cx.caller.id,
        granter: granter.id,
        reference,
        access,
    })?;
    let request = MapRequest {
        reference,
        at: GuestAddr::new(argument.host_addr).frame(),
        access,
    };
    let mapped = cx
        .caller
        .change(|leaving| map::map(cx.caller.party(), granter.party(), &request, leaving));
    Ok(mapped?)
}

/// Gives up mappings, a slice of them with one flush.
pub(super) fn unmap(cx: &Context<'_>, call: &Call, list: List) -> Served {
    list.some()?;
    let mut given_up = heapless::Vec::<(GrantHandle, Mapping), { SLICE as usize }>::new();
    let bytes = size_of::<abi::UnmapGrantRef>() as u64;
    let served = cx.caller.change(|leaving| {
        (0..list.slice()).try_for_each(|index| {
            let at = list.element(index, bytes)?;
            if let Some(entry) = unmap_one(cx, at, leaving)? {
                // A slice has room for each of its elements.
                let room = given_up.push(entry);
                debug_assert!(room.is_ok(), "no slice is longer");
            }
            Ok::<_, Errno>(())
        })
    });
    // The flush is done: now the granters may know. Also if an element could not be read.
    for (handle, mapping) in &given_up {
        let granter = cx.domain_by_id(mapping.granter);
        let table = granter.as_ref().map(|domain| &domain.grants);
        map::finish(cx.caller.party(), *handle, mapping, table);
    }
    served?;
    list.after_slice(call, bytes)
}

/// Unmaps one. What is left to be done after the flush, if anything.
fn unmap_one(
    cx: &Context<'_>,
    at: u64,
    leaving: &mut Leaving<'_>,
) -> Result<Option<(GrantHandle, Mapping)>, Errno> {
    let argument: abi::UnmapGrantRef = cx.read(at)?;
    let status_at = at.checked_add(offset_of!(abi::UnmapGrantRef, status) as u64);
    let reply = cx.reserve::<i16>(status_at.ok_or(Errno::FAULT)?)?;
    let handle = GrantHandle::new(argument.handle);
    if argument.host_addr == 0 {
        // Nothing is to be unmapped; all there is to say is whether the receipt is one.
        let known: Status = if cx.caller.handles.lock().is_live(handle) {
            Ok(())
        } else {
            Err(Refusal::NO_HANDLE)
        };
        reply.send(&number(known));
        return Ok(None);
    }
    let place = GuestAddr::new(argument.host_addr).frame();
    let unmapped = map::unmap(cx.caller.party(), handle, place, leaving);
    reply.send(&number(unmapped.map(|_| ()).map_err(Refusal::from)));
    Ok(unmapped.ok().map(|mapping| (handle, mapping)))
}
