//! Time as a value: instants on the machine's one clock, and the scale that turns its counter into them.
//!
//! The hypervisor never asks "what time is it" in the middle of a decision; time comes in as an argument.
//! Guests compute the same clock from the same scale (pvclock), so host and guests agree by construction.

use core::ops::Add;

/// Nanoseconds since the machine's clock began: Xen's "system time".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// The beginning of the clock.
    pub const ZERO: Self = Self(0);
    /// The end of time: later than any deadline.
    pub const FAR: Self = Self(u64::MAX);

    /// The instant so many nanoseconds after the beginning.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the beginning.
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to `self`; 0 if that lies in the future.
    #[must_use]
    pub const fn ns_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `ns` nanoseconds later, or the end of time.
    #[must_use]
    pub const fn after_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }
}

impl Add<core::time::Duration> for Instant {
    type Output = Self;

    fn add(self, wait: core::time::Duration) -> Self {
        self.after_ns(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// How the machine's counter (the TSC) turns into nanoseconds, in pvclock's terms:
/// `ns = base_ns + (((ticks - base_ticks) << shift) * multiplier >> 32)`, a negative shift going right.
///
/// Public header: `xen.h`, `struct vcpu_time_info`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeScale {
    /// The counter when the clock stood at `base`.
    pub base_ticks: u64,
    /// The clock at that counter.
    pub base: Instant,
    /// Nanoseconds per shifted tick, times 2^32.
    pub multiplier: u32,
    /// The shift that comes before the multiplication.
    pub shift: i8,
}

impl TimeScale {
    /// The scale of a counter that runs at `hz`, with both ends at the given base.
    /// `None` where no scale can express it: 0 Hz, or more than 2^63.
    #[must_use]
    pub fn from_hz(hz: u64, base_ticks: u64, base: Instant) -> Option<Self> {
        if hz == 0 || hz >> 63 != 0 {
            return None;
        }
        // Find the shift that brings the multiplier into [2^31, 2^32): the most precision 32 bits hold.
        let mut shift: i8 = 0;
        let mut scaled = (1_000_000_000_u128 << 64) / u128::from(hz);
        // `scaled` is the multiplier times 2^32 for shift 0.
        while scaled >> 64 != 0 {
            scaled >>= 1;
            shift = shift.checked_add(1)?;
        }
        while scaled >> 63 == 0 {
            scaled <<= 1;
            shift = shift.checked_sub(1)?;
        }
        let multiplier = u32::try_from(scaled >> 32).ok()?;
        Some(Self {
            base_ticks,
            base,
            multiplier,
            shift,
        })
    }

    /// The instant at which the counter shows `ticks`. A counter before the base reads as the base.
    #[must_use]
    pub fn instant(&self, ticks: u64) -> Instant {
        let delta = ticks.saturating_sub(self.base_ticks);
        self.base.after_ns(self.ns(delta))
    }

    /// The length of `ticks` in nanoseconds, rounded down, capped at the end of time.
    #[must_use]
    pub fn ns(&self, ticks: u64) -> u64 {
        let ticks = u128::from(ticks);
        let by = u32::from(self.shift.unsigned_abs());
        let shifted = if self.shift < 0 {
            ticks.checked_shr(by).unwrap_or(0)
        } else {
            ticks.checked_shl(by).unwrap_or(u128::MAX)
        };
        u64::try_from(shifted.saturating_mul(u128::from(self.multiplier)) >> 32).unwrap_or(u64::MAX)
    }

    /// The length of `ns` nanoseconds in ticks, rounded up, capped.
    #[must_use]
    pub fn ticks(&self, ns: u64) -> u64 {
        let by = u32::from(self.shift.unsigned_abs());
        let shifted = (u128::from(ns) << 32).div_ceil(u128::from(self.multiplier.max(1)));
        let ticks = if self.shift < 0 {
            shifted.checked_shl(by).unwrap_or(u128::MAX)
        } else {
            shifted.checked_shr(by).unwrap_or(0).saturating_add(1)
        };
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_ticks_is_a_second_at_every_common_frequency() {
        for hz in [
            1_000_000_u64,
            32_768,
            999_999_999,
            1_000_000_000,
            2_112_003_000,
            4_700_000_000,
        ] {
            let scale = TimeScale::from_hz(hz, 5, Instant::from_ns(7)).unwrap();
            let ns = scale.ns(hz);
            assert!(ns.abs_diff(1_000_000_000) <= 2, "{hz} Hz gives {ns} ns");
            let ticks = scale.ticks(1_000_000_000);
            assert!(
                ticks.abs_diff(hz) <= 2 + hz / 1_000_000_000,
                "{hz} Hz gives {ticks} ticks"
            );
        }
    }

    #[test]
    fn the_multiplier_uses_all_its_bits() {
        for hz in [1, 1_000, 1_000_000_000, 3_000_000_000, (1 << 63) - 1] {
            let scale = TimeScale::from_hz(hz, 0, Instant::ZERO).unwrap();
            assert!(scale.multiplier >> 31 == 1, "{hz} Hz: {scale:?}");
        }
    }

    #[test]
    fn no_frequency_and_no_counter_value_overflows() {
        assert_eq!(TimeScale::from_hz(0, 0, Instant::ZERO), None);
        let scale = TimeScale::from_hz(1, 0, Instant::ZERO).unwrap();
        assert_eq!(scale.ns(u64::MAX), u64::MAX);
        assert_eq!(scale.instant(u64::MAX), Instant::FAR);
    }
}
