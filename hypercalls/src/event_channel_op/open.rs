//! Rows that open a port.

use xenvisor_abi::event_channel as abi;
use xenvisor_core::event;
use xenvisor_core::number::{Port, VcpuId};
use xenvisor_core::policy::{EventAlloc, EventBind};

use crate::answer::{Answer, Served};
use crate::context::Context;

/// A port on which a remote domain may bind. `NO_DOMAIN` if its owner does not exist (the remote need not), then
/// `NOT_PERMITTED`, `NO_SPACE`.
pub(super) fn alloc_unbound(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::AllocUnbound = cx.read(at)?;
    let owner = cx.domain(argument.dom)?;
    let remote = cx.domain_id(argument.remote_dom);
    cx.authorise(EventAlloc {
        caller: cx.caller.id,
        owner: owner.id,
        remote,
    })?;
    let reply = cx.reserve(at)?;
    argument.port = event::allocate_unbound(&*owner, remote)?.raw();
    reply.send(&argument);
    Ok(Answer::OK)
}

/// A port bound to a remote one, and pending at once. `NO_DOMAIN`, then `NO_SPACE`, then `INVALID` if the remote port
/// does not wait for the caller, then `NOT_PERMITTED`.
pub(super) fn bind_interdomain(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::BindInterdomain = cx.read(at)?;
    let remote = cx.domain(argument.remote_dom)?;
    let port = Port::new(argument.remote_port);
    let request = EventBind {
        caller: cx.caller.id,
        remote: remote.id,
        port,
    };
    let allow = || cx.authorise(request);
    let reply = cx.reserve(at)?;
    argument.local_port = event::bind_interdomain(&**cx.caller, &*remote, port, allow)?.raw();
    reply.send(&argument);
    Ok(Answer::OK)
}

/// A port for a virtual interrupt. `INVALID` if there is none of the number or a global one is bound elsewhere than on
/// vcpu 0, `NO_ENTRY` for a vcpu there is not, `EXISTS` if it is bound.
pub(super) fn bind_virq(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::BindVirq = cx.read(at)?;
    let reply = cx.reserve(at)?;
    let vcpu = VcpuId::new(argument.vcpu);
    argument.port = event::bind_virq(&**cx.caller, argument.virq, vcpu)?.raw();
    reply.send(&argument);
    Ok(Answer::OK)
}

/// A port for the caller's own use. `NO_ENTRY` for a vcpu there is not.
pub(super) fn bind_ipi(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::BindIpi = cx.read(at)?;
    let reply = cx.reserve(at)?;
    argument.port = event::bind_ipi(&**cx.caller, VcpuId::new(argument.vcpu))?.raw();
    reply.send(&argument);
    Ok(Answer::OK)
}

/// A port for a physical interrupt. `INVALID` if there is none of the number, `EXISTS` if it is bound. Whether it is to
/// be shared means nothing to a guest with virtual hardware.
pub(super) fn bind_pirq(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::BindPirq = cx.read(at)?;
    let reply = cx.reserve(at)?;
    argument.port = event::bind_pirq(&**cx.caller, argument.pirq)?.raw();
    reply.send(&argument);
    Ok(Answer::OK)
}
