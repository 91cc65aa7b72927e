//! How long a vcpu has been running, runnable, blocked and offline: what guests call steal time comes from here.
//!
//! Public header `vcpu.h`, `struct vcpu_runstate_info`.

use crate::clock::Instant;

/// The states that are counted, with Xen's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// On a processor.
    Running,
    /// Waiting for a processor.
    Runnable,
    /// Waiting for something else.
    Blocked,
    /// Off.
    Offline,
}

impl State {
    /// Xen's number (`RUNSTATE_*`).
    #[must_use]
    pub const fn raw(self) -> u32 {
        match self {
            Self::Running => 0,
            Self::Runnable => 1,
            Self::Blocked => 2,
            Self::Offline => 3,
        }
    }
}

/// The account of one vcpu.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Runstate {
    /// The state now.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Nanoseconds spent in each state, up to `since`, by Xen's numbers.
    pub spent_ns: [u64; 4],
}

impl Runstate {
    /// A vcpu that is off, from now on.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            state: State::Offline,
            since: now,
            spent_ns: [0; 4],
        }
    }

    /// The vcpu changes state.
    pub fn enter(&mut self, state: State, now: Instant) {
        *self = Self {
            state,
            ..self.at(now)
        };
    }

    /// The account as it stands at `now`: time in the present state included.
    #[must_use]
    pub fn at(&self, now: Instant) -> Self {
        let mut account = *self;
        if let Some(spent) = account.spent_ns.get_mut(self.state.raw() as usize) {
            *spent = spent.saturating_add(now.ns_since(self.since));
        }
        account.since = now.max(self.since);
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_all_states_add_up_to_all_time() {
        let mut account = Runstate::new(Instant::from_ns(100));
        for (n, state) in [State::Runnable, State::Running, State::Blocked, State::Running]
            .into_iter()
            .enumerate()
        {
            account.enter(state, Instant::from_ns(100 + 10 * (n as u64 + 1)));
        }
        let account = account.at(Instant::from_ns(1_000));
        assert_eq!(account.spent_ns, [10 + 860, 10, 10, 10]);
        assert_eq!(account.spent_ns.iter().sum::<u64>(), 900);
    }
}
