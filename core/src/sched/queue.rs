//! What there is once for each pcpu: who waits for it, who runs on it, whose alarms it looks after, and whether it must be
//! kicked to notice.
//!
//! The locks are taken one at a time, and never with that of another pcpu. What is published beside them is a hint, but
//! for [`Queue::idle`] and [`Queue::away`]: whoever changes something first changes it and then asks for them, and the
//! pcpu first says them and then looks once more.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::lookout::Pulse;
use super::{Alarms, Claim, PcpuSet, Scheduler, Sleeper};
use crate::clock::Instant;
use crate::lock::{Rank, Ranked};

/// Nobody waits.
pub(super) const NOBODY: u64 = u64::MAX;

/// One pcpu's. On cache lines of its own.
#[repr(align(128))]
pub(super) struct Queue {
    pub waiting: Ranked<Waiting>,
    alarms: Ranked<Alarms>,
    /// The rank of the first that waits; [`NOBODY`] if none does.
    first: AtomicU64,
    /// When somebody who waits may run at last.
    ripe: AtomicU64,
    /// When the next alarm is due.
    next_alarm: AtomicU64,
    /// When the one that runs must let others.
    give_way: AtomicU64,
    /// The pcpu sleeps, or is about to, and nobody has woken it yet.
    pub idle: AtomicBool,
    /// The pcpu is in a guest or asleep: it looks at nothing before it is kicked or its time has come.
    pub away: AtomicBool,
    /// The pcpus of its pool.
    pub pool: PcpuSet,
    /// Whether vcpus may come from other pcpus and go there.
    pub moves: bool,
    /// How much sooner the first of another pcpu must be to be taken from there.
    pub margin_ns: u64,
    /// Whether the pcpu goes on.
    pub pulse: Pulse,
    /// How many vcpus have their home here.
    pub homes: AtomicU32,
}

/// Behind the lock.
pub(super) struct Waiting {
    pub scheduler: Box<dyn Scheduler>,
    /// Who runs, and since when.
    pub running: Option<(Claim, Instant)>,
    /// When the turn before ended, if the pcpu has not slept since.
    pub free_since: Option<Instant>,
}

impl Queue {
    pub(super) fn new(scheduler: Box<dyn Scheduler>, pool: PcpuSet) -> Self {
        let (moves, margin_ns) = (scheduler.moves(), scheduler.margin_ns());
        let waiting = Waiting {
            scheduler,
            running: None,
            free_since: None,
        };
        Self {
            waiting: Ranked::new(Rank::Scheduler, waiting),
            alarms: Ranked::new(Rank::Scheduler, Alarms::new()),
            first: AtomicU64::new(NOBODY),
            ripe: AtomicU64::new(u64::MAX),
            next_alarm: AtomicU64::new(u64::MAX),
            give_way: AtomicU64::new(u64::MAX),
            idle: AtomicBool::new(false),
            away: AtomicBool::new(false),
            pool,
            moves,
            margin_ns,
            pulse: Pulse::default(),
            homes: AtomicU32::new(0),
        }
    }

    /// Changes who waits, and tells the others who is first now.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Waiting) -> R) -> R {
        let mut waiting = self.waiting.lock();
        let result = change(&mut waiting);
        let first = waiting.scheduler.first();
        let ripe = waiting.scheduler.ripe().map_or(u64::MAX, Instant::as_ns);
        self.first.store(first.unwrap_or(NOBODY), Ordering::SeqCst);
        self.ripe.store(ripe, Ordering::SeqCst);
        result
    }

    /// Changes alarms. Whether the pcpu must be kicked, so that it does not sleep past the first.
    pub(super) fn change_alarms<R>(&self, change: impl FnOnce(&mut Alarms) -> R) -> (R, bool) {
        let mut alarms = self.alarms.lock();
        let result = change(&mut alarms);
        let next = alarms.next().as_ns();
        let before = self.next_alarm.swap(next, Ordering::SeqCst);
        (result, next < before && self.away.load(Ordering::SeqCst))
    }

    pub(super) fn due(&self, now: Instant) -> Option<Sleeper> {
        if self.next_alarm() > now {
            return None;
        }
        self.change_alarms(|alarms| alarms.due(now)).0
    }

    pub(super) fn next_alarm(&self) -> Instant {
        Instant::from_ns(self.next_alarm.load(Ordering::SeqCst))
    }

    pub(super) fn first(&self) -> u64 {
        self.first.load(Ordering::SeqCst)
    }

    pub(super) fn ripe(&self) -> Instant {
        Instant::from_ns(self.ripe.load(Ordering::SeqCst))
    }

    pub(super) fn give_way(&self) -> Instant {
        Instant::from_ns(self.give_way.load(Ordering::SeqCst))
    }

    pub(super) fn nobody_gives_way(&self) {
        self.give_way.store(u64::MAX, Ordering::SeqCst);
    }

    /// Whether the pcpu sleeps and nobody has woken it yet: then the caller does, and nobody else, who finds another.
    pub(super) fn rouse(&self) -> bool {
        self.idle.load(Ordering::SeqCst) && self.idle.swap(false, Ordering::SeqCst)
    }

    /// The one that runs gives way then. Whether the pcpu must be kicked for that.
    pub(super) fn set_give_way(&self, when: Instant) -> bool {
        let before = self.give_way.fetch_min(when.as_ns(), Ordering::SeqCst);
        when.as_ns() < before && self.away.load(Ordering::SeqCst)
    }
}
