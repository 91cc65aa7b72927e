//! Keeps all its vcpus busy, and has its timer ring a hundred times meanwhile; the host logs what time it is then.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;
use xenvisor_guests::trouble::work;

const BEATS: u64 = 120;
const BEAT_NS: u64 = 12_000_000;
const VCPUS: u32 = 16;

/// What the other vcpus do. It needs no stack.
extern "C" fn busy() -> ! {
    loop {
        work(100_000);
    }
}

fn clock(guest: &mut Guest) -> Shutdown {
    let Ok(timer) = guest.bind_timer() else {
        return Shutdown::Crash;
    };
    for number in 1..VCPUS {
        if guest.start_vcpu(number, busy).is_err() {
            guest.say(format_args!("vcpu {number} was not started"));
            return Shutdown::Crash;
        }
    }
    let (began, mut before) = (guest.now_ns(), 0);
    let (mut back, mut early) = (0, 0);
    for beat in 1..=BEATS {
        let deadline = began + beat * BEAT_NS;
        guest.set_timer(deadline);
        guest.wait(timer);
        let now = guest.now_ns();
        early += u32::from(now < deadline);
        back += u32::from(now < before);
        before = now;
        guest.log(format_args!("it is {}", guest.now_ns()));
    }
    if (back, early) == (0, 0) {
        guest.say(format_args!(
            "its clock never went back, its timer was never early"
        ));
    } else {
        guest.say(format_args!(
            "its clock went back {back} times, its timer was early {early} times"
        ));
    }
    Shutdown::PowerOff
}

xenvisor_guests::guest!(clock);
