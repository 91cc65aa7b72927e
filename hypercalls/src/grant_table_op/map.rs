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

use super::status::{Refusal, number};
use super::{List, SLICE};
use crate::answer::Served;
use crate::context::{Context, Reply};
use crate::errno::Errno;

/// Maps one grant. `handle` and `dev_bus_addr` of the answer mean something if its status is okay.
pub(super) fn map(cx: &Context<'_>, at: u64) -> Result<u64, Errno> {
    let mut argument: abi::MapGrantRef = cx.read(at)?;
    let reply = cx.reserve(at)?;
    let mapped = map_one(cx, &argument);
    if let Ok(handle) = mapped {
        argument.handle = handle.raw();
        argument.dev_bus_addr = NO_DEVICE_ADDRESS;
    }
    argument.status = number(mapped.map(|_| ()));
    reply.send(&argument);
    Ok(size_of::<abi::MapGrantRef>() as u64)
}

/// The address of a mapping for devices. It means something only for mappings that are for devices, and translated
/// guests have none; where memory lies in the machine is told to nobody.
const NO_DEVICE_ADDRESS: u64 = 0;

fn map_one(cx: &Context<'_>, argument: &abi::MapGrantRef) -> Result<GrantHandle, Refusal> {
    let flags = abi::MapFlags::from_bits_retain(argument.flags);
    if !flags.intersects(abi::MapFlags::HOST_MAP | abi::MapFlags::DEVICE_MAP) {
        return Err(Refusal::NO_ENTRY);
    }
    let of_other_guests =
        abi::MapFlags::DEVICE_MAP | abi::MapFlags::APPLICATION_MAP | abi::MapFlags::CONTAINS_PTE;
    if flags.intersects(of_other_guests) {
        return Err(Refusal::GENERAL);
    }
    // Flags that mean nothing are found last of all, where the mapping would be made.
    let meant = flags.difference(abi::MapFlags::READONLY) == abi::MapFlags::HOST_MAP;
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
        at: meant.then(|| GuestAddr::new(argument.host_addr).frame()),
        access,
    };
    let mapped = cx
        .caller
        .change(|leaving| map::map(cx.caller.party(), granter.party(), &request, leaving));
    Ok(mapped?)
}

/// Gives up mappings, a slice of them with one flush: what comes of it is told, to the granters and to the caller, when
/// the flush is done.
pub(super) fn unmap(cx: &Context<'_>, call: &Call, list: List) -> Served {
    list.some()?;
    let mut told = heapless::Vec::<Told<'_>, { SLICE as usize }>::new();
    let bytes = size_of::<abi::UnmapGrantRef>() as u64;
    let served = cx.caller.change(|leaving| {
        (0..list.slice()).try_for_each(|index| {
            let at = list.element(index, bytes)?;
            let room = told.push(unmap_one(cx, at, leaving)?);
            debug_assert!(room.is_ok(), "no slice is longer");
            Ok::<_, Errno>(())
        })
    });
    // Also if an element could not be read.
    for element in told {
        if let Ok(Some((handle, mapping))) = &element.unmapped {
            let granter = cx.domain_by_id(mapping.granter);
            let table = granter.as_ref().map(|domain| &domain.grants);
            map::finish(cx.caller.party(), *handle, mapping, table);
        }
        element.reply.send(&number(element.unmapped.map(|_| ())));
    }
    served?;
    list.after_slice(call, bytes)
}

/// What there is to tell about an element when the flush is done.
struct Told<'a> {
    reply: Reply<'a, i16>,
    /// What was unmapped, if anything was to be.
    unmapped: Result<Option<(GrantHandle, Mapping)>, Refusal>,
}

fn unmap_one<'a>(cx: &Context<'a>, at: u64, leaving: &mut Leaving<'_>) -> Result<Told<'a>, Errno> {
    let argument: abi::UnmapGrantRef = cx.read(at)?;
    let status_at = at.checked_add(offset_of!(abi::UnmapGrantRef, status) as u64);
    let reply = cx.reserve::<i16>(status_at.ok_or(Errno::FAULT)?)?;
    let handle = GrantHandle::new(argument.handle);
    let unmapped = if cx.caller.handles.lock().is_live(handle) {
        unmap_live(cx, &argument, leaving)
    } else {
        Err(Refusal::NO_HANDLE)
    };
    Ok(Told { reply, unmapped })
}

/// Unmaps what a receipt stands for. Without an address nothing is to be unmapped, and the receipt stays good.
fn unmap_live(
    cx: &Context<'_>,
    argument: &abi::UnmapGrantRef,
    leaving: &mut Leaving<'_>,
) -> Result<Option<(GrantHandle, Mapping)>, Refusal> {
    if argument.dev_bus_addr != NO_DEVICE_ADDRESS {
        return Err(Refusal::GENERAL);
    }
    if argument.host_addr == 0 {
        return Ok(None);
    }
    let handle = GrantHandle::new(argument.handle);
    let place = GuestAddr::new(argument.host_addr).frame();
    let mapping = map::unmap(cx.caller.party(), handle, place, leaving)?;
    Ok(Some((handle, mapping)))
}
