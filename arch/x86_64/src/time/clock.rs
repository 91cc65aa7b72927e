//! The machine's one clock: the TSC, in nanoseconds since it was calibrated.

use spin::Once;
use xenvisor_core::clock::{Instant, TimeScale};

use super::calibrate::{Known, frequency, frequency_between};
use super::reference::{Reference, tsc};

/// For how long the TSC is watched, as a fraction of a second: 1/20 is 50 ms.
const WATCH: u64 = 20;

static SCALE: Once<TimeScale> = Once::new();

/// The TSC has no usable frequency (it stands still, or the reference does).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoFrequency;

/// Measures the TSC against `reference`, and another counter alongside (that counts down, as the local APIC's
/// timer does); starts the clock. Gives both frequencies.
pub(crate) fn calibrate(
    reference: Reference,
    countdown: impl Fn() -> u32,
) -> Result<(u64, Option<u64>), NoFrequency> {
    let known = reference.known();
    // The other counter is read next to the TSC, and measured against that.
    let both = || (tsc(), countdown());
    let start = reference.sample();
    let (tsc_start, count_start) = both();
    // A reference that stands still must not hold the machine up: the TSC bounds the wait.
    const PATIENCE_TICKS: u64 = 20_000_000_000;
    while known.elapsed(start.known, reference.read()) < known.hz / WATCH {
        if tsc().wrapping_sub(start.after) > PATIENCE_TICKS {
            return Err(NoFrequency);
        }
        core::hint::spin_loop();
    }
    let (tsc_end, count_end) = both();
    let end = reference.sample();
    let hz = frequency_between(known, start, end).ok_or(NoFrequency)?;
    let ticks = u64::from(count_start.saturating_sub(count_end));
    let this = Known { hz, mask: u64::MAX };
    let other = frequency(this, this.elapsed(tsc_start, tsc_end), ticks);
    let scale = TimeScale::from_hz(hz, tsc(), Instant::ZERO).ok_or(NoFrequency)?;
    SCALE.call_once(|| scale);
    Ok((hz, other))
}

/// How the TSC turns into time. `None` before it was calibrated.
#[must_use]
pub fn scale() -> Option<TimeScale> {
    SCALE.get().copied()
}

/// The time now; the beginning of the clock before it was calibrated.
#[must_use]
pub fn now() -> Instant {
    scale().map_or(Instant::ZERO, |scale| scale.instant(tsc()))
}

/// The time now in microseconds: what log lines carry.
pub(crate) fn microseconds() -> u64 {
    now().as_ns() / 1000
}
