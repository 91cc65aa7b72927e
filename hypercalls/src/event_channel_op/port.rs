//! Rows that change a port of the caller's.

use xenvisor_abi::event_channel as abi;
use xenvisor_core::event;
use xenvisor_core::number::{Port, VcpuId};

use crate::answer::{Answer, Served};
use crate::context::Context;

/// Frees a port. `INVALID` if it is not open.
pub(super) fn close(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Close = cx.read(at)?;
    event::close(&**cx.caller, Port::new(argument.port), |id| {
        cx.hypervisor.domain(id)
    })?;
    Ok(Answer::OK)
}

/// Chooses the vcpu that a port notifies. `NO_ENTRY` for a vcpu there is not; `INVALID` for a port that is not open, or
/// stays where it was bound.
pub(super) fn bind_vcpu(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::BindVcpu = cx.read(at)?;
    event::bind_vcpu(&**cx.caller, Port::new(argument.port), VcpuId::new(argument.vcpu))?;
    Ok(Answer::OK)
}

/// Unmasks a port. `INVALID` if there never was such a port.
pub(super) fn unmask(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Unmask = cx.read(at)?;
    event::unmask(&**cx.caller, Port::new(argument.port))?;
    Ok(Answer::OK)
}
