//! The queues and alarms of all pcpus behind one door.
//!
//! A vcpu waits on the queue of one pcpu: the one it ran on, an idle one if there is any, of those that it may run on. A
//! pcpu whose own queue is empty, or whose first in line has had more than that of another of its pool, takes that one.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use super::ended::Ended;
use super::lookout::{Lookout, Rounds, Sight, Stuck, Then};
use super::queue::{NOBODY, Queue};
use super::{Arrival, Claim, OutOfMemory, PcpuSet, Scheduler, Sleeper, Slice};
use crate::clock::Instant;
use crate::machine::Machine;
use crate::number::{DomainId, PcpuId};
use crate::vcpu::runstate::State;
use crate::vcpu::{Activity, Vcpu};

/// The pcpu whose loop looks after domains that have ended.
const KEEPER: PcpuId = PcpuId::new(0);

/// How much of the time between two turns the one that comes is charged with at most. What takes longer (a guest that is
/// built) is nobody's who runs here.
const BETWEEN_NS: u64 = 100_000;

/// Some pcpus, and how vcpus are ordered there.
pub struct Pool {
    /// The pcpus. Each belongs to the first pool that has it.
    pub pcpus: PcpuSet,
    /// The order.
    pub scheduler: Box<dyn Scheduler>,
}

/// The queues behind one door.
pub struct RunQueues {
    machine: Arc<dyn Machine>,
    queues: Vec<Queue>,
    ended: Ended,
    /// How many vcpus were ever added.
    tickets: AtomicU64,
    rounds: Rounds,
}

impl RunQueues {
    /// Queues of the machine's pcpus, in one pool.
    #[must_use]
    pub fn new(machine: Arc<dyn Machine>, scheduler: Box<dyn Scheduler>) -> Self {
        let pool = Pool {
            pcpus: PcpuSet::ALL,
            scheduler,
        };
        Self::in_pools(machine, &[pool])
    }

    /// Queues of the machine's pcpus, in several pools. A pcpu that is in none of them is in the last.
    #[must_use]
    pub fn in_pools(machine: Arc<dyn Machine>, pools: &[Pool]) -> Self {
        let all = PcpuSet::first(machine.pcpus().clamp(1, PcpuSet::MAX));
        let mut left = all;
        let mut sets = Vec::with_capacity(pools.len());
        for pool in pools {
            let set = left.and(pool.pcpus);
            left = left.without(set);
            sets.push(set);
        }
        if let Some(last) = sets.last_mut() {
            *last = last.and_also(left);
        }
        let queue = |pcpu| {
            let at = sets.iter().position(|set| set.contains(pcpu))?;
            let scheduler = pools.get(at)?.scheduler.for_pcpu(pcpu);
            Some(Queue::new(scheduler, *sets.get(at)?))
        };
        Self {
            queues: all.iter().filter_map(queue).collect(),
            machine,
            ended: Ended::new(),
            tickets: AtomicU64::new(0),
            rounds: Rounds::new(Lookout::default()),
        }
    }

    /// With pcpus that look after each other in this way.
    #[must_use]
    pub fn with_lookout(mut self, lookout: Lookout) -> Self {
        self.rounds = Rounds::new(lookout);
        self
    }

    /// The pcpu looks at the others, if it is time to: one that takes no turns any more.
    pub fn look_around(&self, pcpu: PcpuId, now: Instant) -> Option<Stuck> {
        let others = (0..).map(PcpuId::new).zip(&self.queues);
        let sights = others
            .filter(|(other, _)| *other != pcpu)
            .map(|(pcpu, queue)| Sight {
                pcpu,
                pulse: &queue.pulse,
                sleeps: queue.idle.load(Ordering::Relaxed),
                is_in_guest: queue.away.load(Ordering::Relaxed),
            });
        self.rounds.look(now, sights)
    }

    /// Whether the host fails when a pcpu is stuck.
    #[must_use]
    pub fn fails_when_stuck(&self) -> bool {
        self.rounds.lookout().then == Then::Fail
    }

    /// The pcpu does what may take long, or has done it: meanwhile it is not taken for one that is stuck.
    pub fn excuse(&self, pcpu: PcpuId, excused: bool) {
        if let Some(queue) = self.queue(pcpu) {
            queue.pulse.excuse(excused);
        }
    }

    /// How long a pcpu may sleep. The first two wake to look after each other, where there are others.
    fn nap_until(&self, pcpu: PcpuId, now: Instant) -> Instant {
        let looks = self.queues.len() > 1 && pcpu.raw() < 2;
        let interval_ns = self.rounds.interval_ns().filter(|_| looks);
        interval_ns.map_or(Instant::FAR, |interval_ns| now.after_ns(interval_ns))
    }

    /// The queue of a pcpu; that of the first one for a pcpu there is not.
    fn queue(&self, pcpu: PcpuId) -> Option<&Queue> {
        let at = usize::try_from(pcpu.raw()).unwrap_or(usize::MAX);
        self.queues.get(at).or_else(|| self.queues.first())
    }

    /// The pcpus there are.
    #[must_use]
    pub fn pcpus(&self) -> PcpuSet {
        PcpuSet::first(u32::try_from(self.queues.len()).unwrap_or(u32::MAX))
    }

    /// The pcpus of the pool that this one belongs to.
    #[must_use]
    pub fn pool_of(&self, pcpu: PcpuId) -> PcpuSet {
        self.queue(pcpu).map_or(PcpuSet::NONE, |queue| queue.pool)
    }

    fn all(&self, of: PcpuSet) -> impl Iterator<Item = (PcpuId, &Queue)> {
        (0..)
            .map(PcpuId::new)
            .zip(&self.queues)
            .filter(move |(pcpu, _)| of.contains(*pcpu))
    }

    /// There is a vcpu more. From now on it may run on those pcpus it may run on that are of one pool: the pool of the
    /// first of them.
    ///
    /// # Errors
    /// When there is no memory for it; then nothing has changed.
    pub fn add(&self, vcpu: &Vcpu) -> Result<(), OutOfMemory> {
        let wanted = vcpu.seat.allowed().and(self.pcpus());
        let first = wanted.iter().next().unwrap_or(PcpuId::new(0));
        let pool = self.pool_of(first);
        let allowed = if wanted.is_empty() { pool } else { wanted.and(pool) };
        vcpu.seat.set_affinity(allowed, vcpu.seat.preferred());
        let preferred = vcpu.seat.preferred();
        let least = self
            .all(preferred)
            .min_by_key(|(_, queue)| queue.homes.load(Ordering::Relaxed));
        let Some((home, queue)) = least else {
            return Err(OutOfMemory);
        };
        vcpu.seat.set_home(home);
        vcpu.seat
            .set_ticket(self.tickets.fetch_add(1, Ordering::Relaxed).saturating_add(1));
        queue
            .change_alarms(|alarms| alarms.add(Sleeper::Vcpu(vcpu.key)))
            .0?;
        for (n, (_, queue)) in self.all(allowed).enumerate() {
            if queue.change(|waiting| waiting.scheduler.add(vcpu.key)).is_err() {
                let done = self.all(allowed).take(n);
                done.for_each(|(_, queue)| queue.change(|waiting| waiting.scheduler.remove(vcpu.key)));
                self.forget_alarm(home, Sleeper::Vcpu(vcpu.key));
                return Err(OutOfMemory);
            }
        }
        queue.homes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn forget_alarm(&self, home: PcpuId, sleeper: Sleeper) {
        if let Some(queue) = self.queue(home) {
            queue.change_alarms(|alarms| alarms.remove(sleeper));
        }
    }

    /// The vcpu is no more.
    pub fn remove(&self, vcpu: &Vcpu) {
        self.forget_alarm(vcpu.seat.home(), Sleeper::Vcpu(vcpu.key));
        for (_, queue) in self.all(vcpu.seat.allowed()) {
            queue.change(|waiting| waiting.scheduler.remove(vcpu.key));
        }
        if let Some(home) = self.queue(vcpu.seat.home()) {
            home.homes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The pcpu that looks after a domain's watchdogs.
    fn watch(&self, domain: DomainId) -> PcpuId {
        let count = u32::try_from(self.queues.len()).unwrap_or(1).max(1);
        PcpuId::new(u32::from(domain.raw()) % count)
    }

    /// There is a domain more, with watchdogs.
    ///
    /// # Errors
    /// When there is no memory for it; then nothing has changed.
    pub fn add_watchdogs(&self, domain: DomainId) -> Result<(), OutOfMemory> {
        let Some(queue) = self.queue(self.watch(domain)) else {
            return Err(OutOfMemory);
        };
        queue
            .change_alarms(|alarms| alarms.add(Sleeper::Watchdogs(domain)))
            .0?;
        let room = self.ended.add_domain();
        if room.is_err() {
            self.forget_alarm(self.watch(domain), Sleeper::Watchdogs(domain));
        }
        room
    }

    /// The domain is no more.
    pub fn remove_watchdogs(&self, domain: DomainId) {
        self.forget_alarm(self.watch(domain), Sleeper::Watchdogs(domain));
        self.ended.remove_domain(domain);
    }

    /// The vcpu has something to look at. Harmless at any time, from anywhere.
    pub fn wake(&self, vcpu: &Vcpu) {
        match vcpu.activity.wake() {
            Activity::Blocked => self.enqueue(vcpu),
            Activity::Running(pcpu) => self.machine.kick(pcpu),
            Activity::Runnable | Activity::Offline => {}
        }
    }

    /// Queues a vcpu that has just become runnable.
    pub fn enqueue(&self, vcpu: &Vcpu) {
        let now = self.machine.now();
        vcpu.runstate.lock().enter(State::Runnable, now);
        self.put(vcpu, self.place(vcpu), Arrival::Woken, now);
    }

    /// The vcpu has had its turn and wants another. It has just become runnable again.
    pub fn requeue(&self, vcpu: &Vcpu, now: Instant) {
        self.put(vcpu, vcpu.seat.pcpu(), Arrival::Again, now);
    }

    /// As [`RunQueues::requeue`], for one that has asked that others have their turn first.
    pub fn requeue_behind(&self, vcpu: &Vcpu, now: Instant) {
        self.put(vcpu, vcpu.seat.pcpu(), Arrival::Yields, now);
    }

    fn put(&self, vcpu: &Vcpu, at: PcpuId, arrival: Arrival, now: Instant) {
        let Some(queue) = self.queue(at) else { return };
        if !vcpu.seat.queue() {
            return;
        }
        vcpu.seat.set_pcpu(at);
        let claim = vcpu.seat.claim(vcpu.key);
        let give_way = queue.change(|waiting| {
            waiting.scheduler.put(claim, arrival, now);
            let (running, since) = waiting.running.filter(|_| arrival == Arrival::Woken)?;
            let ran_ns = now.ns_since(since);
            let slice = waiting.scheduler.preempts(&claim, &running, ran_ns)?;
            Some(since.after_ns(slice.ns))
        });
        let asks = give_way.is_some_and(|when| queue.set_give_way(when));
        if queue.rouse() || asks {
            self.machine.kick(at);
        } else if let Some((idle, _)) = self.all(claim.allowed).find(|(_, queue)| queue.rouse()) {
            // It went to sleep after the place was chosen, or the one that was chosen is woken for another already.
            self.machine.kick(idle);
        }
    }

    fn idle_one(&self, of: PcpuSet) -> Option<PcpuId> {
        let mut all = self.all(of);
        all.find(|(_, queue)| queue.idle.load(Ordering::SeqCst))
            .map(|(pcpu, _)| pcpu)
    }

    /// Where a vcpu that wakes waits.
    fn place(&self, vcpu: &Vcpu) -> PcpuId {
        let (last, preferred) = (vcpu.seat.pcpu(), vcpu.seat.preferred());
        let Some(queue) = self.queue(last) else {
            return last;
        };
        let stays = queue.idle.load(Ordering::SeqCst) || !queue.moves;
        if stays && preferred.contains(last) {
            return last;
        }
        let idle = self
            .idle_one(preferred)
            .or_else(|| self.idle_one(vcpu.seat.allowed()));
        idle.unwrap_or(if preferred.contains(last) {
            last
        } else {
            vcpu.seat.home()
        })
    }

    /// The next vcpu for this pcpu, taken off its queue.
    #[must_use]
    pub fn next(&self, pcpu: PcpuId, now: Instant) -> Option<(Claim, Slice)> {
        let queue = self.queue(pcpu)?;
        if queue.ripe() <= now {
            queue.change(|waiting| waiting.scheduler.look_at_ripe(now));
        }
        let pulled = self.pull(pcpu, queue, now);
        queue.change(|waiting| {
            let next = match pulled {
                Some((mut claim, slice)) => {
                    waiting.scheduler.take_over(&mut claim);
                    Some((claim, slice))
                }
                None => waiting.scheduler.next(now),
            };
            // What lies between two turns is work for the one that comes: else those who end their turns all the time
            // would pay for none of it.
            let since = waiting.free_since.take().unwrap_or(now);
            let since = since.max(Instant::from_ns(now.as_ns().saturating_sub(BETWEEN_NS)));
            waiting.running = next.map(|(claim, _)| (claim, since.min(now)));
            queue.nobody_gives_way();
            queue.pulse.runs(next.map(|(claim, _)| claim.key));
            next
        })
    }

    /// The vcpu that this pcpu was given has begun its turn here.
    pub fn begin(&self, pcpu: PcpuId, vcpu: &Vcpu) {
        vcpu.seat.set_pcpu(pcpu);
    }

    /// The turn is over. To be said before the vcpu can be given to another pcpu.
    pub fn end(&self, pcpu: PcpuId, vcpu: &Vcpu, now: Instant) {
        let Some(queue) = self.queue(pcpu) else { return };
        queue.change(|waiting| {
            if let Some((mut claim, since)) = waiting.running.take() {
                waiting.scheduler.charge(&mut claim, now.ns_since(since), now);
                vcpu.seat.keep(&claim);
            }
            waiting.free_since = Some(now);
            queue.nobody_gives_way();
        });
    }

    /// The pcpu is about to enter a guest: until when it may stay there at most, for the sake of others.
    #[must_use]
    pub fn enter_guest(&self, pcpu: PcpuId) -> Instant {
        let Some(queue) = self.queue(pcpu) else {
            return Instant::FAR;
        };
        queue.pulse.beat();
        queue.away.store(true, Ordering::SeqCst);
        queue.next_alarm().min(queue.give_way()).min(queue.ripe())
    }

    /// The pcpu is back in the hypervisor.
    pub fn leave_guest(&self, pcpu: PcpuId) {
        if let Some(queue) = self.queue(pcpu) {
            queue.away.store(false, Ordering::SeqCst);
        }
    }

    /// Whether the one that runs there must let others.
    #[must_use]
    pub fn gives_way(&self, pcpu: PcpuId, now: Instant) -> bool {
        self.queue(pcpu)
            .is_some_and(|queue| queue.give_way().min(queue.ripe()) <= now)
    }

    /// Takes a vcpu from another pcpu's queue, if it deserves to run more than the first of this one's.
    fn pull(&self, pcpu: PcpuId, queue: &Queue, now: Instant) -> Option<(Claim, Slice)> {
        if !queue.moves {
            return None;
        }
        let own = queue.first();
        let sooner =
            |first: u64| first != NOBODY && (own == NOBODY || first.saturating_add(queue.margin_ns) < own);
        let others = self.all(queue.pool).filter(|(other, _)| *other != pcpu);
        let mut sooner = others.filter(|(_, other)| sooner(other.first()));
        sooner.find_map(|(_, other)| other.change(|waiting| waiting.scheduler.give(pcpu, now)))
    }

    /// Lets a pcpu sleep that has nothing to do, until it is kicked, somebody's time has come, or `at_most`.
    pub fn idle(&self, pcpu: PcpuId, now: Instant, at_most: Instant) {
        let Some(queue) = self.queue(pcpu) else { return };
        queue.idle.store(true, Ordering::SeqCst);
        queue.away.store(true, Ordering::SeqCst);
        // First it says that it sleeps, then it looks once more: whoever brings something does the reverse.
        if let Some((mut claim, _)) = self.pull(pcpu, queue, now) {
            queue.change(|waiting| {
                waiting.scheduler.take_over(&mut claim);
                waiting.scheduler.put(claim, Arrival::Again, now);
            });
        }
        let news = self.ended.is_finished() || self.ended.is_some() && pcpu == KEEPER;
        if queue.first() == NOBODY && !news {
            let until = queue.next_alarm().min(queue.ripe()).min(at_most);
            let until = until.min(self.nap_until(pcpu, now));
            self.machine.sleep(pcpu, until);
        }
        queue.pulse.beat();
        queue.away.store(false, Ordering::SeqCst);
        queue.idle.store(false, Ordering::SeqCst);
    }

    /// A domain has ended: the keeper's pcpu looks after it.
    pub fn call_for_attention(&self, domain: DomainId) {
        self.ended.note(domain);
        if let Some(queue) = self.queue(KEEPER)
            && queue.away.load(Ordering::SeqCst)
        {
            self.machine.kick(KEEPER);
        }
    }

    /// A domain that has ended since this was last asked.
    #[must_use]
    pub fn takes_attention(&self) -> Option<DomainId> {
        self.ended.take()
    }

    /// All is over: every pcpu leaves its loop.
    pub fn finish(&self) {
        self.ended.finish();
        self.pcpus().iter().for_each(|pcpu| self.machine.kick(pcpu));
    }

    /// Whether all is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended.is_finished()
    }

    /// Wakes the vcpu at `when`, instead of whenever was said before; `None`: not at all.
    pub fn set_alarm(&self, vcpu: &Vcpu, when: Option<Instant>) {
        self.set(vcpu.seat.home(), Sleeper::Vcpu(vcpu.key), when);
    }

    /// Looks at a domain's watchdogs at `when`, instead of whenever was said before; `None`: not at all.
    pub fn set_watchdog_alarm(&self, domain: DomainId, when: Option<Instant>) {
        self.set(self.watch(domain), Sleeper::Watchdogs(domain), when);
    }

    fn set(&self, home: PcpuId, sleeper: Sleeper, when: Option<Instant>) {
        let Some(queue) = self.queue(home) else { return };
        let ((), kick) = queue.change_alarms(|alarms| alarms.set(sleeper, when));
        if kick {
            self.machine.kick(home);
        }
    }

    /// Those whose alarm this pcpu looks after is due, one a call.
    #[must_use]
    pub fn due(&self, pcpu: PcpuId, now: Instant) -> Option<Sleeper> {
        self.queue(pcpu)?.due(now)
    }
}

#[cfg(test)]
pub(super) mod tests;
