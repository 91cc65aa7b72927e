//! Shares of several pcpus, by simulation of the queues alone: no guests, only vcpus that always want to run.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::clock::TimeScale;
use crate::machine::{
    Access, BadAddress, Exit, GuestRam, Ipi, Level, MachineMemory, Outcome, Registers, VcpuSetup, VirtCpu,
    Width,
};
use crate::memory::frames::{Frames, OutOfFrames};
use crate::number::{GuestAddr, LinearAddr, Vector};
use crate::p2m::SecondStage;
use crate::sched::{RoundRobin, Share, Weighted};
use crate::vcpu::start::StartState;

/// A clock, and who was kicked.
#[derive(Default)]
struct Clock {
    pcpus: u32,
    now: AtomicU64,
    kicked: Mutex<PcpuSet>,
}

impl Machine for Clock {
    fn memory(&self) -> &Arc<dyn MachineMemory> {
        panic!("queues ask for no such thing")
    }
    fn now(&self) -> Instant {
        Instant::from_ns(self.now.load(Ordering::SeqCst))
    }
    fn time_scale(&self) -> TimeScale {
        panic!("queues ask for no such thing")
    }
    fn wall_clock_at_zero_ns(&self) -> u64 {
        0
    }
    fn pcpus(&self) -> u32 {
        self.pcpus
    }
    fn kick(&self, pcpu: PcpuId) {
        let mut kicked = self.kicked.lock().unwrap();
        *kicked = kicked.and_also(PcpuSet::one(pcpu));
    }
    fn sleep(&self, _: PcpuId, _: Instant) {}
    fn new_second_stage(&self, _: &Arc<Frames>) -> Result<Box<dyn SecondStage>, OutOfFrames> {
        panic!("queues ask for no such thing")
    }
    fn new_vcpu(&self, _: &VcpuSetup<'_>) -> Result<Box<dyn VirtCpu>, OutOfFrames> {
        panic!("queues ask for no such thing")
    }
    fn console_read(&self) -> Option<u8> {
        None
    }
    fn console_write(&self, _: &[u8]) {}
    fn log(&self, _: Level, _: Option<DomainId>, _: core::fmt::Arguments<'_>) {}
}

/// A processor that nobody enters.
struct Nothing;

impl VirtCpu for Nothing {
    fn start(&mut self, _: &StartState) {}
    fn run(&mut self, _: &dyn GuestRam, _: Instant) -> Exit {
        panic!("queues ask for no such thing")
    }
    fn complete_hypercall(&mut self, _: Outcome) {}
    fn complete_port(&mut self, _: u32) {}
    fn complete_unbacked(&mut self, _: &dyn GuestRam) -> Result<(), Exit> {
        Ok(())
    }
    fn registers(&mut self) -> &mut Registers {
        panic!("queues ask for no such thing")
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

const MS: u64 = 1_000_000;

/// One that always wants to run, from `from` on.
#[derive(Clone, Copy)]
struct Hog {
    from_ns: u64,
    weight: u32,
    allowed: PcpuSet,
    /// Where it ran last; its home if that is not said.
    last: Option<PcpuId>,
}

const fn hog(from_ns: u64) -> Hog {
    Hog {
        from_ns,
        weight: 256,
        allowed: PcpuSet::ALL,
        last: None,
    }
}

/// Runs hogs on some pcpus until `until_ns`; how long each has run from `count_from_ns` on.
fn run(
    pcpus: u32,
    scheduler: Box<dyn Scheduler>,
    hogs: &[Hog],
    count_from_ns: u64,
    until_ns: u64,
) -> Vec<u64> {
    let machine = Arc::new(Clock {
        pcpus,
        ..Clock::default()
    });
    let queues = RunQueues::new(machine.clone(), scheduler);
    let mut vcpus: BTreeMap<VcpuKey, Vcpu> = BTreeMap::new();
    let mut to_come: Vec<(u64, VcpuKey)> = Vec::new();
    for (n, hog) in (0..).zip(hogs) {
        let key = claim(n).key;
        let vcpu = Vcpu::new(key, Box::new(Nothing), Instant::ZERO);
        vcpu.seat.set_share(Share {
            weight: hog.weight,
            cap: 0,
        });
        vcpu.seat.set_affinity(hog.allowed, hog.allowed);
        queues.add(&vcpu).unwrap();
        if let Some(last) = hog.last {
            vcpu.seat.set_pcpu(last);
        }
        vcpus.insert(key, vcpu);
        to_come.push((hog.from_ns, key));
    }
    let mut ran: BTreeMap<VcpuKey, u64> = BTreeMap::new();
    // Who runs on each pcpu, since when, and until when.
    let mut on: Vec<Option<(VcpuKey, u64, u64)>> = std::vec![None; pcpus as usize];
    let mut now = 0;
    let mut asleep: Vec<bool> = std::vec![true; pcpus as usize];
    for pcpu in queues.pcpus().iter() {
        queues.queue(pcpu).unwrap().idle.store(true, Ordering::SeqCst);
    }
    while now < until_ns {
        machine.now.store(now, Ordering::SeqCst);
        to_come.retain(|(when, key)| {
            if *when <= now {
                assert!(vcpus[key].activity.start());
                queues.enqueue(&vcpus[key]);
            }
            *when > now
        });
        for (n, slot) in on.iter_mut().enumerate() {
            let pcpu = PcpuId::new(n as u32);
            if let Some((key, since, until)) = *slot {
                if until > now && !queues.gives_way(pcpu, Instant::from_ns(now)) {
                    continue;
                }
                *ran.entry(key).or_default() += now.saturating_sub(since.max(count_from_ns));
                queues.end(pcpu, &vcpus[&key], Instant::from_ns(now));
                assert!(vcpus[&key].activity.requeue());
                queues.requeue(&vcpus[&key], Instant::from_ns(now));
                *slot = None;
            }
            let kicked = {
                let mut kicked = machine.kicked.lock().unwrap();
                let was = kicked.contains(pcpu);
                *kicked = kicked.without(PcpuSet::one(pcpu));
                was
            };
            let queue = queues.queue(pcpu).unwrap();
            if asleep[n] && !kicked {
                continue;
            }
            asleep[n] = false;
            queue.idle.store(false, Ordering::SeqCst);
            match queues.next(pcpu, Instant::from_ns(now)) {
                Some((claim, slice)) => {
                    let vcpu = &vcpus[&claim.key];
                    vcpu.seat.unqueue();
                    assert!(vcpu.activity.run(pcpu));
                    queues.begin(pcpu, vcpu);
                    *slot = Some((claim.key, now, now + slice.ns));
                }
                None => {
                    queue.idle.store(true, Ordering::SeqCst);
                    asleep[n] = true;
                }
            }
        }
        now += MS / 10;
    }
    for (key, since, _) in on.into_iter().flatten() {
        *ran.entry(key).or_default() += now.saturating_sub(since.max(count_from_ns));
    }
    (0..)
        .zip(hogs)
        .map(|(n, _)| ran.get(&claim(n).key).copied().unwrap_or(0))
        .collect()
}

fn percent(ran: &[u64], of_ns: u64) -> Vec<u64> {
    ran.iter().map(|ns| ns * 100 / of_ns).collect()
}

#[test]
fn three_equals_share_two_pcpus_equally_by_weight() {
    let shares = percent(
        &run(2, Box::new(Weighted::new()), &[hog(0); 3], 1000 * MS, 5000 * MS),
        4000 * MS,
    );
    assert!(shares.iter().all(|share| share.abs_diff(66) <= 3), "{shares:?}");
}

#[test]
fn three_equals_share_two_pcpus_equally_in_turns() {
    let hogs = [hog(0), hog(3 * MS), hog(5 * MS)];
    let shares = percent(
        &run(2, Box::new(RoundRobin::new()), &hogs, 1000 * MS, 5000 * MS),
        4000 * MS,
    );
    assert!(shares.iter().all(|share| share.abs_diff(66) <= 3), "{shares:?}");
}

#[test]
fn a_crowd_that_wakes_at_once_on_one_pcpu_wakes_all_the_others() {
    let crowd = [Hog {
        last: Some(PcpuId::new(0)),
        ..hog(0)
    }; 4];
    let shares = percent(&run(4, Box::new(RoundRobin::new()), &crowd, 0, 8 * MS), 8 * MS);
    assert!(shares.iter().all(|share| *share >= 95), "{shares:?}");
}

#[test]
fn whoever_has_run_alone_for_long_still_gets_its_share_when_others_come() {
    let hogs = [hog(0), hog(10_000 * MS), hog(10_000 * MS)];
    let shares = percent(
        &run(2, Box::new(Weighted::new()), &hogs, 10_000 * MS, 14_000 * MS),
        4000 * MS,
    );
    assert!(shares.iter().all(|share| share.abs_diff(66) <= 5), "{shares:?}");
}

#[test]
fn whoever_may_run_on_one_pcpu_only_is_not_starved_by_those_who_come_from_others() {
    let pinned = Hog {
        allowed: PcpuSet::of([0]),
        ..hog(0)
    };
    let hogs = [pinned, hog(10_000 * MS), hog(10_000 * MS), hog(10_000 * MS)];
    let shares = percent(
        &run(2, Box::new(Weighted::new()), &hogs, 10_000 * MS, 14_000 * MS),
        4000 * MS,
    );
    assert!(shares.iter().all(|share| share.abs_diff(50) <= 5), "{shares:?}");
}

#[test]
fn weights_hold_across_pcpus() {
    let hogs = [512, 256, 256, 256, 256, 512].map(|weight| Hog { weight, ..hog(0) });
    let shares = percent(
        &run(2, Box::new(Weighted::new()), &hogs, 1000 * MS, 9000 * MS),
        8000 * MS,
    );
    let wanted = [50, 25, 25, 25, 25, 50];
    assert!(
        shares
            .iter()
            .zip(wanted)
            .all(|(share, wanted)| share.abs_diff(wanted) <= 3),
        "{shares:?}"
    );
}
