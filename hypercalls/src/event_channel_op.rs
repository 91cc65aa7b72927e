//! `event_channel_op`: a guest's ports. Public header `event_channel.h`.
//!
//! Every row reads its argument once and reserves the place for its answer before it opens anything. Numbers of domains
//! may be `DOMID_SELF`. Ports are checked by the ports themselves, under their lock.

mod fifo;
mod meanings;
mod open;
mod port;
mod reset;
mod send;
mod status;

use xenvisor_abi::event_channel as abi;
use xenvisor_core::machine::Call;

use crate::answer::Served;
use crate::context::Context;
use crate::errno::Errno;
use crate::table::{argument, command};

/// Goes on with a reset. Not in the public header: only the hypervisor itself asks for it, in a call it makes again.
const RESET_GO_ON: u32 = 14;

/// Serves the call.
///
/// # Errors
/// `FAULT` where an argument cannot be read or an answer not be written, `NO_CALL` for other commands; otherwise as
/// each row says.
#[rustfmt::skip]
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let at = argument(call, 1);
    match command(call) {
        abi::EVTCHNOP_bind_interdomain => open::bind_interdomain(cx, at),
        abi::EVTCHNOP_bind_virq        => open::bind_virq(cx, at),
        abi::EVTCHNOP_bind_pirq        => open::bind_pirq(cx, at),
        abi::EVTCHNOP_close            => port::close(cx, at),
        abi::EVTCHNOP_send             => send::send(cx, at),
        abi::EVTCHNOP_status           => status::status(cx, at),
        abi::EVTCHNOP_alloc_unbound    => open::alloc_unbound(cx, at),
        abi::EVTCHNOP_bind_ipi         => open::bind_ipi(cx, at),
        abi::EVTCHNOP_bind_vcpu        => port::bind_vcpu(cx, at),
        abi::EVTCHNOP_unmask           => port::unmask(cx, at),
        abi::EVTCHNOP_reset            => reset::begin(cx, call, at),
        abi::EVTCHNOP_init_control     => fifo::init_control(cx, at),
        abi::EVTCHNOP_expand_array     => fifo::expand_array(cx, at),
        abi::EVTCHNOP_set_priority     => fifo::set_priority(cx, at),
        RESET_GO_ON                    => reset::go_on(cx, call, at),
        _                              => Err(Errno::NO_CALL),
    }
}

#[cfg(test)]
mod tests;
