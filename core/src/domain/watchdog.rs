//! Watchdogs: a guest that does not wind one up in time is ended, for whoever starts it anew.
//!
//! A domain has two. One that is in use has a deadline; it is in use until the guest stops it, so that one that has
//! gone off can be wound up again in a domain that lives on. Public header `sched.h`, `SCHEDOP_watchdog`.
//! Lock: of the rank of settings. The alarm that looks at the deadlines is the run queues'.

use crate::clock::Instant;

/// How many a domain has (Xen's `NR_DOMAIN_WATCHDOG_TIMERS`).
pub const COUNT: usize = 2;

/// The watchdogs of one domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watchdogs([Watchdog; COUNT]);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Watchdog {
    #[default]
    Free,
    Wound(Instant),
    /// It has gone off, and is still in use.
    GoneOff,
}

/// Why nothing was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchdogError {
    /// All are in use.
    NoneFree,
    /// There is no such watchdog, or it is not in use.
    NotInUse,
}

impl Watchdogs {
    /// Takes one into use; its number, counted from 1.
    ///
    /// # Errors
    /// When all are in use.
    pub fn start(&mut self, deadline: Instant) -> Result<u32, WatchdogError> {
        let free = (1..)
            .zip(self.0.iter_mut())
            .find(|(_, one)| **one == Watchdog::Free);
        let (number, one) = free.ok_or(WatchdogError::NoneFree)?;
        *one = Watchdog::Wound(deadline);
        Ok(number)
    }

    /// Winds one up anew, or stops it and lets it be taken into use again.
    ///
    /// # Errors
    /// When it is not in use.
    pub fn set(&mut self, number: u32, deadline: Option<Instant>) -> Result<(), WatchdogError> {
        let place = number
            .checked_sub(1)
            .and_then(|place| usize::try_from(place).ok());
        let one = place.and_then(|place| self.0.get_mut(place));
        let one = one
            .filter(|one| **one != Watchdog::Free)
            .ok_or(WatchdogError::NotInUse)?;
        *one = deadline.map_or(Watchdog::Free, Watchdog::Wound);
        Ok(())
    }

    /// When the next one goes off.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let deadline = |one: &Watchdog| match one {
            Watchdog::Wound(deadline) => Some(*deadline),
            Watchdog::Free | Watchdog::GoneOff => None,
        };
        self.0.iter().filter_map(deadline).min()
    }

    /// Lets those go off that are due. Whether there was one.
    pub fn fire(&mut self, now: Instant) -> bool {
        let mut fired = false;
        for one in &mut self.0 {
            if matches!(one, Watchdog::Wound(deadline) if *deadline <= now) {
                *one = Watchdog::GoneOff;
                fired = true;
            }
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
    fn a_domain_has_two_and_a_stopped_one_is_free_again() {
        let mut dogs = Watchdogs::default();
        assert_eq!(dogs.start(at(10)), Ok(1));
        assert_eq!(dogs.start(at(20)), Ok(2));
        assert_eq!(dogs.start(at(30)), Err(WatchdogError::NoneFree));
        assert_eq!(dogs.set(1, None), Ok(()));
        assert_eq!(dogs.set(1, None), Err(WatchdogError::NotInUse));
        assert_eq!(dogs.next(), Some(at(20)));
        assert_eq!(dogs.start(at(30)), Ok(1));
    }

    #[test]
    fn one_that_is_wound_up_in_time_does_not_go_off() {
        let mut dogs = Watchdogs::default();
        dogs.start(at(10)).unwrap();
        dogs.set(1, Some(at(20))).unwrap();
        assert!(!dogs.fire(at(19)));
        assert!(dogs.fire(at(20)));
        assert!(!dogs.fire(at(21)), "it goes off once");
        assert_eq!(dogs.set(1, Some(at(40))), Ok(()), "and is still in use");
    }

    #[test]
    fn there_is_no_watchdog_of_another_number() {
        let mut dogs = Watchdogs::default();
        for number in [0, 3, u32::MAX] {
            assert_eq!(dogs.set(number, None), Err(WatchdogError::NotInUse));
        }
    }
}
