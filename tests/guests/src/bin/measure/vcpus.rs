//! Giving way, and the change from one vcpu to another.

use core::sync::atomic::{AtomicBool, Ordering};

use xenvisor_abi::sched::SCHEDOP_yield;
use xenvisor_abi::xen::HYPERVISOR_sched_op;
use xenvisor_guests::hypercall::call;

use crate::clock::Clock;

static IS_OVER: AtomicBool = AtomicBool::new(false);

extern "C" fn second() -> ! {
    while !IS_OVER.load(Ordering::Relaxed) {
        give_way();
    }
    xenvisor_guests::vcpu_is_done(1)
}

fn give_way() {
    call(HYPERVISOR_sched_op, [SCHEDOP_yield.into(), 0, 0, 0, 0]);
}

pub(crate) fn all(clock: &mut Clock<'_>) {
    clock.count("yield", |_| give_way());
    if clock.guest().start_vcpu(1, second).is_err() {
        return clock.miss("yield-to-another", "one vcpu alone");
    }
    // To the other one, and back.
    clock.count("yield-to-another", |_| give_way());
    IS_OVER.store(true, Ordering::Relaxed);
    while clock.guest().vcpu_is_up(1) != Ok(false) {
        give_way();
    }
}
