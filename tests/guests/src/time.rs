//! The time: Xen's clock, and the one-shot timer.

use core::sync::atomic::{Ordering, fence};

use xenvisor_abi::event_channel::{BindVirq, EVTCHNOP_bind_virq};
use xenvisor_abi::xen::{HYPERVISOR_event_channel_op, HYPERVISOR_set_timer_op, VIRQ_TIMER};

use crate::guest::{Guest, SHARED_INFO};
use crate::hypercall::{call, checked};
use crate::trouble::ticks;

/// Where the time is in the first `vcpu_info`, and that is at the beginning of the page: the same for both widths.
const VERSION: usize = 32;
const TICKS: usize = 40;
const SYSTEM_TIME: usize = 48;
const MULTIPLIER: usize = 56;
const SHIFT: usize = 60;

fn long(at: usize) -> u64 {
    let half = |at| u64::from(SHARED_INFO.word(at).load(Ordering::Relaxed));
    half(at) | half(at + 4) << 32
}

impl Guest {
    /// Xen's clock: nanoseconds since the host began to count.
    pub fn now_ns(&self) -> u64 {
        loop {
            let version = SHARED_INFO.word(VERSION).load(Ordering::Acquire);
            let delta = ticks().wrapping_sub(long(TICKS));
            let shift = SHARED_INFO.byte(SHIFT).load(Ordering::Relaxed).cast_signed();
            let multiplier = SHARED_INFO.word(MULTIPLIER).load(Ordering::Relaxed);
            let base = long(SYSTEM_TIME);
            fence(Ordering::Acquire);
            if version & 1 == 0 && version == SHARED_INFO.word(VERSION).load(Ordering::Relaxed) {
                let shifted = if shift < 0 {
                    delta >> shift.unsigned_abs()
                } else {
                    delta << shift
                };
                return base + ((u128::from(shifted) * u128::from(multiplier)) >> 32) as u64;
            }
        }
    }

    /// A port that is pending when the timer of vcpu 0 has fired.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn bind_timer(&self) -> Result<u32, i64> {
        let mut argument = BindVirq {
            virq: VIRQ_TIMER,
            ..BindVirq::default()
        };
        checked(HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &mut argument)?;
        Ok(argument.port)
    }

    /// Lets the timer fire at an instant of Xen's clock.
    pub fn set_timer(&self, at_ns: u64) {
        let high = if cfg!(target_arch = "x86") { at_ns >> 32 } else { 0 };
        call(HYPERVISOR_set_timer_op, [at_ns, high, 0, 0, 0]);
    }
}
