//! The loop of a pcpu: wake who is due, run who is next, serve what it says, and sleep when there is nothing.
//!
//! A vcpu's turn: look at its mail, deliver what is pending, enter the guest, serve the exit, and again, until its slice
//! is over, it waits, or it ends. Time is read once an exit and handed down.

pub mod books;

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use xenvisor_core::clock::Instant;
use xenvisor_core::domain::Domain;
use xenvisor_core::domain::life::{Life, Reason};
use xenvisor_core::event::{Virq, stop_poll};
use xenvisor_core::hypervisor::Hypervisor;
use xenvisor_core::machine::{Exit, Level};
use xenvisor_core::number::{DomainId, PcpuId, Vector};
use xenvisor_core::sched::{Claim, RunQueues, Sleeper, Slice};
use xenvisor_core::vcpu::mail::News;
use xenvisor_core::vcpu::runstate::State;
use xenvisor_core::vcpu::{ActivityCell, Processor, Vcpu, Wait};

use crate::exit::{self, Next};

/// Who decides what becomes of domains that have ended, and does it.
pub trait Keeper {
    /// A domain has shut down.
    fn ended(&mut self, hypervisor: &Hypervisor, domain: Arc<Domain>, reason: Reason);

    /// Does a slice of what there is to do, so short that guests do not notice.
    fn work(&mut self, hypervisor: &Hypervisor) -> Work;
}

/// What a [`Keeper`] has left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Nothing for now.
    None,
    /// Something: the machine does not sleep.
    More,
    /// Nothing, ever: the machine has done its work.
    Finished,
}

/// How long a sleeping pcpu waits at most before it looks at input again.
const NAP_NS: u64 = 1_000_000_000;

/// Runs guests on all pcpus, the calling one being the first, until the keeper says that this is all.
pub fn run_everywhere(hypervisor: &Hypervisor, keeper: &mut dyn Keeper) {
    let others = |pcpu| help(hypervisor, pcpu);
    hypervisor
        .machine
        .run_on_all(&others, &mut || run(hypervisor, PcpuId::new(0), keeper));
}

/// Runs guests on the first pcpu until the keeper says that this is all; then the others stop too.
pub fn run(hypervisor: &Hypervisor, pcpu: PcpuId, keeper: &mut dyn Keeper) {
    loop {
        // A guest that is built again takes as long as it takes.
        hypervisor.queues.excuse(pcpu, true);
        while let Some(id) = hypervisor.queues.takes_attention() {
            report_ended(hypervisor, id, keeper);
        }
        let work = keeper.work(hypervisor);
        hypervisor.queues.excuse(pcpu, false);
        if work == Work::Finished {
            return hypervisor.queues.finish();
        }
        for service in &hypervisor.services {
            service.poll(hypervisor);
        }
        let now = hypervisor.machine.now();
        look_around(hypervisor, pcpu, now);
        wake_due(hypervisor, pcpu, now);
        match hypervisor.queues.next(pcpu, now) {
            Some((claim, slice)) => turn(hypervisor, pcpu, &claim, slice),
            // What is left to do may wait for another pcpu.
            None if work == Work::More => hypervisor.machine.relax(),
            None => hypervisor.queues.idle(pcpu, now, now.after_ns(NAP_NS)),
        }
    }
}

/// Runs guests on a pcpu that is not the first until all is over.
pub fn help(hypervisor: &Hypervisor, pcpu: PcpuId) {
    while !hypervisor.queues.is_finished() {
        let now = hypervisor.machine.now();
        look_around(hypervisor, pcpu, now);
        wake_due(hypervisor, pcpu, now);
        match hypervisor.queues.next(pcpu, now) {
            Some((claim, slice)) => turn(hypervisor, pcpu, &claim, slice),
            // Nothing but a kick or an alarm concerns it: it has no tick.
            None => hypervisor.queues.idle(pcpu, now, Instant::FAR),
        }
    }
}

/// Looks whether the other pcpus still take turns.
fn look_around(hypervisor: &Hypervisor, pcpu: PcpuId, now: Instant) {
    let Some(stuck) = hypervisor.queues.look_around(pcpu, now) else {
        return;
    };
    hypervisor.log(Level::Error, None, format_args!("{stuck}"));
    if hypervisor.queues.fails_when_stuck() {
        hypervisor.machine.fail(stuck.pcpu, format_args!("{stuck}"));
    }
}

/// Tells the keeper of a domain that has shut down.
fn report_ended(hypervisor: &Hypervisor, id: DomainId, keeper: &mut dyn Keeper) {
    let Some(domain) = hypervisor.domain(id) else {
        return;
    };
    let life = *domain.life.lock();
    if let Life::ShutDown(reason) = life {
        keeper.ended(hypervisor, domain, reason);
    }
}

fn wake_due(hypervisor: &Hypervisor, pcpu: PcpuId, now: Instant) {
    while let Some(sleeper) = hypervisor.queues.due(pcpu, now) {
        match sleeper {
            Sleeper::Vcpu(key) => {
                if let Some(domain) = hypervisor.domain(key.domain)
                    && let Some(vcpu) = domain.vcpu(key.vcpu)
                {
                    domain.tell(vcpu, News::TIMER);
                }
            }
            Sleeper::Watchdogs(id) => {
                if let Some(domain) = hypervisor.domain(id) {
                    domain.look_at_watchdogs(now);
                }
            }
        }
    }
}

/// One turn of a vcpu.
fn turn(hypervisor: &Hypervisor, pcpu: PcpuId, claim: &Claim, slice: Slice) {
    let Some(domain) = hypervisor.domain(claim.key.domain) else {
        return;
    };
    let Some(vcpu) = domain.vcpu(claim.key.vcpu) else {
        return;
    };
    if !vcpu.seat.has_made(claim) {
        return;
    }
    vcpu.seat.unqueue();
    // Another pcpu may still be on its way out of it, if it was stopped and started again.
    let mut processor = vcpu.cpu.lock_patiently(|| hypervisor.machine.relax());
    let now = hypervisor.machine.now();
    if !vcpu.enter(State::Running, now, |activity| activity.run(pcpu)) {
        return;
    }
    hypervisor.queues.begin(pcpu, vcpu);
    processor.cpu.arrive(pcpu);
    let end = now.after_ns(slice.ns);
    let (ending, now) = stay(hypervisor, pcpu, &domain, vcpu, &mut processor, end);
    processor.cpu.depart();
    hypervisor.queues.end(pcpu, vcpu, now);
    match ending {
        Ending::Paused => pause(&domain, vcpu, &processor, now),
        Ending::Waits => block(&domain, vcpu, &processor, now),
        Ending::GoesOn => requeue(&domain, vcpu, &processor, now, RunQueues::requeue),
        Ending::Yields => requeue(&domain, vcpu, &processor, now, RunQueues::requeue_behind),
        Ending::Left => {}
    }
}

/// How a turn ends.
enum Ending {
    /// The vcpu wants another turn.
    GoesOn,
    /// Likewise, after others.
    Yields,
    /// It waits for something.
    Waits,
    /// Its domain may not run for now.
    Paused,
    /// It, or its domain, has ended.
    Left,
}

/// Runs a vcpu until its turn is over; how it ended, and when.
fn stay(
    hypervisor: &Hypervisor,
    pcpu: PcpuId,
    domain: &Arc<Domain>,
    vcpu: &Vcpu,
    processor: &mut Processor,
    end: Instant,
) -> (Ending, Instant) {
    let mut now = hypervisor.machine.now();
    if let Some(state) = vcpu.take_begin() {
        processor.cpu.start(&state);
        processor.wait = Wait::No;
    }
    books::publish_runstate(domain, vcpu, processor.cpu.as_ref(), now);
    if let Some(ipi) = processor.unsent {
        exit::signal(domain, vcpu, processor, ipi);
    }
    loop {
        fire(domain, vcpu, processor, now);
        read_mail(domain, vcpu, processor);
        if !vcpu.has_begun() {
            // Woken by an interrupt that was not meant for it.
            vcpu.enter(State::Offline, now, |activity| {
                activity.stop();
                true
            });
            // First it says that it is off, then it looks at its mail once more: whoever starts it does the reverse.
            if !vcpu.mail.is_empty() {
                domain.start_vcpu(vcpu);
            }
            return (Ending::Left, now);
        }
        if !still_runs(vcpu) {
            return (Ending::Left, now);
        }
        if domain.is_paused() {
            return (Ending::Paused, now);
        }
        if processor.wait != Wait::No && !woken(domain, vcpu, processor) {
            return (Ending::Waits, now);
        }
        end_poll(domain, vcpu, processor);
        processor.wait = Wait::No;
        let exit = enter_guest(hypervisor, pcpu, domain, vcpu, processor, end);
        now = hypervisor.machine.now();
        let next = exit::serve(hypervisor, domain, vcpu, processor, exit, now);
        wake_due(hypervisor, pcpu, now);
        match next {
            Next::Go if now < end && !hypervisor.queues.gives_way(pcpu, now) => {}
            // Nobody else waits: the slice is begun anew outside, where input is looked at.
            Next::Go | Next::Yield => return (Ending::GoesOn, now),
            Next::Behind => return (Ending::Yields, now),
            Next::Wait => {}
            Next::Leave => return (Ending::Left, now),
        }
    }
}

/// One stay in the guest, with nothing cached that is no longer true.
fn enter_guest(
    hypervisor: &Hypervisor,
    pcpu: PcpuId,
    domain: &Domain,
    vcpu: &Vcpu,
    processor: &mut Processor,
    end: Instant,
) -> Exit {
    let generation = domain.translations.enter(&vcpu.inside, || ());
    if processor.generation != generation {
        processor.cpu.flush();
        processor.generation = generation;
    }
    let others = hypervisor.queues.enter_guest(pcpu);
    let timers = vcpu.timers.lock().next().unwrap_or(Instant::FAR);
    let until = end.min(timers).min(others);
    let exit = processor.cpu.run(&domain.guest_memory(), until);
    vcpu.inside.leave();
    hypervisor.queues.leave_guest(pcpu);
    exit
}

fn still_runs(vcpu: &Vcpu) -> bool {
    matches!(vcpu.activity.get(), xenvisor_core::vcpu::Activity::Running(_))
}

/// Lets deadlines that have passed have their effect.
fn fire(domain: &Arc<Domain>, vcpu: &Vcpu, processor: &mut Processor, now: Instant) {
    processor.cpu.tick(now);
    let fired = vcpu.timers.lock().fire(now);
    if fired.timer {
        domain.raise_virq(vcpu, Virq::TIMER);
    }
    if fired.poll {
        end_poll(domain, vcpu, processor);
    }
}

/// Looks at what others have left.
fn read_mail(domain: &Domain, vcpu: &Vcpu, processor: &mut Processor) {
    let news = vcpu.mail.take();
    let cpu = &mut processor.cpu;
    if news.contains(News::NMI) {
        cpu.raise_nmi();
    }
    if news.contains(News::IPI) {
        for ipi in vcpu.mail.take_ipis() {
            if cpu.receive_ipi(&ipi) {
                vcpu.note_begun();
                processor.wait = Wait::No;
            }
        }
    }
    // Whatever wakes a vcpu ends its poll, as under Xen: the guest looks for itself what there is.
    if news.intersects(News::POLL | News::UPCALL) {
        end_poll(domain, vcpu, processor);
    }
    let cpu = &mut processor.cpu;
    // An upcall through the vcpu's own vector is an edge; the domain's common vector is a level.
    let own = vcpu.upcall_vector.load(Ordering::Acquire);
    let pending = (own == 0 && domain.upcall_vector().is_some() || news.contains(News::UPCALL))
        && domain.upcall_pending(vcpu);
    if own != 0 {
        if pending {
            cpu.raise(Vector::new(own));
        }
        cpu.set_upcall_line(None);
    } else {
        cpu.set_upcall_line(if pending { domain.upcall_vector() } else { None });
    }
}

/// A poll is over: the vcpu waits for no port and no deadline.
fn end_poll(domain: &Domain, vcpu: &Vcpu, processor: &mut Processor) {
    if processor.wait == Wait::Poll {
        processor.wait = Wait::No;
        vcpu.timers.lock().poll = None;
        stop_poll(domain, vcpu.key.vcpu);
    }
}

/// Whether what the vcpu waits for is there.
fn woken(domain: &Domain, vcpu: &Vcpu, processor: &mut Processor) -> bool {
    match processor.wait {
        Wait::No => true,
        Wait::Interrupt => processor.cpu.interruptible_and_pending(),
        Wait::Event => processor.cpu.interruptible_and_pending() || domain.upcall_pending(vcpu),
        Wait::Poll => processor.cpu.interruptible_and_pending(),
    }
}

/// The vcpu sleeps until its next deadline or until it is woken.
fn block(domain: &Domain, vcpu: &Vcpu, processor: &Processor, now: Instant) {
    set_alarm(domain, vcpu, processor);
    // First it says that it sleeps, then it looks at its mail once more: a waker does the reverse.
    let sleeps = vcpu.enter(State::Blocked, now, ActivityCell::sleep);
    books::publish_runstate(domain, vcpu, processor.cpu.as_ref(), now);
    if sleeps && !vcpu.mail.is_empty() {
        domain.queues.wake(vcpu);
    }
}

/// The vcpu sleeps until its domain is unpaused. What wakes it before sends it here again.
fn pause(domain: &Domain, vcpu: &Vcpu, processor: &Processor, now: Instant) {
    domain.queues.set_alarm(vcpu, None);
    let sleeps = vcpu.enter(State::Offline, now, ActivityCell::sleep);
    books::publish_runstate(domain, vcpu, processor.cpu.as_ref(), now);
    // First it sleeps, then it looks once more: whoever unpauses its domain does the reverse.
    if sleeps && !domain.is_paused() {
        domain.queues.wake(vcpu);
    }
}

/// The vcpu waits for its next turn.
fn requeue(
    domain: &Domain,
    vcpu: &Vcpu,
    processor: &Processor,
    now: Instant,
    put: fn(&RunQueues, &Vcpu, Instant),
) {
    let waits = vcpu.enter(State::Runnable, now, ActivityCell::requeue);
    books::publish_runstate(domain, vcpu, processor.cpu.as_ref(), now);
    if waits {
        put(&domain.queues, vcpu, now);
    }
}

fn set_alarm(domain: &Domain, vcpu: &Vcpu, processor: &Processor) {
    let timers = vcpu.timers.lock().next();
    let apic = processor.cpu.next_deadline();
    let next = [timers, apic].into_iter().flatten().min();
    domain.queues.set_alarm(vcpu, next);
}
