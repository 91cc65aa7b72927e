//! A vcpu's deadlines in system time: the one-shot timer, the periodic timer, and the end of a poll.
//!
//! Public header `vcpu.h`, `VCPUOP_set_singleshot_timer` and `VCPUOP_set_periodic_timer`. Both raise `VIRQ_TIMER`.

use crate::clock::Instant;

/// The deadlines of one vcpu.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timers {
    /// When the one-shot timer fires.
    pub singleshot: Option<Instant>,
    periodic: Option<Periodic>,
    /// When a poll gives up.
    pub poll: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Periodic {
    next: Instant,
    period_ns: u64,
}

/// What fired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fired {
    /// A timer interrupt is due.
    pub timer: bool,
    /// The poll has timed out.
    pub poll: bool,
}

impl Timers {
    /// The shortest period there is: anything shorter could keep a processor busy.
    pub const SHORTEST_PERIOD_NS: u64 = 1_000_000;
    /// The longest period: with it, no sum of times overflows (Xen's `STIME_DELTA_MAX`).
    pub const LONGEST_PERIOD_NS: u64 = u64::MAX >> 2;

    /// Starts the periodic timer. The period must not be shorter than [`Timers::SHORTEST_PERIOD_NS`].
    pub fn start_periodic(&mut self, now: Instant, period_ns: u64) {
        let period_ns = period_ns.max(Self::SHORTEST_PERIOD_NS);
        self.periodic = Some(Periodic {
            next: now.after_ns(period_ns),
            period_ns,
        });
    }

    /// Stops the periodic timer.
    pub fn stop_periodic(&mut self) {
        self.periodic = None;
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        [self.singleshot, self.periodic.map(|p| p.next), self.poll]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes out what is due. Periods that were missed are made up for by one interrupt.
    pub fn fire(&mut self, now: Instant) -> Fired {
        let mut fired = Fired::default();
        if self.singleshot.is_some_and(|when| when <= now) {
            self.singleshot = None;
            fired.timer = true;
        }
        if let Some(periodic) = &mut self.periodic
            && periodic.next <= now
        {
            let missed = now.ns_since(periodic.next) / periodic.period_ns;
            let ahead = periodic.period_ns.saturating_mul(missed.saturating_add(1));
            periodic.next = periodic.next.after_ns(ahead);
            fired.timer = true;
        }
        if self.poll.is_some_and(|when| when <= now) {
            self.poll = None;
            fired.poll = true;
        }
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Instant {
        Instant::from_ns(ns)
    }

    #[test]
    fn a_one_shot_timer_fires_once() {
        let mut timers = Timers {
            singleshot: Some(at(10)),
            ..Timers::default()
        };
        assert!(!timers.fire(at(9)).timer);
        assert!(timers.fire(at(10)).timer);
        assert!(!timers.fire(at(11)).timer);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_periodic_timer_keeps_its_beat_and_makes_up_for_missed_ones_once() {
        let mut timers = Timers::default();
        timers.start_periodic(at(0), 2_000_000);
        assert_eq!(timers.next(), Some(at(2_000_000)));
        assert!(timers.fire(at(9_000_000)).timer);
        assert_eq!(timers.next(), Some(at(10_000_000)));
    }

    #[test]
    fn no_period_keeps_the_processor_busy_and_none_overflows() {
        let mut timers = Timers::default();
        timers.start_periodic(at(0), 0);
        assert_eq!(timers.next(), Some(at(Timers::SHORTEST_PERIOD_NS)));
        timers.start_periodic(at(u64::MAX), u64::MAX);
        assert!(timers.fire(Instant::FAR).timer);
    }
}
