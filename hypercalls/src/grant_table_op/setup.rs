//! A table as a whole: its size, its version, its frames.

use alloc::sync::Arc;
use core::mem::offset_of;

use xenvisor_abi::grant_table as abi;
use xenvisor_core::domain::Domain;
use xenvisor_core::grant::entry::Version;
use xenvisor_core::machine::Width;
use xenvisor_core::number::{DomainId, Gfn, GrantRef};
use xenvisor_core::policy::{GrantQuery, GrantSetup, Request};

use super::List;
use super::status::{Refusal, number};
use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::shape::field_at;

/// How large a domain's table is, and may become.
pub(super) fn query_size(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::QuerySize = cx.read(at)?;
    let reply = cx.reserve(at)?;
    let status = target(cx, argument.dom, |caller, owner| {
        GrantQuery { caller, owner }.into()
    })
    .map(|target| {
        let table = target.grants.lock();
        argument.nr_frames = table.size();
        argument.max_nr_frames = table.limit();
    });
    argument.status = number(status);
    reply.send(&argument);
    Ok(Answer::OK)
}

/// Grows a domain's table and says at which guest frames it sees it; a frame it does not see is all ones.
pub(super) fn setup_table(cx: &Context<'_>, list: List) -> Served {
    if cx.width == Width::Bits32 && list.count == 0 {
        // As Xen answers a 32-bit caller.
        return Ok(Answer::OK);
    }
    let at = list.one()?;
    let argument: abi::SetupTable = cx.read_shaped(at)?;
    let (domain, count) = (argument.dom, argument.nr_frames);
    let list = cx.words(argument.frame_list.0);
    let status_at = at.checked_add(field_at!(cx.width, abi::SetupTable, status));
    let reply = cx.reserve::<i16>(status_at.ok_or(Errno::FAULT)?)?;
    let setup = |caller, owner| {
        GrantSetup {
            caller,
            owner,
            frames: count,
        }
        .into()
    };
    let status = target(cx, domain, setup).and_then(|target| {
        target.grants.lock().grow(count)?;
        (0..count).try_for_each(|index| {
            // One by one: guest memory is never touched with the lock held.
            let frame = target.grants.lock().seen_at(index);
            let frame = frame.map_or(u64::MAX, Gfn::raw);
            // That a frame is not seen is a number that a 32-bit list has no room for.
            if cx.width == Width::Bits32 && u32::try_from(frame).is_err() {
                return Err(Refusal::TOO_BIG);
            }
            list.put(cx, index.into(), frame)
                .map_err(|_| Refusal::NO_MEMORY_THERE)
        })
    });
    reply.send(&number(status));
    Ok(Answer::OK)
}

/// Chooses the version of the caller's entries. `INVALID` for a version there is not, `BUSY` while offers are in use,
/// `RANGE` if a reserved one cannot be said in version 1; in any case the answer is the version in force.
pub(super) fn set_version(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::SetVersion = cx.read(at)?;
    let reply = cx.reserve(at)?;
    let caller = cx.caller;
    let changed = Version::from_raw(argument.version).map(|version| {
        caller.change(|leaving| {
            let mut table = caller.grants.lock();
            table.set_version(version, &caller.memory, leaving)
        })
    });
    let version = caller.grants.lock().version().raw();
    reply.send(&abi::SetVersion { version });
    changed.ok_or(Errno::INVALID)??;
    Ok(Answer::OK)
}

/// The version of a domain's entries.
pub(super) fn get_version(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::GetVersion = cx.read(at)?;
    let target = cx.domain(argument.dom)?;
    cx.authorise(GrantQuery {
        caller: cx.caller.id,
        owner: target.id,
    })?;
    let version = target.grants.lock().version().raw();
    let version_at = at.checked_add(offset_of!(abi::GetVersion, version) as u64);
    cx.write(version_at.ok_or(Errno::FAULT)?, &version)?;
    Ok(Answer::OK)
}

/// Exchanges two of the caller's offers.
pub(super) fn swap(cx: &Context<'_>, at: u64) -> Result<u64, Errno> {
    let argument: abi::SwapGrantRef = cx.read(at)?;
    let status_at = at.checked_add(offset_of!(abi::SwapGrantRef, status) as u64);
    let reply = cx.reserve::<i16>(status_at.ok_or(Errno::FAULT)?)?;
    let (one, two) = (GrantRef::new(argument.ref_a), GrantRef::new(argument.ref_b));
    let swapped = cx.caller.grants.lock().swap(one, two);
    reply.send(&number(swapped.map_err(Refusal::from)));
    Ok(size_of::<abi::SwapGrantRef>() as u64)
}

/// The domain whose table it is, if the policy allows what the caller asks for: a request of caller and owner.
fn target(
    cx: &Context<'_>,
    domain: u16,
    request: impl FnOnce(DomainId, DomainId) -> Request,
) -> Result<Arc<Domain>, Refusal> {
    let target = cx.domain(domain).map_err(|_| Refusal::NO_DOMAIN)?;
    cx.authorise(request(cx.caller.id, target.id))?;
    Ok(target)
}
