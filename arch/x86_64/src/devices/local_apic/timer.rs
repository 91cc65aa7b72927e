//! The timer of a local APIC: a countdown from which the current count is computed, never stored.
//!
//! Invariant: an armed timer is one instant (`zero_at`) at which the count reaches zero; a periodic timer
//! moves it on by whole periods, and periods missed while the vcpu did not run become one interrupt.
//! SDM vol. 3 §10.5.4.

use xenvisor_core::clock::{Instant, TimeScale};

/// One bus cycle of the virtual APIC: 100 MHz, as Xen's.
pub const BUS_CYCLE_NS: u64 = 10;

/// A periodic timer interrupts no more often than this, whatever it is programmed to: below, a guest would
/// only fill its own time with exits.
const PERIOD_FLOOR_NS: u64 = 100_000;

/// How the timer counts (LVT bits 18:17).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Down to zero once.
    OneShot,
    /// Again and again.
    Periodic,
    /// To a value of the TSC.
    TscDeadline,
    /// The reserved encoding: counts nothing.
    Reserved,
}

impl Mode {
    /// The mode in a timer LVT.
    #[must_use]
    pub const fn of(lvt: u32) -> Self {
        match (lvt >> 17) & 3 {
            0 => Self::OneShot,
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::Reserved,
        }
    }

    const fn counts(self) -> bool {
        matches!(self, Self::OneShot | Self::Periodic)
    }
}

/// The countdown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timer {
    initial: u32,
    /// The divide configuration register as written: bits 0, 1 and 3.
    divide: u32,
    deadline_ticks: u64,
    zero_at: Option<Instant>,
    fired: Option<Instant>,
}

impl Timer {
    /// A timer after reset: stopped, dividing by 2.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            initial: 0,
            divide: 0,
            deadline_ticks: 0,
            zero_at: None,
            fired: None,
        }
    }

    /// The initial count register.
    #[must_use]
    pub const fn initial(&self) -> u32 {
        self.initial
    }

    /// The divide configuration register.
    #[must_use]
    pub const fn divide(&self) -> u32 {
        self.divide
    }

    /// The current count register.
    #[must_use]
    pub fn count(&self, mode: Mode, now: Instant) -> u32 {
        let Some(zero_at) = self.zero_at.filter(|_| mode.counts()) else {
            return 0;
        };
        let mut left = zero_at.ns_since(now);
        if left == 0 && mode == Mode::Periodic {
            let over = now.ns_since(zero_at).checked_rem(self.period_ns()).unwrap_or(0);
            left = self.period_ns().saturating_sub(over);
        }
        u32::try_from(left.div_ceil(self.count_ns())).unwrap_or(u32::MAX)
    }

    /// Writes the initial count: starts the countdown, or stops it with 0. In TSC-deadline mode it is ignored.
    pub fn start(&mut self, mode: Mode, count: u32, now: Instant) {
        if !mode.counts() {
            return;
        }
        self.initial = count;
        self.fired = None;
        self.zero_at = (count != 0).then(|| now.after_ns(self.period_ns()));
    }

    /// Writes the divide configuration; a running countdown goes on from its current count.
    pub fn set_divide(&mut self, mode: Mode, divide: u32, now: Instant) {
        let count = self.count(mode, now);
        self.divide = divide & 0xb;
        if self.zero_at.is_some() && mode.counts() {
            self.zero_at = Some(now.after_ns(u64::from(count).saturating_mul(self.count_ns())));
        }
    }

    /// Tells of a write to the LVT: going to or from TSC-deadline mode disarms the timer.
    pub fn set_mode(&mut self, old: Mode, new: Mode) {
        if old != new && !(old.counts() && new.counts()) {
            *self = Self {
                divide: self.divide,
                ..Self::new()
            };
        }
    }

    /// The TSC-deadline MSR: 0 once the deadline has passed, and outside that mode.
    #[must_use]
    pub fn tsc_deadline(&self, mode: Mode, now: Instant) -> u64 {
        match self.zero_at {
            Some(zero_at) if mode == Mode::TscDeadline && now < zero_at => self.deadline_ticks,
            _ => 0,
        }
    }

    /// Writes the TSC-deadline MSR: 0 disarms. `scale` is that of the guest's TSC. Ignored in other modes.
    pub fn set_tsc_deadline(&mut self, mode: Mode, ticks: u64, scale: &TimeScale) {
        if mode != Mode::TscDeadline {
            return;
        }
        self.deadline_ticks = ticks;
        // The scale rounds down; a nanosecond more, and the guest never sees a TSC short of its deadline.
        self.zero_at = (ticks != 0).then(|| scale.instant(ticks).after_ns(1));
    }

    /// When [`Timer::expire`] will next have something to say.
    #[must_use]
    pub fn next_deadline(&self, mode: Mode) -> Option<Instant> {
        let zero_at = self.zero_at?;
        match self.fired {
            Some(fired) if mode == Mode::Periodic => Some(zero_at.max(fired.after_ns(PERIOD_FLOOR_NS))),
            _ => Some(zero_at),
        }
    }

    /// Moves to `now`; says whether the count has reached zero since it was last asked.
    pub fn expire(&mut self, mode: Mode, now: Instant) -> bool {
        let due = self.next_deadline(mode).is_some_and(|deadline| now >= deadline);
        let Some(zero_at) = self.zero_at.filter(|_| due) else {
            return false;
        };
        self.zero_at = match mode {
            Mode::Periodic => {
                let period = self.period_ns();
                let over = now.ns_since(zero_at).checked_rem(period).unwrap_or(0);
                Some(now.after_ns(period.saturating_sub(over)))
            }
            _ => None,
        };
        self.fired = Some(now);
        self.deadline_ticks = 0;
        true
    }

    /// The length of one count.
    fn count_ns(&self) -> u64 {
        let code = (self.divide & 3) | ((self.divide >> 1) & 4);
        BUS_CYCLE_NS << (code.wrapping_add(1) & 7)
    }

    fn period_ns(&self) -> u64 {
        u64::from(self.initial).saturating_mul(self.count_ns())
    }
}

impl Default for Timer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ns: u64) -> Instant {
        Instant::from_ns(ns)
    }

    #[test]
    fn each_divisor_is_the_one_of_the_manual() {
        let by = [
            (0x0, 2),
            (0x1, 4),
            (0x2, 8),
            (0x3, 16),
            (0x8, 32),
            (0x9, 64),
            (0xa, 128),
            (0xb, 1),
        ];
        for (code, divisor) in by {
            let mut timer = Timer::new();
            timer.set_divide(Mode::OneShot, code, at(0));
            timer.start(Mode::OneShot, 1000, at(5));
            assert_eq!(
                timer.next_deadline(Mode::OneShot),
                Some(at(5 + 1000 * divisor * 10)),
                "{code:#x}"
            );
        }
    }

    #[test]
    fn a_one_shot_counts_down_and_fires_once() {
        let mut timer = Timer::new();
        timer.set_divide(Mode::OneShot, 0xb, at(0));
        timer.start(Mode::OneShot, 100, at(1000));
        assert_eq!(timer.count(Mode::OneShot, at(1000)), 100);
        assert_eq!(timer.count(Mode::OneShot, at(1991)), 1);
        assert!(!timer.expire(Mode::OneShot, at(1999)));
        assert!(timer.expire(Mode::OneShot, at(2000)));
        assert!(!timer.expire(Mode::OneShot, at(9000)));
        assert_eq!((timer.count(Mode::OneShot, at(9000)), timer.initial()), (0, 100));
        assert_eq!(timer.next_deadline(Mode::OneShot), None);
    }

    #[test]
    fn a_periodic_timer_keeps_its_grid_and_merges_what_was_missed() {
        let mut timer = Timer::new();
        timer.start(Mode::Periodic, 50_000, at(0));
        assert!(timer.expire(Mode::Periodic, at(1_000_000)));
        assert_eq!(timer.next_deadline(Mode::Periodic), Some(at(2_000_000)));
        assert!(timer.expire(Mode::Periodic, at(5_500_000)));
        assert!(!timer.expire(Mode::Periodic, at(5_999_999)));
        assert_eq!(timer.next_deadline(Mode::Periodic), Some(at(6_000_000)));
        assert_eq!(timer.count(Mode::Periodic, at(5_500_000)), 25_000);
        assert_eq!(timer.count(Mode::Periodic, at(6_500_000)), 25_000);
    }

    #[test]
    fn a_tiny_period_cannot_fill_time_with_interrupts() {
        let mut timer = Timer::new();
        timer.start(Mode::Periodic, 1, at(0));
        let mut now = 0;
        let mut fired = 0_u32;
        while now < 1_000_000 {
            fired += u32::from(timer.expire(Mode::Periodic, at(now)));
            now += 20;
        }
        assert!(fired <= 11, "{fired} interrupts in a millisecond");
    }

    #[test]
    fn a_new_divisor_goes_on_from_the_count() {
        let mut timer = Timer::new();
        timer.set_divide(Mode::OneShot, 0xb, at(0));
        timer.start(Mode::OneShot, 100, at(0));
        timer.set_divide(Mode::OneShot, 0x0, at(400));
        assert_eq!(timer.count(Mode::OneShot, at(400)), 60);
        assert_eq!(timer.next_deadline(Mode::OneShot), Some(at(400 + 60 * 20)));
    }

    #[test]
    fn a_tsc_deadline_is_kept_to_the_tick_and_then_reads_zero() {
        let scale = TimeScale::from_hz(3_000_000_000, 0, at(0)).unwrap();
        let mut timer = Timer::new();
        timer.set_tsc_deadline(Mode::OneShot, 3000, &scale);
        assert_eq!(timer.next_deadline(Mode::OneShot), None);
        timer.set_tsc_deadline(Mode::TscDeadline, 3000, &scale);
        let deadline = timer.next_deadline(Mode::TscDeadline).unwrap();
        assert!((1000..=1001).contains(&deadline.as_ns()));
        assert_eq!(timer.tsc_deadline(Mode::TscDeadline, at(999)), 3000);
        assert!(timer.expire(Mode::TscDeadline, deadline));
        assert_eq!(timer.tsc_deadline(Mode::TscDeadline, deadline), 0);
        timer.set_tsc_deadline(Mode::TscDeadline, 9000, &scale);
        timer.set_mode(Mode::TscDeadline, Mode::OneShot);
        assert_eq!(timer.next_deadline(Mode::OneShot), None);
    }

    #[test]
    fn no_count_and_no_instant_overflows() {
        let scale = TimeScale::from_hz(1, 0, at(0)).unwrap();
        let mut timer = Timer::new();
        timer.set_divide(Mode::Periodic, 0xa, at(0));
        timer.start(Mode::Periodic, u32::MAX, Instant::FAR);
        assert!(timer.expire(Mode::Periodic, Instant::FAR));
        let _ = timer.count(Mode::Periodic, Instant::FAR);
        timer.set_mode(Mode::Periodic, Mode::TscDeadline);
        timer.set_tsc_deadline(Mode::TscDeadline, u64::MAX, &scale);
        assert!(!timer.expire(Mode::TscDeadline, at(7)));
    }
}
