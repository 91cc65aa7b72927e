//! Makes as much trouble as a guest can, one way after the other, for the guest `victim` beside it.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;
use xenvisor_guests::raw;
use xenvisor_guests::trouble::{WAY_TICKS, WAYS, Way, ticks, work};

const XEN_VERSION: u32 = 17;

fn hostile(guest: &mut Guest) -> Shutdown {
    let (Ok(port), Ok(timer)) = (guest.allocate_port(1), guest.bind_timer()) else {
        return Shutdown::Crash;
    };
    // Until the victim is through with all of them.
    let end = ticks() + 3 * (WAYS as u64) * WAY_TICKS;
    while ticks() < end {
        match Way::at(ticks()) {
            Way::Work => work(1_000),
            Way::Calls => {
                for _ in 0..20 {
                    let _any = raw::call(XEN_VERSION, [0; 5]);
                }
            }
            Way::Exits => {
                for n in 0..20 {
                    raw::write(0xf000_0000 + n * 8, &[1]);
                }
            }
            Way::Yields => guest.yield_now(),
            Way::Mappings => guest.move_shared_info(),
            Way::Timers => {
                guest.set_timer(guest.now_ns() + 3_000);
                guest.take(timer);
            }
            Way::Events => drop(guest.send(port)),
        }
    }
    Shutdown::PowerOff
}

xenvisor_guests::guest!(hostile);
