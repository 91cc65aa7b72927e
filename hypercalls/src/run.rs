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
use xenvisor_core::number::{PcpuId, Vector};
use xenvisor_core::sched::{Sleeper, Slice, VcpuKey};
use xenvisor_core::vcpu::mail::News;
use xenvisor_core::vcpu::runstate::State;
use xenvisor_core::vcpu::{Processor, Vcpu, Wait};

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

/// Runs guests on a pcpu until the keeper says that this is all.
pub fn run(hypervisor: &Hypervisor, pcpu: PcpuId, keeper: &mut dyn Keeper) {
    loop {
        if hypervisor.queues.takes_attention() {
            report_ended(hypervisor, keeper);
        }
        let work = keeper.work(hypervisor);
        if work == Work::Finished {
            return;
        }
        for service in &hypervisor.services {
            service.poll(hypervisor);
        }
        let now = hypervisor.machine.now();
        wake_due(hypervisor, now);
        match hypervisor.queues.next(pcpu) {
            Some((key, slice)) => turn(hypervisor, pcpu, key, slice),
            None if work == Work::More => {}
            None => hypervisor
                .machine
                .sleep(hypervisor.queues.next_alarm().min(now.after_ns(NAP_NS))),
        }
    }
}

/// Tells the keeper of each domain that has shut down since.
fn report_ended(hypervisor: &Hypervisor, keeper: &mut dyn Keeper) {
    // By number, one at a time: whoever is told holds the last hold on the domain.
    for id in hypervisor.domain_ids() {
        let Some(domain) = hypervisor.domain(id) else {
            continue;
        };
        let life = *domain.life.lock();
        if let Life::ShutDown(reason) = life {
            keeper.ended(hypervisor, domain, reason);
        }
    }
}

fn wake_due(hypervisor: &Hypervisor, now: Instant) {
    while let Some(sleeper) = hypervisor.queues.due(now) {
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
fn turn(hypervisor: &Hypervisor, pcpu: PcpuId, key: VcpuKey, slice: Slice) {
    let Some(domain) = hypervisor.domain(key.domain) else {
        return;
    };
    let Some(vcpu) = domain.vcpu(key.vcpu) else { return };
    let mut processor = vcpu.cpu.lock();
    if !vcpu.activity.run(pcpu) {
        return;
    }
    let mut now = hypervisor.machine.now();
    let end = now.after_ns(slice.ns);
    if let Some(state) = vcpu.take_begin() {
        processor.cpu.start(&state);
        processor.wait = Wait::No;
    }
    books::enter(vcpu, State::Running, now);
    books::publish_runstate(&domain, vcpu, processor.cpu.as_ref(), now);
    if let Some(ipi) = processor.unsent {
        exit::signal(&domain, vcpu, &mut processor, ipi);
    }
    loop {
        fire(&domain, vcpu, &mut processor, now);
        read_mail(&domain, vcpu, &mut processor);
        if !vcpu.has_begun() {
            // Woken by an interrupt that was not meant for it.
            vcpu.activity.stop();
            return books::enter(vcpu, State::Offline, now);
        }
        if !still_runs(vcpu) {
            return;
        }
        if processor.wait != Wait::No && !woken(&domain, vcpu, &mut processor) {
            return block(&domain, vcpu, &processor, now);
        }
        end_poll(&domain, vcpu, &mut processor);
        processor.wait = Wait::No;
        let until = vcpu.timers.lock().next().map_or(end, |next| next.min(end));
        let exit = processor.cpu.run(&domain.guest_memory(), until);
        now = hypervisor.machine.now();
        match exit::serve(hypervisor, &domain, vcpu, &mut processor, exit, now) {
            Next::Go if now < end => {}
            // Nobody else waits: the slice is begun anew outside, where input and alarms are looked at.
            Next::Go | Next::Yield => return requeue(&domain, vcpu, &processor, now),
            Next::Wait => {}
            Next::Leave => return,
        }
    }
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
    if news.contains(News::FLUSH) {
        cpu.flush();
    }
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
    books::enter(vcpu, State::Blocked, now);
    books::publish_runstate(domain, vcpu, processor.cpu.as_ref(), now);
    set_alarm(domain, vcpu, processor);
    // First it says that it sleeps, then it looks at its mail once more: a waker does the reverse.
    if vcpu.activity.sleep() && !vcpu.mail.is_empty() {
        domain.queues.wake(vcpu);
    }
}

/// The vcpu waits for its next turn.
fn requeue(domain: &Domain, vcpu: &Vcpu, processor: &Processor, now: Instant) {
    books::enter(vcpu, State::Runnable, now);
    books::publish_runstate(domain, vcpu, processor.cpu.as_ref(), now);
    domain.queues.requeue(vcpu);
}

fn set_alarm(domain: &Domain, vcpu: &Vcpu, processor: &Processor) {
    let timers = vcpu.timers.lock().next();
    let apic = processor.cpu.next_deadline();
    let next = [timers, apic].into_iter().flatten().min();
    domain.queues.set_alarm(vcpu.key, next);
}
