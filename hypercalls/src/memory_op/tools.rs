//! What builders, device models and monitors do with the memory of others: refused to a guest, with the error that Xen
//! finds first.

use xenvisor_abi::memory as abi;
use xenvisor_abi::memory::toolstack;
use xenvisor_core::domain::life::Life;
use xenvisor_core::machine::{Call, Width};
use xenvisor_core::number::DomainId;
use xenvisor_core::policy::{DomainManage, MemoryBuild};

use super::progress;
use crate::answer::Served;
use crate::context::Context;
use crate::errno::Errno;

/// Claims memory before it is given. `INVALID` for anything but a count of frames for a domain by its number; then
/// `NOT_PERMITTED`. Where it is allowed, there are no claims to make here. 32-bit code has no such command.
pub(super) fn claim_pages(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    if cx.width == Width::Bits32 {
        return Err(Errno::NO_CALL);
    }
    if progress(call) != 0 {
        return Err(Errno::INVALID);
    }
    let claim: abi::Reservation = cx.read_shaped(at)?;
    if claim.extent_start.0 != 0 || claim.extent_order != 0 || claim.mem_flags != 0 {
        return Err(Errno::INVALID);
    }
    // No alias is taken here.
    let target = cx
        .domain_by_id(DomainId::new(claim.domid))
        .ok_or(Errno::INVALID)?;
    build(cx, target.id)
}

/// How much of a domain's memory is there, of what is populated on demand; sets or gets it.
pub(super) fn pod_target(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    if progress(call) != 0 {
        return Err(Errno::NO_CALL);
    }
    let argument: abi::PodTarget = cx.read_shaped(at)?;
    let target = cx.domain(argument.domid)?;
    build(cx, target.id)
}

fn build(cx: &Context<'_>, target: DomainId) -> Served {
    cx.authorise(MemoryBuild {
        caller: cx.caller.id,
        target,
    })?;
    Err(Errno::NO_CALL)
}

/// What a monitor lets a domain do at its frames. `NO_DOMAIN`, `NOT_PERMITTED` for oneself, `INVALID` for a domain that
/// is being taken apart, `NOT_PERMITTED`; where it is allowed, nobody monitors (`NO_DEVICE`).
pub(super) fn access(cx: &Context<'_>, at: u64) -> Served {
    let argument: toolstack::AccessOp = cx.read_shaped(at)?;
    let target = cx
        .domain_by_id(DomainId::new(argument.domid))
        .ok_or(Errno::NO_DOMAIN)?;
    if target.id == cx.caller.id {
        return Err(Errno::NOT_PERMITTED);
    }
    let life = *target.life.lock();
    if matches!(life, Life::Dying | Life::Gone) {
        return Err(Errno::INVALID);
    }
    cx.authorise(DomainManage {
        caller: cx.caller.id,
        target: target.id,
    })?;
    Err(Errno::NO_DEVICE)
}

/// Frames of another domain's resources. In 4.17 no caller whose memory is translated gets any: 64-bit code is told so
/// before anything is read, 32-bit code when its argument has been translated.
pub(super) fn acquire_resource(cx: &Context<'_>, at: u64) -> Served {
    if cx.width == Width::Bits32 {
        let _argument: abi::AcquireResource = cx.read_shaped(at)?;
    }
    Err(Errno::ACCESS)
}
