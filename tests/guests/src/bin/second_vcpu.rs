//! Starts a second vcpu by hypercall, waits until it has done its work, and sees it stop.
#![cfg_attr(bare, no_std, no_main)]

use core::sync::atomic::{AtomicU32, Ordering};

use xenvisor_guests::prelude::*;

static WORK: AtomicU32 = AtomicU32::new(0);
const DONE: u32 = 1000;

extern "C" fn second() -> ! {
    for _ in 0..DONE {
        WORK.fetch_add(1, Ordering::Relaxed);
    }
    xenvisor_guests::vcpu_is_done(1)
}

fn first(guest: &mut Guest) -> Shutdown {
    if guest.word("paging") == Some("pae") {
        guest.turn_on_paging(Paging::Pae);
    }
    if let Err(error) = guest.start_vcpu(1, second) {
        guest.say(format_args!("vcpu 1 was not started: {error}"));
        return Shutdown::Crash;
    }
    let again = guest.start_vcpu(1, second);
    while guest.vcpu_is_up(1) != Ok(false) {
        guest.yield_now();
    }
    let work = WORK.load(Ordering::Relaxed);
    guest.say(format_args!(
        "vcpu 1 of {} bits has done {work}; again: {again:?}",
        guest.bits()
    ));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(first);
