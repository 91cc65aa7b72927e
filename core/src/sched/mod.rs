//! Who runs next, and who is woken when.
//!
//! A [`Scheduler`] orders the vcpus that can run; [`Alarms`] remembers when each vcpu that sleeps wants to wake.
//! [`RunQueues`] puts both behind one door that any part of the hypervisor may knock at.
//!
//! No wake-up is lost: a waker first leaves what it has to say in the vcpu's [`Mail`](crate::vcpu::mail::Mail), then
//! calls [`RunQueues::wake`]; a vcpu that goes to sleep first says that it sleeps, then looks into its mail once more.

mod alarms;
mod round_robin;

pub use alarms::{Alarms, Sleeper};
pub use round_robin::RoundRobin;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Instant;
use crate::lock::{Rank, Ranked};
use crate::machine::Machine;
use crate::number::{DomainId, PcpuId, VcpuId};
use crate::vcpu::{Activity, Vcpu};

/// The name of a vcpu among all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VcpuKey {
    /// Its domain.
    pub domain: DomainId,
    /// Its number there.
    pub vcpu: VcpuId,
}

/// There was no memory to know one more vcpu.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

/// Orders the vcpus that can run.
pub trait Scheduler: Send {
    /// There is a vcpu more, not runnable yet. Takes all the memory that it will ever need for it.
    ///
    /// # Errors
    /// When there is no memory; then nothing has changed.
    fn add(&mut self, key: VcpuKey) -> Result<(), OutOfMemory>;

    /// The vcpu is no more.
    fn remove(&mut self, key: VcpuKey);

    /// The vcpu can run now; it is not on a queue.
    fn wake(&mut self, key: VcpuKey);

    /// The next vcpu for this pcpu, taken off its queue, and how long it may run in one go.
    fn next(&mut self, pcpu: PcpuId) -> Option<(VcpuKey, Slice)>;

    /// Whether a vcpu waits that this pcpu could run.
    fn others_wait(&self, pcpu: PcpuId) -> bool;
}

/// How long a vcpu may run before others get their turn, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Slice {
    /// Nanoseconds.
    pub ns: u64,
}

/// The queues behind one door.
pub struct RunQueues {
    machine: Arc<dyn Machine>,
    /// A domain has ended: whoever runs the loop looks at all of them.
    attention: AtomicBool,
    inner: Ranked<Inner>,
}

struct Inner {
    scheduler: Box<dyn Scheduler>,
    alarms: Alarms,
}

impl RunQueues {
    /// Queues ordered by `scheduler`.
    pub fn new(machine: Arc<dyn Machine>, scheduler: Box<dyn Scheduler>) -> Self {
        Self {
            machine,
            attention: AtomicBool::new(false),
            inner: Ranked::new(
                Rank::Scheduler,
                Inner {
                    scheduler,
                    alarms: Alarms::new(),
                },
            ),
        }
    }

    /// There is a vcpu more.
    ///
    /// # Errors
    /// When there is no memory for it; then nothing has changed.
    pub fn add(&self, key: VcpuKey) -> Result<(), OutOfMemory> {
        let mut inner = self.inner.lock();
        inner.alarms.add(Sleeper::Vcpu(key))?;
        let added = inner.scheduler.add(key);
        if added.is_err() {
            inner.alarms.remove(Sleeper::Vcpu(key));
        }
        added
    }

    /// There is a domain more, with watchdogs.
    ///
    /// # Errors
    /// When there is no memory for it; then nothing has changed.
    pub fn add_watchdogs(&self, domain: DomainId) -> Result<(), OutOfMemory> {
        self.inner.lock().alarms.add(Sleeper::Watchdogs(domain))
    }

    /// The domain is no more.
    pub fn remove_watchdogs(&self, domain: DomainId) {
        self.inner.lock().alarms.remove(Sleeper::Watchdogs(domain));
    }

    /// The vcpu is no more.
    pub fn remove(&self, key: VcpuKey) {
        let mut inner = self.inner.lock();
        inner.alarms.remove(Sleeper::Vcpu(key));
        inner.scheduler.remove(key);
    }

    /// The vcpu has something to look at. Harmless at any time, from anywhere.
    pub fn wake(&self, vcpu: &Vcpu) {
        match vcpu.activity.wake() {
            Activity::Blocked => self.enqueue(vcpu),
            Activity::Running(pcpu) => self.machine.kick(pcpu),
            Activity::Runnable | Activity::Offline => {}
        }
    }

    /// The vcpu has had its turn and wants another.
    pub fn requeue(&self, vcpu: &Vcpu) {
        if vcpu.activity.requeue() {
            self.enqueue(vcpu);
        }
    }

    /// Queues a vcpu that has just become runnable.
    pub fn enqueue(&self, vcpu: &Vcpu) {
        self.inner.lock().scheduler.wake(vcpu.key);
    }

    /// Something ended that the loop's owner should look at.
    pub fn call_for_attention(&self) {
        self.attention.store(true, Ordering::Release);
    }

    /// Whether attention was called for since this was last asked.
    #[must_use]
    pub fn takes_attention(&self) -> bool {
        self.attention.swap(false, Ordering::AcqRel)
    }

    /// Wakes the vcpu at `when`, instead of whenever was said before; `None`: not at all.
    pub fn set_alarm(&self, key: VcpuKey, when: Option<Instant>) {
        self.inner.lock().alarms.set(Sleeper::Vcpu(key), when);
    }

    /// Looks at a domain's watchdogs at `when`, instead of whenever was said before; `None`: not at all.
    pub fn set_watchdog_alarm(&self, domain: DomainId, when: Option<Instant>) {
        self.inner.lock().alarms.set(Sleeper::Watchdogs(domain), when);
    }

    /// Those whose alarm is due, one a call.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Sleeper> {
        self.inner.lock().alarms.due(now)
    }

    /// When the next alarm is due.
    #[must_use]
    pub fn next_alarm(&self) -> Instant {
        self.inner.lock().alarms.next()
    }

    /// The next vcpu for this pcpu, taken off its queue.
    #[must_use]
    pub fn next(&self, pcpu: PcpuId) -> Option<(VcpuKey, Slice)> {
        self.inner.lock().scheduler.next(pcpu)
    }

    /// Whether a vcpu waits that this pcpu could run.
    #[must_use]
    pub fn others_wait(&self, pcpu: PcpuId) -> bool {
        self.inner.lock().scheduler.others_wait(pcpu)
    }
}
