//! From an instant to what the local APIC's timer takes.
//!
//! Pure: tested on a workstation. Source: SDM vol. 3A §12.5.4.

use xenvisor_core::clock::{Instant, TimeScale};

/// The TSC at which `deadline` is reached. Never 0, which would mean "no deadline".
#[must_use]
pub fn deadline_ticks(scale: &TimeScale, deadline: Instant) -> u64 {
    scale
        .base_ticks
        .saturating_add(scale.ticks(deadline.ns_since(scale.base)))
        .max(1)
}

/// The count after which a timer of `hz` reaches `deadline`: at least 1, at most what the timer holds (then
/// it fires early, and is to be set again).
#[must_use]
pub fn count(hz: u64, now: Instant, deadline: Instant) -> u32 {
    let ns = u128::from(deadline.ns_since(now));
    let ticks = (ns * u128::from(hz)).div_ceil(1_000_000_000);
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_no_earlier_and_hardly_later() {
        let scale = TimeScale::from_hz(2_500_000_000, 1_000_000, Instant::ZERO).unwrap();
        for ns in [1, 999, 1_000_000, 3_600_000_000_000] {
            let deadline = Instant::from_ns(ns);
            let ticks = deadline_ticks(&scale, deadline);
            assert!(scale.instant(ticks) >= deadline, "{ns}");
            assert!(
                scale.instant(ticks).ns_since(deadline) < 3 + ns / 100_000_000,
                "{ns}"
            );
        }
    }

    #[test]
    fn no_deadline_becomes_the_number_that_means_none() {
        let scale = TimeScale::from_hz(1_000_000_000, 0, Instant::ZERO).unwrap();
        assert_eq!(deadline_ticks(&scale, Instant::ZERO), 1);
        assert_eq!(deadline_ticks(&scale, Instant::FAR), u64::MAX);
    }

    #[test]
    fn counts_stay_within_the_timer() {
        let now = Instant::from_ns(1_000);
        assert_eq!(count(62_500_000, now, Instant::from_ns(2_000)), 63);
        assert_eq!(count(62_500_000, now, Instant::ZERO), 1);
        assert_eq!(count(62_500_000, now, Instant::FAR), u32::MAX);
    }
}
