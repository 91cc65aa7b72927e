//! The timer that ends a guest's run: what it is set to (SDM vol. 3 §26.5.1, §A.6).
//!
//! It counts down while the guest runs, at the rate of the TSC divided by a power of two, and needs no interrupt: the
//! local APIC's timer is left alone, and the run ends whether or not interrupts get through. The last matters in Bochs
//! (2.7), which keeps interrupts of the machine back while a guest runs that was entered with RFLAGS.IF clear, until the
//! guest changes that flag; a guest that spins with interrupts off would have the processor for ever.

/// What the timer is set to so that a run from the TSC's value `now` on ends at `deadline`, no earlier and by less than a
/// tick later; earlier where that is further than the timer counts. `misc` is IA32_VMX_MISC.
#[must_use]
pub fn count(now: u64, deadline: u64, misc: u64) -> u32 {
    let ticks_of_the_tsc = 1_u64 << (misc & 0x1f);
    let ticks = deadline.saturating_sub(now).div_ceil(ticks_of_the_tsc);
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_its_deadline_or_less_than_a_tick_later() {
        for rate in [0, 5, 31] {
            for (now, length) in [(0, 1), (77, 1000), (u64::MAX - 3, 3), (1 << 40, 1 << 30)] {
                let count = u64::from(count(now, now + length, 0xabcd_0040 << 5 | rate));
                let ends = count << rate;
                assert!(ends >= length && ends < length + (1 << rate), "{rate} {length}");
            }
        }
    }

    #[test]
    fn what_has_passed_ends_it_at_once_and_what_is_too_far_ends_it_early() {
        assert_eq!(count(10, 10, 5), 0);
        assert_eq!(count(10, 9, 5), 0);
        assert_eq!(count(0, u64::MAX, 0), u32::MAX);
        assert_eq!(count(0, u64::MAX, 31), u32::MAX);
    }
}
