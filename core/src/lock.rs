//! Locks with a rank. Taking one while holding one of the same or a higher rank is a bug: it can deadlock.
//!
//! The order is `vcpu < domain list < life cycle < ports < grants < handles < second stage < frames`. Builds with the
//! feature `lock-order` (the simulator, the tests) watch it and stop at the first violation; others pay nothing.
//! Two locks of one kind are taken by [`lock_pair`] alone, lowest domain first.

use core::ops::{Deref, DerefMut};

use spin::mutex::{SpinMutex, SpinMutexGuard};

/// The place of a lock in the order; a smaller rank is taken first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rank {
    /// A virtual processor: held by the loop that runs it for as long as it runs, and never waited for.
    Vcpu,
    /// The list of all domains.
    DomainList,
    /// A domain's life cycle: start, shutdown, destruction.
    LifeCycle,
    /// A vcpu's deadlines and accounts.
    VcpuState,
    /// A domain's parameters, memory map and other settings.
    Settings,
    /// A domain's event channel ports.
    Ports,
    /// A domain's grant table.
    Grants,
    /// A domain's receipts for grants of others.
    Handles,
    /// A domain's second stage.
    SecondStage,
    /// The frame allocator.
    Frames,
    /// A vcpu's letter box.
    Mail,
    /// Run queues: taken to wake a vcpu, from nearly everywhere.
    Scheduler,
    /// A vcpu's account of its time: written where its activity changes.
    Books,
    /// Console and trace output: a leaf.
    Output,
}

/// A value behind a lock of a rank.
pub struct Ranked<T> {
    rank: Rank,
    inner: SpinMutex<T>,
}

impl<T> Ranked<T> {
    /// A lock of this rank around `value`.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self {
            rank,
            inner: SpinMutex::new(value),
        }
    }

    /// Takes the lock, spinning until it is free.
    pub fn lock(&self) -> Held<'_, T> {
        let order = order::Step::taken(self.rank);
        Held {
            guard: self.inner.lock(),
            _order: order,
        }
    }
}

impl<T> Ranked<T> {
    /// Takes the lock if it is free now.
    pub fn try_lock(&self) -> Option<Held<'_, T>> {
        let order = order::Step::taken(self.rank);
        Some(Held {
            guard: self.inner.try_lock()?,
            _order: order,
        })
    }

    /// Takes the lock, and calls `pause` for as long as it is not free: for locks that are held while guests run.
    pub fn lock_patiently(&self, mut pause: impl FnMut()) -> Held<'_, T> {
        loop {
            if let Some(held) = self.try_lock() {
                return held;
            }
            pause();
        }
    }
}

/// A taken lock; dropping it releases it.
pub struct Held<'a, T> {
    guard: SpinMutexGuard<'a, T>,
    _order: order::Step,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Takes two locks of one rank, the one with the lower key first; they come back in the order of the arguments.
/// `None` when both keys are equal: then there is one lock, and the caller must treat it as one.
pub fn lock_pair<'a, T, K: Ord>(
    first: (&K, &'a Ranked<T>),
    second: (&K, &'a Ranked<T>),
) -> Option<(Held<'a, T>, Held<'a, T>)> {
    match first.0.cmp(second.0) {
        core::cmp::Ordering::Less => {
            let one = first.1.lock();
            let order = order::Step::taken_beside(second.1.rank);
            Some((
                one,
                Held {
                    guard: second.1.inner.lock(),
                    _order: order,
                },
            ))
        }
        core::cmp::Ordering::Greater => {
            let two = second.1.lock();
            let order = order::Step::taken_beside(first.1.rank);
            Some((
                Held {
                    guard: first.1.inner.lock(),
                    _order: order,
                },
                two,
            ))
        }
        core::cmp::Ordering::Equal => None,
    }
}

#[cfg(not(feature = "lock-order"))]
mod order {
    //! No watching: nothing at run time.
    use super::Rank;

    pub(super) struct Step;

    impl Step {
        pub(super) const fn taken(_rank: Rank) -> Self {
            Self
        }
        pub(super) const fn taken_beside(_rank: Rank) -> Self {
            Self
        }
    }
}

#[cfg(feature = "lock-order")]
mod order {
    //! Each thread remembers the ranks it holds.
    extern crate std;

    use super::Rank;
    use std::cell::RefCell;
    use std::vec::Vec;

    std::thread_local! {
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) struct Step(Rank);

    impl Step {
        pub(super) fn taken(rank: Rank) -> Self {
            HELD.with_borrow_mut(|held| {
                if let Some(top) = held.iter().max() {
                    assert!(*top < rank, "lock order: {rank:?} taken while {top:?} is held");
                }
                held.push(rank);
            });
            Self(rank)
        }

        pub(super) fn taken_beside(rank: Rank) -> Self {
            HELD.with_borrow_mut(|held| {
                assert!(
                    held.iter().max() == Some(&rank),
                    "lock order: a pair is taken together"
                );
                held.push(rank);
            });
            Self(rank)
        }
    }

    impl Drop for Step {
        fn drop(&mut self) {
            HELD.with_borrow_mut(|held| {
                if let Some(at) = held.iter().rposition(|rank| *rank == self.0) {
                    held.remove(at);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_one_lock_is_refused() {
        let lock = Ranked::new(Rank::Ports, 1);
        assert!(lock_pair((&1, &lock), (&1, &lock)).is_none());
    }

    #[test]
    fn a_pair_comes_back_in_the_order_asked_for() {
        let (a, b) = (Ranked::new(Rank::Ports, 'a'), Ranked::new(Rank::Ports, 'b'));
        let (x, y) = lock_pair((&2, &a), (&1, &b)).unwrap();
        assert_eq!((*x, *y), ('a', 'b'));
    }

    #[cfg(feature = "lock-order")]
    #[test]
    #[should_panic(expected = "lock order")]
    fn taking_a_lower_rank_after_a_higher_one_is_caught() {
        let (low, high) = (Ranked::new(Rank::Ports, ()), Ranked::new(Rank::Frames, ()));
        let _high = high.lock();
        let _low = low.lock();
    }
}
