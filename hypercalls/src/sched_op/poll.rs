//! Sleeping until a port is pending.

use xenvisor_abi::sched as abi;
use xenvisor_core::event::{PollStart, start_poll, stop_poll};
use xenvisor_core::number::Port;

use crate::answer::{After, Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::set_timer_op::deadline;

/// How many ports a poll may name.
const MOST: usize = 128;

/// Sleeps until one of the named ports is pending, masked or not, or until the deadline (absolute system time; 0 for
/// none), or until the vcpu is woken by anything else. `INVALID` for more than 128 ports, or one that never was; returns
/// at once if one is pending, or an interrupt is. Ports are looked at in order: one that cannot be read is a `FAULT`
/// only if none before it is pending.
pub(super) fn poll(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Poll = cx.read_shaped(at)?;
    let (list, deadline_ns) = (argument.ports.0, argument.timeout);
    let count = usize::try_from(argument.nr_ports).unwrap_or(usize::MAX);
    if count > MOST {
        return Err(Errno::INVALID);
    }
    if cx.cpu.interruptible_and_pending() {
        return Ok(Answer::OK);
    }
    let mut ports = heapless::Vec::<Port, MOST>::new();
    let mut fault = None;
    for n in 0..count as u64 {
        match list
            .checked_add(n * 4)
            .ok_or(Errno::FAULT)
            .and_then(|at| cx.read(at))
        {
            Ok(port) => ports.push(Port::new(port)).map_err(|_| Errno::INVALID)?,
            Err(errno) => {
                fault = Some(errno);
                break;
            }
        }
    }
    // Before the ports are looked at: from then on the poll may end at any time.
    set_deadline(cx, deadline_ns);
    let vcpu = cx.vcpu.key.vcpu;
    let started = start_poll(&**cx.caller, vcpu, &ports);
    match (started, fault) {
        (Ok(PollStart::Waiting), None) => return Ok(Answer::Then(0, After::Poll)),
        (Ok(PollStart::Waiting), Some(_)) => stop_poll(&**cx.caller, vcpu),
        _ => {}
    }
    set_deadline(cx, 0);
    match (started?, fault) {
        (PollStart::Waiting, Some(errno)) => Err(errno),
        _ => Ok(Answer::OK),
    }
}

fn set_deadline(cx: &Context<'_>, ns: u64) {
    cx.vcpu.timers.lock().poll = (ns != 0).then(|| deadline(ns));
}
