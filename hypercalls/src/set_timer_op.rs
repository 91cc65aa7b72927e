//! `set_timer_op`: the one-shot timer of the calling vcpu, the short way. Public header `xen.h`.

use xenvisor_core::clock::Instant;
use xenvisor_core::machine::{Call, Width};

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::table::{argument, low};

/// Serves the call: absolute system time in nanoseconds, 0 stops the timer.
///
/// # Errors
/// None.
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let deadline = match cx.width {
        Width::Bits64 => argument(call, 0),
        // A 32-bit caller passes the two halves in two registers.
        Width::Bits32 => u64::from(low(argument(call, 0))) | u64::from(low(argument(call, 1))) << 32,
    };
    cx.vcpu.timers.lock().singleshot = (deadline != 0).then(|| Instant::from_ns(deadline));
    Ok(Answer::OK)
}
