//! Event channels and the timer.

use core::arch::asm;

use xenvisor_abi::event_channel::{
    AllocUnbound, BindIpi, Close, EVTCHNOP_alloc_unbound, EVTCHNOP_bind_ipi, EVTCHNOP_close,
};
use xenvisor_abi::hvm::hvm_op::{GetTime, HVMOP_get_time};
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op, HYPERVISOR_hvm_op};
use xenvisor_guests::hypercall::{self, checked};
use xenvisor_guests::prelude::*;
use xenvisor_guests::trouble::ticks;

use crate::clock::Clock;
use crate::other::Link;

const VECTOR: u8 = 0xe0;
const FAR_NS: u64 = 1 << 62;
/// How far ahead the timer is set to see how late it is.
const AHEAD_NS: u64 = 200_000;

pub(crate) fn all(clock: &mut Clock<'_>) {
    let mut ipi = BindIpi::default();
    if let Err(error) = checked(HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, &mut ipi) {
        panic!("no port of its own: {error}");
    }
    let port = ipi.port;
    clock.guest().mask(port, true);
    clock.count("send-masked", |guest| {
        let _sent = guest.send(port);
    });
    clock.guest().take(port);
    clock.guest().mask(port, false);
    if clock.guest().listen_past_the_apic(VECTOR).is_err() {
        clock.miss("send-delivered", "no upcalls");
        return;
    }
    let before = clock.guest().upcalls();
    interrupts(true);
    clock.count("send-delivered", |guest| {
        let _sent = guest.send(port);
        guest.take(port);
    });
    interrupts(false);
    if clock.guest().upcalls() == before {
        clock.miss("send-delivered", "no upcall came");
    }
    clock.count("alloc-close", |_| {
        let mut argument = AllocUnbound {
            dom: DOMID_SELF,
            remote_dom: 0,
            ..AllocUnbound::default()
        };
        hypercall::with(HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &mut argument);
        let mut argument = Close { port: argument.port };
        hypercall::with(HYPERVISOR_event_channel_op, EVTCHNOP_close, &mut argument);
    });
    timer(clock);
}

fn timer(clock: &mut Clock<'_>) {
    let Ok(port) = clock.guest().bind_timer() else {
        return clock.miss("timer-latency", "no timer");
    };
    clock.count("set-timer", |guest| guest.set_timer(FAR_NS));
    let guest = clock.guest();
    let late = (0..20).map(|_| lateness(guest, port)).min().unwrap_or(0);
    guest.set_timer(0);
    clock.say("timer-latency", late);
}

/// How many ticks behind its deadline the timer's event is seen, by a guest that does nothing but wait for it.
fn lateness(guest: &Guest, port: u32) -> u64 {
    let (before, begin) = (ticks(), system_time());
    // The call takes as long on its way there as on its way back, about.
    let at = before.midpoint(ticks());
    guest.set_timer(begin + AHEAD_NS);
    interrupts(true);
    while !guest.take(port) {
        core::hint::spin_loop();
    }
    let seen = ticks();
    interrupts(false);
    seen.saturating_sub(at + AHEAD_NS)
}

fn system_time() -> u64 {
    let mut time = GetTime::default();
    hypercall::with(HYPERVISOR_hvm_op, HVMOP_get_time, &mut time);
    time.now
}

fn interrupts(on: bool) {
    // SAFETY: the only one that comes is the upcall, whose handler keeps all registers.
    unsafe {
        if on {
            asm!("sti", "nop", options(nostack));
        } else {
            asm!("cli", options(nostack));
        }
    }
}

/// What takes two domains.
pub(crate) fn with(clock: &mut Clock<'_>, link: &Link) {
    let port = link.port();
    clock.count("ping-pong", |guest| {
        let _sent = guest.send(port);
        guest.wait(port);
    });
}
