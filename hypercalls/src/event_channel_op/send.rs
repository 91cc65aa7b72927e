//! Sending: to another domain, to oneself, to a service of the hypervisor.

use xenvisor_abi::event_channel as abi;
use xenvisor_core::event::{self, SendError, Sent};
use xenvisor_core::number::Port;
use xenvisor_core::policy::EventSend;

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;

/// Makes the other end of a channel pending; without one, nothing. `INVALID` for a port that is not open or bound to an
/// interrupt, `NOT_PERMITTED`.
pub(super) fn send(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Send = cx.read(at)?;
    let port = Port::new(argument.port);
    let allow = |remote| {
        cx.authorise(EventSend {
            caller: cx.caller.id,
            remote,
            port,
        })
    };
    let sent = event::send(&**cx.caller, port, |id| cx.hypervisor.domain(id), allow);
    match sent {
        Ok(Sent::Delivered | Sent::Nowhere) => {}
        Ok(Sent::ToService(id)) => {
            if let Some(service) = cx.hypervisor.service(id) {
                service.notified(cx.hypervisor, cx.caller, port);
            }
        }
        Err(SendError::NotSendable(_)) => return Err(Errno::INVALID),
        Err(SendError::Refused(denied)) => return Err(denied.into()),
    }
    Ok(Answer::OK)
}
