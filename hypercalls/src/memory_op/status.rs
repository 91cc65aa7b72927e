//! How much memory a domain has, may have, and where it ends; and what there is not: nodes, reserved devices, tables of
//! the machine's frames.

use xenvisor_abi::memory as abi;
use xenvisor_core::domain::Domain;
use xenvisor_core::machine::{Call, Width};
use xenvisor_core::policy::MemoryQuery;

use super::progress;
use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;

/// The frame behind the machine's last one that a guest could have.
pub(super) fn maximum_ram_page(cx: &Context<'_>, call: &Call) -> Served {
    if progress(call) != 0 {
        return Err(Errno::INVALID);
    }
    Ok(Answer::Done(cx.hypervisor.frames.end().raw()))
}

/// Frames the domain has.
pub(super) fn current_reservation(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    of(cx, call, at, |domain| domain.memory.account().used)
}

/// Frames it may have.
pub(super) fn maximum_reservation(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    of(cx, call, at, |domain| domain.memory.account().limit)
}

/// The highest guest frame it ever used.
pub(super) fn maximum_gpfn(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    of(cx, call, at, |domain| domain.memory.highest().raw())
}

fn of(cx: &Context<'_>, call: &Call, at: u64, what: impl Fn(&Domain) -> u64) -> Served {
    if progress(call) != 0 {
        return Err(Errno::INVALID);
    }
    let argument: abi::Domain = cx.read(at)?;
    let target = cx.domain(argument.domid)?;
    cx.authorise(MemoryQuery {
        caller: cx.caller.id,
        target: target.id,
    })?;
    Ok(Answer::Done(what(&target)))
}

/// How a domain's memory lies on nodes: no domain here has any.
pub(super) fn vnuma(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    if progress(call) != 0 {
        return Err(Errno::INVALID);
    }
    let argument: abi::VnumaTopologyInfo = cx.read_shaped(at)?;
    if argument.padding != 0 {
        return Err(Errno::INVALID);
    }
    let target = cx.domain(argument.domid)?;
    cx.authorise(MemoryQuery {
        caller: cx.caller.id,
        target: target.id,
    })?;
    Err(Errno::NOT_SUPPORTED)
}

/// Memory that devices of the machine have for themselves, which concerns guests with such devices: there is none.
pub(super) fn reserved_devices(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    if progress(call) != 0 {
        return Err(Errno::INVALID);
    }
    let mut argument: abi::ReservedDeviceMemoryMap = cx.read_shaped(at)?;
    if abi::ReservedDeviceMemoryFlags::from_bits(argument.flags).is_none() {
        return Err(Errno::INVALID);
    }
    argument.nr_entries = 0;
    cx.write_shaped(at, &argument)?;
    Ok(Answer::OK)
}

/// The frames of the table by which a PV guest finds its frames: there is no such table, so no frame is listed. 32-bit
/// code hears that there is no such list, because Xen is built without 32-bit PV guests.
pub(super) fn machphys(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    if cx.width == Width::Bits32 {
        return Err(Errno::NOT_SUPPORTED);
    }
    if progress(call) != 0 {
        return Err(Errno::NO_CALL);
    }
    let mut argument: abi::MachphysMfnList = cx.read_shaped(at)?;
    argument.nr_extents = 0;
    cx.write_shaped(at, &argument)?;
    Ok(Answer::OK)
}

/// The same for PV guests of 32 bits, of which this kind of Xen has none.
pub(super) fn machphys_compat(call: &Call) -> Served {
    Err(if progress(call) == 0 {
        Errno::NOT_SUPPORTED
    } else {
        Errno::NO_CALL
    })
}

/// How many frames domains share, and have saved by it: none.
pub(super) fn shared(call: &Call) -> Served {
    if progress(call) != 0 {
        return Err(Errno::NO_CALL);
    }
    Ok(Answer::OK)
}
