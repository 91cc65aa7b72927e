//! Whether a vcpu runs, can run, waits, or is off: one atomic word, so that a wake-up needs no lock.
//!
//! ```text
//!            start            next             sleep
//!   Offline ──────> Runnable ──────> Running ────────> Blocked
//!      ^               ^  ^             │                 │
//!      │               │  └─────────────┘ requeue         │
//!      │               └──────────────────────────────────┘ wake
//!      └── stop, from any
//! ```

use core::sync::atomic::{AtomicU64, Ordering};

use crate::number::PcpuId;

/// What a vcpu is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// Off: not started yet, or stopped.
    Offline,
    /// It waits for something.
    Blocked,
    /// It is on a queue.
    Runnable,
    /// It runs on this pcpu (in the guest, or in the hypervisor on its behalf).
    Running(PcpuId),
}

/// An [`Activity`] that any processor may change.
#[derive(Debug, Default)]
pub struct ActivityCell(AtomicU64);

const OFFLINE: u64 = 0;
const BLOCKED: u64 = 1;
const RUNNABLE: u64 = 2;
const RUNNING: u64 = 3;

impl ActivityCell {
    /// What it is doing now.
    #[must_use]
    pub fn get(&self) -> Activity {
        Self::decode(self.0.load(Ordering::SeqCst))
    }

    fn decode(word: u64) -> Activity {
        match word & 3 {
            OFFLINE => Activity::Offline,
            BLOCKED => Activity::Blocked,
            RUNNABLE => Activity::Runnable,
            _ => Activity::Running(PcpuId::new(u32::try_from(word >> 2).unwrap_or(u32::MAX))),
        }
    }

    fn change(&self, from: u64, to: u64) -> Result<(), Activity> {
        self.0
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .map(|_| ())
            .map_err(Self::decode)
    }

    /// Off → runnable. `true` if it was off: the caller puts it on a queue.
    pub fn start(&self) -> bool {
        self.change(OFFLINE, RUNNABLE).is_ok()
    }

    /// Blocked → runnable. What it was doing *before*: only who sees [`Activity::Blocked`] puts it on a queue.
    pub fn wake(&self) -> Activity {
        match self.change(BLOCKED, RUNNABLE) {
            Ok(()) => Activity::Blocked,
            Err(other) => other,
        }
    }

    /// Runnable → running here. `false` if it was stopped meanwhile.
    pub fn run(&self, pcpu: PcpuId) -> bool {
        self.change(RUNNABLE, RUNNING | u64::from(pcpu.raw()) << 2)
            .is_ok()
    }

    /// Running → runnable. `false` if it was stopped meanwhile.
    pub fn requeue(&self) -> bool {
        self.leave(RUNNABLE)
    }

    /// Running → blocked. `false` if it was stopped meanwhile.
    pub fn sleep(&self) -> bool {
        self.leave(BLOCKED)
    }

    fn leave(&self, to: u64) -> bool {
        let word = self.0.load(Ordering::SeqCst);
        word & 3 == RUNNING && self.change(word, to).is_ok()
    }

    /// Off, from whatever it was doing; what that was.
    pub fn stop(&self) -> Activity {
        Self::decode(self.0.swap(OFFLINE, Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: PcpuId = PcpuId::new(5);

    #[test]
    fn only_the_first_of_two_wake_ups_puts_it_on_a_queue() {
        let cell = ActivityCell::default();
        assert!(cell.start() && cell.run(HERE) && cell.sleep());
        assert_eq!(cell.wake(), Activity::Blocked);
        assert_eq!(cell.wake(), Activity::Runnable);
    }

    #[test]
    fn a_running_vcpu_is_found_where_it_runs() {
        let cell = ActivityCell::default();
        assert!(cell.start() && cell.run(HERE));
        assert_eq!(cell.wake(), Activity::Running(HERE));
    }

    #[test]
    fn a_stopped_vcpu_neither_sleeps_nor_runs() {
        let cell = ActivityCell::default();
        assert!(cell.start() && cell.run(HERE));
        assert_eq!(cell.stop(), Activity::Running(HERE));
        assert!(!cell.sleep() && !cell.requeue() && !cell.run(HERE));
        assert_eq!(cell.wake(), Activity::Offline);
    }
}
