//! What a port is bound to.

use xenvisor_abi::event_channel as abi;
use xenvisor_core::event::{Binding, Status};
use xenvisor_core::number::{DomainId, Port};
use xenvisor_core::policy::EventStatus;

use crate::answer::{Answer, Served};
use crate::context::Context;

/// The state of a port, of the caller or (where the policy allows) of another. `NO_DOMAIN`, then `INVALID` if there never
/// was such a port, then `NOT_PERMITTED`.
pub(super) fn status(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::Status = cx.read(at)?;
    let target = cx.domain(argument.dom)?;
    let port = Port::new(argument.port);
    let status = target.ports.lock().status(port)?;
    cx.authorise(EventStatus {
        caller: cx.caller.id,
        owner: target.id,
        port,
    })?;
    answer(&mut argument, &status);
    cx.write(at, &argument)?;
    Ok(Answer::OK)
}

/// Fills in what the row answers. What a state has no use for keeps the caller's own bytes.
fn answer(argument: &mut abi::Status, status: &Status) {
    argument.vcpu = status.vcpu.raw();
    let [first, second] = &mut argument.u;
    // A domain's number is the low half of the first word.
    let mut domain = |id: DomainId| *first = *first & 0xffff_0000 | u32::from(id.raw());
    argument.status = match status.binding {
        Binding::Free | Binding::Reserved => abi::EVTCHNSTAT_closed,
        Binding::Unbound { remote } => {
            domain(remote);
            abi::EVTCHNSTAT_unbound
        }
        Binding::Interdomain { remote, port } => {
            domain(remote);
            *second = port.raw();
            abi::EVTCHNSTAT_interdomain
        }
        Binding::Service { domain: remote, .. } => {
            domain(remote);
            // The daemon it stands for would have some port or other: the same number is as good as any.
            *second = argument.port;
            abi::EVTCHNSTAT_interdomain
        }
        Binding::Virq(virq) => {
            *first = u32::from(virq.raw());
            abi::EVTCHNSTAT_virq
        }
        Binding::Pirq(pirq) => {
            *first = u32::from(pirq.raw());
            abi::EVTCHNSTAT_pirq
        }
        Binding::Ipi => abi::EVTCHNSTAT_ipi,
    };
}
