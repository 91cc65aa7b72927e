//! How fast an unknown counter runs, measured against one whose frequency is known.
//!
//! What CPUID says about the TSC is not believed: emulators tell what their model's hardware would do. Pure
//! arithmetic: tested on a workstation.

/// A counter of known frequency that wraps around.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Ticks per second.
    pub hz: u64,
    /// The bits that count; above them the counter wraps.
    pub mask: u64,
}

impl Known {
    /// Ticks from `start` to `end`, at most one wrap apart.
    #[must_use]
    pub fn elapsed(&self, start: u64, end: u64) -> u64 {
        end.wrapping_sub(start) & self.mask
    }
}

/// Both counters at (nearly) one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The known counter.
    pub known: u64,
    /// The unknown counter, right before.
    pub before: u64,
    /// The unknown counter, right after.
    pub after: u64,
}

impl Sample {
    /// How far apart the two readings of the unknown counter are: the less, the better the sample.
    #[must_use]
    pub fn spread(&self) -> u64 {
        self.after.saturating_sub(self.before)
    }

    /// The unknown counter when the known one was read, as nearly as can be told.
    #[must_use]
    pub fn middle(&self) -> u64 {
        self.before.saturating_add(self.spread() / 2)
    }
}

/// The better of two samples.
#[must_use]
pub fn better(one: Sample, other: Sample) -> Sample {
    if other.spread() < one.spread() { other } else { one }
}

/// The frequency of a counter that made `ticks` while the known one made `elapsed`; `None` where nothing
/// passed or the result does not fit.
#[must_use]
pub fn frequency(known: Known, elapsed: u64, ticks: u64) -> Option<u64> {
    let product = u128::from(ticks).checked_mul(known.hz.into())?;
    // Rounded to the nearest.
    let rounded = product.checked_add(u128::from(elapsed / 2))?;
    let hz = u64::try_from(rounded.checked_div(elapsed.into())?).ok()?;
    (hz != 0).then_some(hz)
}

/// The frequency between two samples.
#[must_use]
pub fn frequency_between(known: Known, start: Sample, end: Sample) -> Option<u64> {
    let elapsed = known.elapsed(start.known, end.known);
    frequency(known, elapsed, end.middle().checked_sub(start.middle())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PM_TIMER: Known = Known {
        hz: 3_579_545,
        mask: 0xff_ffff,
    };

    fn sample(known: u64, before: u64, after: u64) -> Sample {
        Sample { known, before, after }
    }

    #[test]
    fn a_counter_of_known_speed_is_measured_right() {
        for hz in [100_000_000_u64, 1_000_000_000, 2_899_999_771, 5_000_000_000] {
            let ticks = hz / 20;
            let known = PM_TIMER.hz / 20;
            let start = sample(1000, 5_000, 5_100);
            let end = sample(1000 + known, 5_000 + ticks, 5_100 + ticks);
            let found = frequency_between(PM_TIMER, start, end).unwrap();
            assert!(found.abs_diff(hz) < hz / 100_000, "{hz} measured as {found}");
        }
    }

    #[test]
    fn a_counter_that_wraps_is_measured_all_the_same() {
        let start = sample(0xff_fff0, 0, 10);
        let end = sample(0x10, 3200, 3210);
        assert_eq!(PM_TIMER.elapsed(start.known, end.known), 0x20);
        assert_eq!(frequency_between(PM_TIMER, start, end), Some(357_954_500));
    }

    #[test]
    fn the_sample_with_the_closer_readings_wins() {
        let (near, far) = (sample(1, 10, 12), sample(2, 20, 50));
        assert_eq!(better(near, far), near);
        assert_eq!(better(far, near), near);
        assert_eq!(near.middle(), 11);
    }

    #[test]
    fn no_time_no_ticks_and_backward_counters_have_no_frequency() {
        let still = sample(5, 5, 5);
        assert_eq!(frequency_between(PM_TIMER, still, still), None);
        assert_eq!(
            frequency_between(PM_TIMER, sample(0, 9, 9), sample(5, 9, 9)),
            None
        );
        assert_eq!(
            frequency_between(PM_TIMER, sample(0, 9, 9), sample(5, 1, 1)),
            None
        );
        assert_eq!(frequency(PM_TIMER, 1, u64::MAX), None);
    }
}
