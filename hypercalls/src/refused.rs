//! Hypercalls of toolstacks, device models and PV kernels, as a guest without privilege hears them refused.
//!
//! Each looks at its argument as far as Xen does before it asks who calls, so that the error is the same: a guest that
//! passes an address that is not memory, or speaks another version of an interface, is told so first. What a policy
//! would allow is not served here yet, and does not exist (`NO_CALL`).
//!
//! None of these changes anything.

use xenvisor_abi::xen as abi;
use xenvisor_core::machine::{Call, Width};
use xenvisor_core::number::DomainId;
use xenvisor_core::policy::{DomainManage, HostManage};

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::{argument, low};

/// Bytes of `struct xen_domctl` (public header `domctl.h`), and the version its second word names.
const DOMCTL: (usize, u32) = (144, 0x15);
/// The same of `struct xen_sysctl` (`sysctl.h`).
const SYSCTL: (usize, u32) = (136, 0x15);
/// The same of `struct xen_platform_op` (`platform.h`).
const PLATFORM_OP: (usize, u32) = (136, 0x0300_0001);
/// The longest of them.
const LONGEST: usize = 144;
/// `XEN_DOMCTL_*` that name no domain, one that looks for it by itself, and the one that continues.
const CREATEDOMAIN: u32 = 1;
const GDBSX_GUESTMEMIO: u32 = 1000;
const GETDOMAININFO: u32 = 5;
const SHADOW_OP: u32 = 10;
/// The most buffers that `dm_op` takes.
const BUFFERS: u32 = 2;
/// Set in the count of `mmuext_op` by Xen's own continuations.
const PREEMPTED: u32 = 1 << 31;

/// The head that control operations share: command, interface version, domain.
struct Head {
    command: u32,
    domain: u16,
}

impl Head {
    /// Reads a whole operation, as Xen does, and checks the version it speaks.
    fn read(cx: &Context<'_>, call: &Call, (bytes, version): (usize, u32)) -> Result<Self, Errno> {
        let mut all = [0; LONGEST];
        let used = all.get_mut(..bytes).ok_or(Errno::FAULT)?;
        cx.read_bytes(argument(call, 0), used)?;
        let [a, b, c, d, e, f, g, h, i, j, ..] = all;
        if u32::from_le_bytes([e, f, g, h]) != version {
            return Err(Errno::ACCESS);
        }
        Ok(Self {
            command: u32::from_le_bytes([a, b, c, d]),
            domain: u16::from_le_bytes([i, j]),
        })
    }
}

/// Asks the policy about the host; what it allows, nobody serves.
fn manage_host(cx: &Context<'_>) -> Served {
    cx.authorise(HostManage { caller: cx.caller.id })?;
    Err(Errno::NO_CALL)
}

/// Asks the policy about a domain; what it allows, nobody serves.
fn manage(cx: &Context<'_>, target: DomainId) -> Served {
    cx.authorise(DomainManage {
        caller: cx.caller.id,
        target,
    })?;
    Err(Errno::NO_CALL)
}

/// The domain with this number, no alias taken: what Xen's control operations look for.
fn named(cx: &Context<'_>, raw: u16) -> Result<DomainId, Errno> {
    let id = DomainId::new(raw);
    cx.domain_by_id(id)
        .map(|domain| domain.id)
        .ok_or(Errno::NO_DOMAIN)
}

/// `platform_op`: the host's hardware.
///
/// # Errors
/// `FAULT`, `ACCESS` for another version, `NOT_PERMITTED`; in this order.
pub fn platform_op(cx: &Context<'_>, call: &Call) -> Served {
    Head::read(cx, call, PLATFORM_OP)?;
    manage_host(cx)
}

/// `sysctl`: the host as a whole.
///
/// # Errors
/// As [`platform_op`].
pub fn sysctl(cx: &Context<'_>, call: &Call) -> Served {
    Head::read(cx, call, SYSCTL)?;
    manage_host(cx)
}

/// `domctl`: domains, from outside.
///
/// # Errors
/// As [`platform_op`], with `NO_DOMAIN` before `NOT_PERMITTED`.
pub fn domctl(cx: &Context<'_>, call: &Call) -> Served {
    let head = Head::read(cx, call, DOMCTL)?;
    let target = match head.command {
        CREATEDOMAIN | GDBSX_GUESTMEMIO => cx.caller.id,
        GETDOMAININFO => named(cx, head.domain).unwrap_or(cx.caller.id),
        _ => named(cx, head.domain)?,
    };
    manage(cx, target)
}

/// `paging_domctl_cont` (`arch_1` on x86): where Xen lets a long `domctl` go on. A guest has none to go on with.
///
/// # Errors
/// `FAULT`; `NOT_SUPPORTED` for all but the one operation that continues here; then as [`domctl`].
pub fn paging_domctl_cont(cx: &Context<'_>, call: &Call) -> Served {
    match Head::read(cx, call, DOMCTL) {
        Ok(head) if head.command == SHADOW_OP => manage(cx, named(cx, head.domain)?),
        Ok(_) | Err(Errno::ACCESS) => Err(Errno::NOT_SUPPORTED),
        Err(errno) => Err(errno),
    }
}

/// `dm_op`: what a device model does to the domain it serves.
///
/// # Errors
/// `TOO_LONG` for more buffers than there can be, `NO_DATA` for none, `FAULT`, `NO_DOMAIN`, `NOT_PERMITTED`; in this order. A domain is no
/// device model of itself.
pub fn dm_op(cx: &Context<'_>, call: &Call) -> Served {
    let [a, b, ..] = low(argument(call, 0)).to_le_bytes();
    let count = low(argument(call, 1));
    if count > BUFFERS {
        return Err(Errno::TOO_LONG);
    }
    if count == 0 {
        return Err(Errno::NO_DATA);
    }
    let each = match cx.width {
        Width::Bits64 => 16,
        Width::Bits32 => 8,
    };
    let bytes = usize::try_from(count).unwrap_or(0).saturating_mul(each);
    let mut list = [0; 32];
    cx.read_bytes(argument(call, 2), list.get_mut(..bytes).ok_or(Errno::TOO_LONG)?)?;
    let target = named(cx, u16::from_le_bytes([a, b]))?;
    if target == cx.caller.id {
        return Err(Errno::NOT_PERMITTED);
    }
    manage(cx, target)
}

/// `hypfs_op`: the hypervisor's own parameters.
///
/// # Errors
/// `NOT_PERMITTED`, whatever the arguments.
pub fn hypfs_op(cx: &Context<'_>, _call: &Call) -> Served {
    manage_host(cx)
}

/// `xenpmu_op`: performance counters, which this interface has for PV guests alone: a guest with a local APIC is told
/// that it has none.
///
/// # Errors
/// `NOT_SUPPORTED`, whatever the arguments.
pub const fn xenpmu_op(_cx: &Context<'_>, _call: &Call) -> Served {
    Err(Errno::NOT_SUPPORTED)
}

/// `mmuext_op`: page tables of a PV guest. A guest may name itself or another; neither is one.
///
/// # Errors
/// `NO_DOMAIN` for nobody and for the caller under its own number, `NOT_PERMITTED` for the hypervisor's own domains,
/// `INVALID` for all others.
pub fn mmuext_op(cx: &Context<'_>, call: &Call) -> Served {
    let whose = low(argument(call, 3));
    if low(argument(call, 1)) == PREEMPTED && argument(call, 0) == 0 {
        // How Xen ends a call that it had to interrupt: the result has waited in the last argument.
        return Ok(Answer::Done(i64::from(whose.cast_signed()).cast_unsigned()));
    }
    let [a, b, ..] = whose.to_le_bytes();
    match u16::from_le_bytes([a, b]) {
        abi::DOMID_SELF => Err(Errno::INVALID),
        abi::DOMID_IO | abi::DOMID_XEN => Err(Errno::NOT_PERMITTED),
        raw if DomainId::new(raw) == cx.caller.id => Err(Errno::NO_DOMAIN),
        raw => named(cx, raw).and(Err(Errno::INVALID)),
    }
}

#[cfg(test)]
mod tests;
