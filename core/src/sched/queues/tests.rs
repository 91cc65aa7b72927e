//! No wake-up is lost, whatever the order in which processors do what they do: by models of pcpus, wakers and timers
//! over the real queues, in many orders.
//!
//! Every place where a pcpu is between two things that others see gives way to the others: between the steps of a model,
//! and wherever the machine is asked for something.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::Mutex;

use shuttle::thread;

use super::*;
use crate::clock::TimeScale;
use crate::machine::{
    Access, BadAddress, Exit, GuestRam, Ipi, Level, MachineMemory, Outcome, Registers, VcpuSetup, VirtCpu,
    Width,
};
use crate::memory::frames::{Frames, OutOfFrames};
use crate::number::{GuestAddr, LinearAddr, VcpuId, Vector};
use crate::p2m::SecondStage;
use crate::sched::{RoundRobin, Seat, VcpuKey};
use crate::testing::FlatMemory;
use crate::vcpu::ActivityCell;
use crate::vcpu::mail::News;
use crate::vcpu::start::StartState;

/// A vcpu that wants to run.
pub(in crate::sched) fn claim(n: u16) -> Claim {
    Seat::default().claim(key(n))
}

fn key(n: u16) -> VcpuKey {
    VcpuKey {
        domain: DomainId::new(n),
        vcpu: VcpuId::new(0),
    }
}

/// Pcpus that sleep until they are kicked, and a clock that goes on when one sleeps until a time.
struct Board {
    memory: Arc<dyn MachineMemory>,
    pcpus: Vec<AtomicBool>,
    now: AtomicU64,
}

impl Board {
    fn kicked(&self, pcpu: PcpuId) -> &AtomicBool {
        &self.pcpus[pcpu.raw() as usize]
    }
}

impl Machine for Board {
    fn memory(&self) -> &Arc<dyn MachineMemory> {
        &self.memory
    }
    fn now(&self) -> Instant {
        thread::yield_now();
        Instant::from_ns(self.now.load(Ordering::SeqCst))
    }
    fn time_scale(&self) -> TimeScale {
        TimeScale::from_hz(1_000_000_000, 0, Instant::ZERO).unwrap()
    }
    fn wall_clock_at_zero_ns(&self) -> u64 {
        0
    }
    fn pcpus(&self) -> u32 {
        self.pcpus.len() as u32
    }
    fn kick(&self, pcpu: PcpuId) {
        thread::yield_now();
        self.kicked(pcpu).store(true, Ordering::SeqCst);
    }
    fn sleep(&self, pcpu: PcpuId, until: Instant) {
        loop {
            thread::yield_now();
            if self.kicked(pcpu).swap(false, Ordering::SeqCst) {
                return;
            }
            if until != Instant::FAR {
                self.now.fetch_max(until.as_ns(), Ordering::SeqCst);
                return;
            }
        }
    }
    fn new_second_stage(&self, _: &Arc<Frames>) -> Result<Box<dyn SecondStage>, OutOfFrames> {
        panic!("nobody has memory here")
    }
    fn new_vcpu(&self, _: &VcpuSetup<'_>) -> Result<Box<dyn VirtCpu>, OutOfFrames> {
        Ok(Box::new(Nothing(Registers::default())))
    }
    fn console_read(&self) -> Option<u8> {
        None
    }
    fn console_write(&self, _: &[u8]) {}
    fn log(&self, _: Level, _: Option<DomainId>, _: fmt::Arguments<'_>) {}
}

/// A processor that is never entered.
struct Nothing(Registers);

impl VirtCpu for Nothing {
    fn start(&mut self, _: &StartState) {}
    fn run(&mut self, _: &dyn GuestRam, _: Instant) -> Exit {
        Exit::Halt
    }
    fn complete_hypercall(&mut self, _: Outcome) {}
    fn complete_port(&mut self, _: u32) {}
    fn complete_unbacked(&mut self, _: &dyn GuestRam) -> Result<(), Exit> {
        Ok(())
    }
    fn registers(&mut self) -> &mut Registers {
        &mut self.0
    }
    fn width(&self) -> Width {
        Width::Bits64
    }
    fn translate(&self, _: &dyn GuestRam, at: LinearAddr, _: Access) -> Result<GuestAddr, BadAddress> {
        Err(BadAddress(at))
    }
    fn raise(&mut self, _: Vector) {}
    fn set_upcall_line(&mut self, _: Option<Vector>) {}
    fn raise_nmi(&mut self) {}
    fn receive_ipi(&mut self, _: &Ipi) -> bool {
        false
    }
    fn interruptible_and_pending(&self) -> bool {
        false
    }
    fn interrupts_enabled(&self) -> bool {
        true
    }
    fn next_deadline(&self) -> Option<Instant> {
        None
    }
    fn tick(&mut self, _: Instant) {}
    fn flush(&mut self) {}
}

/// What a vcpu does when it has read its mail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Sleeps, as after a halt, a block or a poll.
    Sleeps,
    /// Goes back to its queue once, and sleeps then.
    Yields,
}

struct World {
    queues: RunQueues,
    vcpus: Vec<Vcpu>,
    habit: Habit,
    /// What has come to each vcpu.
    read: Vec<Mutex<News>>,
    /// Where each runs.
    runs: Vec<AtomicBool>,
}

impl World {
    /// Vcpus that sleep, on pcpus of which nobody runs yet.
    fn new(pcpus: usize, vcpus: u16, habit: Habit) -> Arc<Self> {
        let machine = Arc::new(Board {
            memory: Arc::new(FlatMemory::new(4096)),
            pcpus: (0..pcpus).map(|_| AtomicBool::new(false)).collect(),
            now: AtomicU64::new(1),
        });
        let queues = RunQueues::new(machine, Box::new(RoundRobin::new()));
        let vcpu = |n| Vcpu::new(key(n), Box::new(Nothing(Registers::default())), Instant::ZERO);
        let vcpus: Vec<_> = (0..vcpus).map(vcpu).collect();
        for vcpu in &vcpus {
            queues.add(vcpu).unwrap();
            assert!(vcpu.activity.start() && vcpu.activity.run(PcpuId::new(0)) && vcpu.activity.sleep());
        }
        Arc::new(Self {
            queues,
            habit,
            read: vcpus.iter().map(|_| Mutex::new(News::empty())).collect(),
            runs: vcpus.iter().map(|_| AtomicBool::new(false)).collect(),
            vcpus,
        })
    }

    fn at(&self, key: VcpuKey) -> usize {
        usize::from(key.domain.raw())
    }

    /// The loop of a pcpu.
    fn run(&self, pcpu: PcpuId) {
        while !self.queues.is_finished() {
            let now = self.queues.machine.now();
            while let Some(sleeper) = self.queues.due(pcpu, now) {
                let Sleeper::Vcpu(key) = sleeper else { continue };
                self.tell(self.at(key), News::TIMER);
            }
            match self.queues.next(pcpu, now) {
                Some((claim, _)) => self.turn(pcpu, self.at(claim.key)),
                None => self.queues.idle(pcpu, now, Instant::FAR),
            }
            thread::yield_now();
        }
    }

    fn turn(&self, pcpu: PcpuId, at: usize) {
        let vcpu = &self.vcpus[at];
        vcpu.seat.unqueue();
        thread::yield_now();
        let now = self.queues.machine.now();
        if !vcpu.enter(State::Running, now, |activity| activity.run(pcpu)) {
            return;
        }
        self.queues.begin(pcpu, vcpu);
        assert!(!self.runs[at].swap(true, Ordering::SeqCst), "it runs twice");
        thread::yield_now();
        let news = vcpu.mail.take();
        *self.read[at].lock().unwrap() |= news;
        thread::yield_now();
        self.queues.end(pcpu, vcpu, now);
        self.runs[at].store(false, Ordering::SeqCst);
        thread::yield_now();
        if self.habit == Habit::Yields && !news.is_empty() {
            if vcpu.enter(State::Runnable, now, ActivityCell::requeue) {
                thread::yield_now();
                self.queues.requeue(vcpu, now);
            }
            return;
        }
        let sleeps = vcpu.enter(State::Blocked, now, ActivityCell::sleep);
        thread::yield_now();
        if sleeps && !vcpu.mail.is_empty() {
            self.queues.wake(vcpu);
        }
    }

    fn tell(&self, at: usize, news: News) {
        self.vcpus[at].mail.post(news);
        thread::yield_now();
        self.queues.wake(&self.vcpus[at]);
    }

    /// Whether each vcpu has read all of this, sooner or later.
    fn all_read(&self, news: News) -> bool {
        (0..3_000).any(|_| {
            thread::yield_now();
            self.read.iter().all(|read| read.lock().unwrap().contains(news))
        })
    }
}

/// Lets the pcpus run beside these parts, in many orders; after the parts, each vcpu must have read `news`.
fn in_many_orders(
    pcpus: usize,
    vcpus: u16,
    habit: Habit,
    news: News,
    parts: impl Fn() -> Vec<fn(&World)> + Send + Sync + 'static,
) {
    let run = move || {
        let world = World::new(pcpus, vcpus, habit);
        let start = |part: Box<dyn FnOnce(&World) + Send>| {
            let world = world.clone();
            thread::spawn(move || part(&world))
        };
        let pcpu = |n: usize| start(Box::new(move |world| world.run(PcpuId::new(n as u32))));
        let running: Vec<_> = (0..pcpus).map(pcpu).collect();
        let acting: Vec<_> = parts().into_iter().map(|part| start(Box::new(part))).collect();
        acting.into_iter().for_each(|part| part.join().unwrap());
        assert!(world.all_read(news), "a wake-up was lost");
        world.queues.finish();
        running.into_iter().for_each(|pcpu| pcpu.join().unwrap());
    };
    shuttle::check_random(run, 1_500);
}

#[test]
fn whoever_blocks_halts_or_polls_while_others_wake_it_hears_all_of_them() {
    for pcpus in [1, 2, 3] {
        in_many_orders(
            pcpus,
            2,
            Habit::Sleeps,
            News::UPCALL | News::NMI | News::POLL,
            || {
                let wake: [fn(&World); 2] = [
                    |world| {
                        world.tell(0, News::UPCALL);
                        world.tell(1, News::POLL);
                        world.tell(0, News::POLL);
                    },
                    |world| {
                        world.tell(1, News::UPCALL | News::NMI);
                        world.tell(0, News::NMI);
                    },
                ];
                wake.into()
            },
        );
    }
}

#[test]
fn whoever_yields_while_others_wake_it_hears_all_of_them() {
    for pcpus in [1, 2] {
        in_many_orders(pcpus, 2, Habit::Yields, News::UPCALL | News::NMI, || {
            let wake: [fn(&World); 2] = [
                |world| (0..2).for_each(|at| world.tell(at, News::UPCALL)),
                |world| (0..2).for_each(|at| world.tell(at, News::NMI)),
            ];
            wake.into()
        });
    }
}

#[test]
fn whoever_is_stopped_and_started_while_others_wake_it_runs_again_and_never_twice() {
    for pcpus in [1, 2] {
        in_many_orders(pcpus, 1, Habit::Sleeps, News::UPCALL | News::NMI, || {
            let act: [fn(&World); 2] = [
                |world| {
                    world.tell(0, News::UPCALL);
                    world.tell(0, News::NMI);
                },
                |world| {
                    for _ in 0..2 {
                        // Whoever starts a vcpu again has waited until it is off its pcpu, as the loop does.
                        world.vcpus[0].activity.stop();
                        while world.runs[0].load(Ordering::SeqCst) {
                            thread::yield_now();
                        }
                        if world.vcpus[0].activity.start() {
                            thread::yield_now();
                            world.queues.enqueue(&world.vcpus[0]);
                        }
                    }
                },
            ];
            act.into()
        });
    }
}

#[test]
fn an_alarm_set_for_a_pcpu_that_is_going_to_sleep_rings() {
    for pcpus in [1, 2] {
        in_many_orders(pcpus, 2, Habit::Sleeps, News::TIMER, || {
            let set: [fn(&World); 2] = [
                |world| {
                    world
                        .queues
                        .set_alarm(&world.vcpus[0], Some(Instant::from_ns(500)))
                },
                |world| {
                    world
                        .queues
                        .set_alarm(&world.vcpus[1], Some(Instant::from_ns(900)));
                    world
                        .queues
                        .set_alarm(&world.vcpus[1], Some(Instant::from_ns(300)));
                },
            ];
            set.into()
        });
    }
}

#[test]
fn what_was_on_its_way_between_two_queues_when_its_vcpu_ended_is_no_claim_of_the_next_of_that_name() {
    shuttle::check_random(ends_on_its_way, 20);
}

fn ends_on_its_way() {
    let world = World::new(2, 1, Habit::Sleeps);
    let (queues, old) = (&world.queues, &world.vcpus[0]);
    let there = PcpuId::new(1);
    queues.wake(old);
    // Pcpu 1 takes it over. Before it puts it on its own queue, the vcpu ends, and another begins.
    let queue = queues.queue(there).unwrap();
    let (claim, _) = queues.pull(there, queue, Instant::ZERO).unwrap();
    queues.remove(old);
    let new = Vcpu::new(key(0), Box::new(Nothing(Registers::default())), Instant::ZERO);
    new.seat.set_affinity(PcpuSet::of([0]), PcpuSet::of([0]));
    queues.add(&new).unwrap();
    queue.change(|waiting| waiting.scheduler.put(claim, Arrival::Again, Instant::ZERO));
    let (stale, _) = queues.next(there, Instant::ZERO).unwrap();
    assert!(old.seat.has_made(&stale) && !new.seat.has_made(&stale));
    // The new one's own claim counts.
    assert!(new.activity.start());
    queues.enqueue(&new);
    let (own, _) = queues.next(PcpuId::new(0), Instant::ZERO).unwrap();
    assert!(new.seat.has_made(&own));
}

mod shares;
