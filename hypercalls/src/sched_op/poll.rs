//! Sleeping until a port is pending.

use xenvisor_abi::sched as abi;
use xenvisor_core::clock::Instant;
use xenvisor_core::event::{PollStart, start_poll};
use xenvisor_core::number::Port;

use crate::answer::{After, Answer, Served};
use crate::context::Context;
use crate::errno::Errno;

/// How many ports a poll may name.
const MOST: usize = 128;

/// Sleeps until one of the named ports is pending, masked or not, or until the deadline (absolute system time; 0 for
/// none), or until the vcpu is woken by anything else. `INVALID` for more than 128 ports, or one that never was; returns
/// at once if one is pending, or an interrupt is.
pub(super) fn poll(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Poll = cx.read_shaped(at)?;
    let (list, deadline_ns) = (argument.ports.0, argument.timeout);
    let count = usize::try_from(argument.nr_ports).unwrap_or(usize::MAX);
    if count > MOST {
        return Err(Errno::INVALID);
    }
    let mut ports = heapless::Vec::<Port, MOST>::new();
    let mut place = list;
    for _ in 0..count {
        ports
            .push(Port::new(cx.read(place)?))
            .map_err(|_| Errno::INVALID)?;
        place = place.checked_add(4).ok_or(Errno::FAULT)?;
    }
    if cx.cpu.interruptible_and_pending() {
        return Ok(Answer::OK);
    }
    // Before the ports are looked at: from then on the poll may end at any time.
    set_deadline(cx, deadline_ns);
    match start_poll(&**cx.caller, cx.vcpu.key.vcpu, &ports)? {
        PollStart::Ready => {
            set_deadline(cx, 0);
            Ok(Answer::OK)
        }
        PollStart::Waiting => Ok(Answer::Then(0, After::Poll)),
    }
}

fn set_deadline(cx: &Context<'_>, ns: u64) {
    cx.vcpu.timers.lock().poll = (ns != 0).then(|| Instant::from_ns(ns));
}
