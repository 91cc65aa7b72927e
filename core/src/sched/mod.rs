//! Who runs next, and who is woken when.
//!
//! Each pcpu has a queue of its own, ordered by a [`Scheduler`], and a heap of [`Alarms`] of its own; [`RunQueues`] puts
//! all of them behind one door that any part of the hypervisor may knock at. A pcpu that finds another's first in line
//! more deserving than its own takes it over: so what a scheduler says holds across pcpus, without a common lock.
//!
//! No wake-up is lost: a waker first leaves what it has to say in the vcpu's [`Mail`](crate::vcpu::mail::Mail), then
//! calls [`RunQueues::wake`]; a vcpu that goes to sleep first says that it sleeps, then looks into its mail once more.
//! A pcpu does likewise: it says that it is idle, then looks at all queues once more.

mod alarms;
mod ended;
mod lookout;
mod pcpu_set;
mod pinned;
mod queue;
mod queues;
mod round_robin;
mod seat;
mod weighted;

pub use alarms::{Alarms, Sleeper};
pub use lookout::{Lookout, Stuck, Then};
pub use pcpu_set::PcpuSet;
pub use pinned::Pinned;
pub use queues::{Pool, RunQueues};
pub use round_robin::RoundRobin;
pub use seat::{Seat, Share};
pub use weighted::Weighted;

use alloc::boxed::Box;

use crate::clock::Instant;
use crate::number::{DomainId, PcpuId, VcpuId};

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

/// How long a vcpu may run before others get their turn, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Slice {
    /// Nanoseconds.
    pub ns: u64,
}

/// A vcpu that wants to run: who it is, what it is entitled to, and what its scheduler has written on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Who.
    pub key: VcpuKey,
    /// Its share.
    pub share: Share,
    /// Where it may run.
    pub allowed: PcpuSet,
    /// The scheduler's own: it stays with the vcpu while that sleeps, and goes along to other pcpus. 0 at first.
    pub score: u64,
    /// The scheduler's own, likewise: an instant, the beginning of time at first.
    pub ripe: Instant,
    /// Which of all vcpus that were ever added to the queues: another life of the same domain has another.
    pub ticket: u64,
}

/// Why a vcpu comes to a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It has waited for something, and that is there.
    Woken,
    /// It has had its turn and wants another.
    Again,
    /// As [`Arrival::Again`], and it has asked that others have theirs first.
    Yields,
}

/// Orders the vcpus that wait for one pcpu. Each pcpu has one of its own, all of them made from the one in the
/// description of the system; each is only ever used with its pcpu's queue locked.
pub trait Scheduler: Send {
    /// The same, for this pcpu, with nobody waiting.
    fn for_pcpu(&self, pcpu: PcpuId) -> Box<dyn Scheduler>;

    /// There is a vcpu more that may come here. Takes all the memory that it will ever need for it.
    ///
    /// # Errors
    /// When there is no memory; then nothing has changed.
    fn add(&mut self, key: VcpuKey) -> Result<(), OutOfMemory>;

    /// The vcpu is no more. It may be waiting.
    fn remove(&mut self, key: VcpuKey);

    /// The vcpu waits from now on.
    fn put(&mut self, claim: Claim, arrival: Arrival, now: Instant);

    /// Takes the vcpu that runs next from those that wait, and says how long it may run in one go.
    fn next(&mut self, now: Instant) -> Option<(Claim, Slice)>;

    /// The rank of the one that [`Scheduler::next`] would give: the lower the sooner. Ranks of one kind of scheduler can
    /// be compared between pcpus; they are in nanoseconds.
    fn first(&self) -> Option<u64>;

    /// Takes the first that may run on another pcpu, for that pcpu.
    fn give(&mut self, to: PcpuId, now: Instant) -> Option<(Claim, Slice)> {
        let (claim, slice) = self.next(now)?;
        if claim.allowed.contains(to) {
            return Some((claim, slice));
        }
        self.put(claim, Arrival::Again, now);
        None
    }

    /// The vcpu comes from another pcpu's queue, and is to run here next.
    fn take_over(&mut self, claim: &mut Claim) {
        let _ = claim;
    }

    /// How much sooner the first of another pcpu must be than the first of this one, to be taken from there.
    fn margin_ns(&self) -> u64 {
        0
    }

    /// Whether vcpus may change pcpus when that serves them better.
    fn moves(&self) -> bool {
        true
    }

    /// The vcpu has run for so long, until now.
    fn charge(&mut self, claim: &mut Claim, ran_ns: u64, now: Instant) {
        let _ = (claim, ran_ns, now);
    }

    /// Whether one that has just been woken should not wait until the slice of the one that runs is over, which has run
    /// for `ran_ns` by now: then how long that one may run in all.
    fn preempts(&self, woken: &Claim, running: &Claim, ran_ns: u64) -> Option<Slice> {
        let _ = (woken, running, ran_ns);
        None
    }

    /// Those who waited for their time, and whose time has come, wait to be next from now on.
    fn look_at_ripe(&mut self, now: Instant) {
        let _ = now;
    }

    /// When somebody who waits may run at last, where nobody who waits may run now.
    fn ripe(&self) -> Option<Instant> {
        None
    }
}
