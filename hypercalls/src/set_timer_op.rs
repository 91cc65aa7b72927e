//! `set_timer_op`: the one-shot timer of the calling vcpu, the short way. Public header `xen.h`.

use xenvisor_core::clock::Instant;
use xenvisor_core::machine::{Call, Width};

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::table::{argument, low};

/// Deadlines further ahead than this are taken for a mistake: about 13 days, as in Xen.
const HORIZON_NS: u64 = 1 << 50;
/// When the timer fires then.
const SOON_NS: u64 = 100_000_000;

/// Serves the call: absolute system time in nanoseconds, 0 stops the timer.
///
/// A deadline that makes no sense (negative, or weeks ahead) comes from a guest whose clock arithmetic has wrapped
/// around: it has work to do, so it gets its interrupt soon, but not so soon that it does nothing else. Xen does the
/// same.
///
/// # Errors
/// None.
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let deadline = match cx.width {
        Width::Bits64 => argument(call, 0),
        // A 32-bit caller passes the two halves in two registers.
        Width::Bits32 => u64::from(low(argument(call, 0))) | u64::from(low(argument(call, 1))) << 32,
    };
    let ahead = deadline.saturating_sub(cx.now.as_ns());
    let when = if deadline == 0 {
        None
    } else if deadline.cast_signed() < 0 || ahead >= HORIZON_NS {
        Some(cx.now.after_ns(SOON_NS))
    } else {
        Some(Instant::from_ns(deadline))
    };
    cx.vcpu.timers.lock().singleshot = when;
    Ok(Answer::OK)
}

/// A deadline as a guest gives it. Xen's time is signed: one that is negative has passed.
pub(crate) const fn deadline(raw_ns: u64) -> Instant {
    if raw_ns.cast_signed() < 0 {
        Instant::ZERO
    } else {
        Instant::from_ns(raw_ns)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use xenvisor_abi::xen::HYPERVISOR_set_timer_op;
    use xenvisor_core::policy::XenDefault;

    use super::*;
    use crate::testing::World;

    fn set(width: Width, arguments: &[u64]) -> Option<u64> {
        let world = World::new(1, 1, XenDefault::default(), Vec::new());
        world
            .call_from(1, 0, width, HYPERVISOR_set_timer_op, arguments)
            .unwrap();
        let timers = *world.domains[0].vcpus[0].timers.lock();
        timers.singleshot.map(Instant::as_ns)
    }

    #[test]
    fn a_deadline_is_kept_and_zero_stops_the_timer() {
        assert_eq!(set(Width::Bits64, &[5]), Some(5));
        assert_eq!(set(Width::Bits64, &[0]), None);
        assert_eq!(set(Width::Bits32, &[7, 1]), Some(7 | 1 << 32));
    }

    #[test]
    fn a_deadline_from_arithmetic_that_wrapped_around_fires_soon() {
        // The call is made at 1,000 ns.
        let soon = Some(1_000 + SOON_NS);
        assert_eq!(set(Width::Bits64, &[u64::MAX]), soon);
        assert_eq!(set(Width::Bits32, &[0, 1 << 31]), soon);
        assert_eq!(set(Width::Bits64, &[1_000 + HORIZON_NS]), soon);
        let last = 999 + HORIZON_NS;
        assert_eq!(set(Width::Bits64, &[last]), Some(last));
    }
}
