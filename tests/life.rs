//! The lives of guests, end to end on the simulated machine: watchdogs, suspension, reasons, waits within batches, and
//! ends that others do not notice.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly; that is what it is for"
)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use world::{ARGUMENTS, FREE, Run, guest, run};
use xenvisor::abi::sched::{
    SCHEDOP_block, SCHEDOP_shutdown_code, SCHEDOP_watchdog, SHUTDOWN_crash, SHUTDOWN_poweroff,
    SHUTDOWN_reboot, SHUTDOWN_suspend, SHUTDOWN_watchdog, Shutdown, Watchdog,
};
use xenvisor::abi::version::XENVER_version;
use xenvisor::abi::xen::{
    HYPERVISOR_multicall, HYPERVISOR_sched_op, HYPERVISOR_xen_version, MulticallEntry, VIRQ_TIMER,
};
use xenvisor::hypercalls::launch::{Ended, launch};
use xenvisor::model::domain::Domain;
use xenvisor::model::domain::create::create;
use xenvisor::model::domain::destroy::Destruction;
use xenvisor::model::domain::life::Reason;
use xenvisor::model::hypervisor::Hypervisor;
use xenvisor::model::number::Port;
use xenvisor::model::sched::OutOfMemory;
use xenvisor::model::service::{Service, ServiceId};
use xenvisor::prelude::*;
use xenvisor::sim::guest::{Delivery, Ending, Events, Trouble};
use xenvisor::sim::machine::DEFAULT_BYTES;
use xenvisor::sim::programs::Programs;
use xenvisor::sim::stall::StallWatch;
use xenvisor::sim::{SimGuest, SimMachine};

const SECOND_NS: u64 = 1_000_000_000;

/// Runs one guest with one program.
fn alone<F>(code: impl Fn(SimGuest) -> F + Send + Sync + 'static) -> Run
where
    F: Future<Output = Ending> + Send + 'static,
{
    let mut programs = Programs::new();
    programs.add("code", code);
    let mut system = System::default();
    system.guest(guest("alone", "code"));
    run(1, programs, system)
}

fn reason(run: &Run) -> Option<Reason> {
    assert!(run.all_frames_are_back(), "frames are missing");
    run.finished.fates.first().unwrap().reason
}

fn wants(holds: bool, what: &str) -> Ending {
    if holds { Ok(()) } else { Err(Trouble::new(what)) }
}

async fn watchdog(guest: &SimGuest, id: u32, timeout: u32) -> Result<u64, Trouble> {
    let mut argument = Watchdog { id, timeout };
    let done = guest
        .call_with("watchdog", HYPERVISOR_sched_op, SCHEDOP_watchdog, &mut argument)
        .await;
    Ok(done?)
}

#[test]
fn a_guest_that_does_not_wind_its_watchdog_up_is_ended() {
    let run = alone(async |guest: SimGuest| {
        let number = watchdog(&guest, 0, 2).await?;
        wants(number == 1, "the first watchdog is number 1")?;
        // Wound up twice in time, and then forgotten.
        for _ in 0..2 {
            guest.compute(SECOND_NS + SECOND_NS / 2).await;
            watchdog(&guest, 1, 2).await?;
        }
        guest.block().await;
        Err(Trouble::new("it goes on"))
    });
    assert_eq!(reason(&run), Some(Reason::Watchdog));
    assert_eq!(run.finished.ended, Ended::Badly);
}

#[test]
fn a_guest_that_hangs_with_a_watchdog_is_ended_while_another_runs_on() {
    let mut programs = Programs::new();
    programs.add("hangs", async |guest: SimGuest| {
        watchdog(&guest, 0, 1).await?;
        loop {
            guest.compute(SECOND_NS / 10).await;
        }
    });
    programs.add("works", async |guest: SimGuest| {
        guest.compute(3 * SECOND_NS).await;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    let mut system = System::default();
    system.guest(guest("first", "hangs"));
    system.guest(guest("second", "works"));
    let run = run(3, programs, system);
    let reasons: Vec<_> = run.finished.fates.iter().map(|fate| fate.reason).collect();
    assert_eq!(reasons, [Some(Reason::Watchdog), Some(Reason::PowerOff)]);
    assert!(run.all_frames_are_back());
}

#[test]
fn a_stopped_watchdog_does_not_bite() {
    let run = alone(async |guest: SimGuest| {
        let number = u32::try_from(watchdog(&guest, 0, 1).await?).unwrap();
        watchdog(&guest, number, 0).await?;
        guest.compute(3 * SECOND_NS).await;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    assert_eq!(reason(&run), Some(Reason::PowerOff));
}

#[test]
fn a_suspension_that_nobody_saves_is_called_off() {
    let run = alone(async |guest: SimGuest| {
        guest.put(FREE << 12, &7_u64).await;
        let mut argument = Shutdown {
            reason: SHUTDOWN_suspend,
        };
        guest.put(ARGUMENTS, &argument).await;
        for _ in 0..3 {
            let result = guest
                .call_with("suspend", HYPERVISOR_sched_op, 2, &mut argument)
                .await?;
            wants(result == 1, "the suspension was not called off")?;
        }
        let mark: u64 = guest.get(FREE << 12).await;
        wants(mark == 7, "memory has changed")?;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    assert_eq!(
        (reason(&run), run.finished.ended),
        (Some(Reason::PowerOff), Ended::Well)
    );
    assert!(run.log().contains("called off"), "{}", run.log());
}

#[test]
fn the_reason_that_was_noted_is_the_one_that_counts() {
    let run = alone(async |guest: SimGuest| {
        let mut argument = Shutdown {
            reason: SHUTDOWN_crash,
        };
        guest
            .call_with("note", HYPERVISOR_sched_op, SCHEDOP_shutdown_code, &mut argument)
            .await?;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    assert_eq!(reason(&run), Some(Reason::Crash));
}

#[test]
fn a_batch_sleeps_where_it_says_and_goes_on_behind() {
    let run = alone(async |guest: SimGuest| {
        let entries = [
            (HYPERVISOR_xen_version, XENVER_version),
            (HYPERVISOR_sched_op, SCHEDOP_block),
            (HYPERVISOR_xen_version, XENVER_version),
        ];
        for (at, (op, command)) in (FREE << 12..).step_by(size_of::<MulticallEntry>()).zip(entries) {
            let entry = MulticallEntry {
                op: op.into(),
                result: 77,
                args: [command.into(), 0, 0, 0, 0, 0],
            };
            guest.put(at, &entry).await;
        }
        // A watchdog bites a guest that sleeps for ever: the batch is left where it sleeps.
        watchdog(&guest, 0, 1).await?;
        guest
            .call("multicall", HYPERVISOR_multicall, [FREE << 12, 3, 0])
            .await?;
        Err(Trouble::new("nothing should have woken it"))
    });
    assert_eq!(reason(&run), Some(Reason::Watchdog));
}

#[test]
fn guests_are_taken_apart_and_built_again_while_others_run() {
    let lives = Arc::new(AtomicU32::new(0));
    let counted = lives.clone();
    let mut programs = Programs::new();
    programs.add("restless", move |guest: SimGuest| {
        let life = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            guest.compute(SECOND_NS / 20).await;
            let reason = if life < 5 {
                SHUTDOWN_reboot
            } else {
                SHUTDOWN_poweroff
            };
            guest.shut_down(reason).await
        }
    });
    programs.add("works", async |guest: SimGuest| {
        for _ in 0..50 {
            guest.compute(SECOND_NS / 50).await;
            guest.give_way().await;
        }
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    for seed in 0..20 {
        lives.store(0, Ordering::Relaxed);
        let mut system = System::default();
        system.guest(guest("first", "restless"));
        system.guest(guest("second", "works"));
        system.guest(guest("third", "works"));
        let run = run(seed, programs.clone(), system);
        assert_eq!(run.finished.ended, Ended::Well, "seed {seed}");
        assert_eq!(lives.load(Ordering::Relaxed), 6, "seed {seed}");
        assert!(run.all_frames_are_back(), "seed {seed}");
    }
}

#[test]
fn a_guest_may_say_that_its_watchdog_ended_it() {
    let run = alone(async |guest: SimGuest| guest.shut_down(SHUTDOWN_watchdog).await);
    assert_eq!(reason(&run), Some(Reason::Watchdog));
}

/// Pauses domain 1 at an instant, twice, and lets it go on at another.
struct Pauser {
    from_ns: u64,
    until_ns: u64,
    step: AtomicU32,
}

impl Service for Pauser {
    fn name(&self) -> &'static str {
        "pauser"
    }

    fn attach(&self, _: &Hypervisor, _: &Arc<Domain>, _: ServiceId) -> Result<(), OutOfMemory> {
        Ok(())
    }

    fn notified(&self, _: &Hypervisor, _: &Arc<Domain>, _: Port) {}

    fn poll(&self, hypervisor: &Hypervisor) {
        let now = hypervisor.machine.now().as_ns();
        let Some(domain) = hypervisor.domain(DomainId::new(1)) else {
            return;
        };
        match self.step.load(Ordering::Relaxed) {
            0 if now >= self.from_ns => {
                domain.pause();
                domain.pause();
            }
            // Once is not enough.
            1 if now >= self.until_ns => assert!(domain.unpause() && domain.is_off_all_pcpus()),
            2 if now >= self.until_ns + 10_000_000 => assert!(domain.unpause() && !domain.unpause()),
            _ => return,
        }
        self.step.fetch_add(1, Ordering::Relaxed);
    }

    fn detach(&self, _: &Hypervisor, _: &Arc<Domain>) {}
}

/// Runs `paused`, which is paused from 50 ms to 110 ms, beside one that works.
fn run_with_a_pause<F>(pcpus: u32, paused: impl Fn(SimGuest) -> F + Send + Sync + 'static)
where
    F: Future<Output = Ending> + Send + 'static,
{
    let mut programs = Programs::new();
    programs.add("paused", paused);
    programs.add("works", async |guest: SimGuest| {
        for _ in 0..400 {
            guest.compute(SECOND_NS / 1_000).await;
            guest.give_way().await;
        }
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    let machine = SimMachine::with_pcpus(1, programs, DEFAULT_BYTES, pcpus);
    let frames = machine.frames().unwrap();
    let free = frames.free();
    let mut system = System::default();
    system.schedule(Weighted::new());
    system.guest(guest("first", "paused"));
    system.guest(guest("second", "works"));
    let mut services = xenvisor::standard_services();
    services.push(Box::new(Pauser {
        from_ns: 50_000_000,
        until_ns: 100_000_000,
        step: AtomicU32::new(0),
    }));
    services.push(Box::new(StallWatch::new(machine.clone())));
    let finished = launch(Arc::new(machine), frames, system, "", services).unwrap();
    assert_eq!(finished.ended, Ended::Well, "{pcpus} pcpus");
    assert_eq!(finished.hypervisor.frames.free(), free);
}

#[test]
fn a_paused_guest_does_nothing_until_it_has_been_unpaused_as_often() {
    for pcpus in [1, 2] {
        let longest = Arc::new(AtomicU64::new(0));
        let noted = longest.clone();
        run_with_a_pause(pcpus, move |guest: SimGuest| {
            let noted = noted.clone();
            async move {
                let mut before = guest.counter().await;
                for _ in 0..100 {
                    guest.compute(SECOND_NS / 1_000).await;
                    let now = guest.counter().await;
                    noted.fetch_max(now - before, Ordering::Relaxed);
                    before = now;
                }
                guest.shut_down(SHUTDOWN_poweroff).await
            }
        });
        // The counter has two ticks in a nanosecond.
        let longest = longest.load(Ordering::Relaxed) / 2;
        assert!((55_000_000..80_000_000).contains(&longest), "{longest} ns");
    }
}

#[test]
fn a_timer_that_is_due_while_its_guest_is_paused_fires_when_it_goes_on() {
    for pcpus in [1, 2] {
        run_with_a_pause(pcpus, async |guest: SimGuest| {
            let events = Events::set_up(&guest, Delivery::Fifo, FREE, 0xf3).await?;
            let timer = guest.bind_virq(VIRQ_TIMER).await?;
            events.open(&guest, timer).await?;
            guest.set_timer(70_000_000).await?;
            events.wait(&guest, timer).await;
            let now = guest.counter().await / 2;
            wants(
                (105_000_000..130_000_000).contains(&now),
                "it fired at another time",
            )?;
            guest.shut_down(SHUTDOWN_poweroff).await
        });
    }
}

/// Runs one guest that crashes twice and then powers itself off, with these words on the command line.
fn crashes_twice(words: &str) -> (u32, Ended, String) {
    let lives = Arc::new(AtomicU32::new(0));
    let counted = lives.clone();
    let mut programs = Programs::new();
    programs.add("frail", move |guest: SimGuest| {
        let life = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            guest.compute(SECOND_NS / 100).await;
            let reason = match life {
                0 => SHUTDOWN_crash,
                1 => SHUTDOWN_watchdog,
                _ => SHUTDOWN_poweroff,
            };
            guest.shut_down(reason).await
        }
    });
    programs.add("works", async |guest: SimGuest| {
        guest.compute(SECOND_NS / 10).await;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    let machine = SimMachine::new(1, programs);
    let frames = machine.frames().unwrap();
    let free = frames.free();
    let mut system = System::default();
    system.guest(guest("first", "frail"));
    system.guest(guest("second", "works"));
    let services = xenvisor::standard_services();
    let finished = launch(Arc::new(machine.clone()), frames, system, words, services).unwrap();
    assert_eq!(finished.hypervisor.frames.free(), free, "{words}");
    assert!(finished.hypervisor.domains().is_empty());
    let log: Vec<_> = machine.record().lines.iter().map(ToString::to_string).collect();
    (lives.load(Ordering::Relaxed), finished.ended, log.join("\n"))
}

#[test]
fn what_becomes_of_a_guest_that_crashes_is_said_on_the_command_line() {
    let (lives, ended, _) = crashes_twice("");
    assert_eq!((lives, ended), (1, Ended::Badly));
    let (lives, ended, _) = crashes_twice("guest.first.on_crash=destroy");
    assert_eq!((lives, ended), (1, Ended::Badly));
    let (lives, _, _) = crashes_twice("guest.first.on_crash=restart");
    assert_eq!(lives, 3);
    let (lives, ended, log) = crashes_twice("guest.first.on_crash=preserve");
    assert_eq!((lives, ended), (1, Ended::Badly));
    // It is there until the other one has ended.
    let at = |what: &str| log.find(what).unwrap_or_else(|| panic!("no {what:?} in\n{log}"));
    assert!(
        at("first is kept") < at("second has ended")
            && at("second has ended") < log.rfind("is gone").unwrap()
    );
}

#[test]
fn a_large_domain_is_taken_apart_in_steps_that_each_give_back_a_little() {
    let machine = SimMachine::new(1, Programs::standard());
    let hypervisor = Hypervisor::new(
        Arc::new(machine.clone()),
        machine.frames().unwrap(),
        Box::new(XenDefault::default()),
        Box::new(RoundRobin::new()),
        xenvisor::standard_services(),
    );
    let free = hypervisor.frames.free();
    let description = guest("large", "linux").memory(2 * GIB).vcpus(8);
    create(&hypervisor, DomainId::new(1), &description).unwrap();
    let domain = hypervisor.domain(DomainId::new(1)).unwrap();
    let mut destruction = Destruction::begin(&hypervisor, domain);
    let mut most = 0;
    loop {
        let before = hypervisor.frames.free();
        let is_gone = destruction.go_on(&hypervisor);
        most = most.max(hypervisor.frames.free() - before);
        if is_gone {
            break;
        }
    }
    // 16 MiB at a time, and what hangs on it.
    assert!((4096..5000).contains(&most), "{most} frames in one step");
    drop(destruction);
    assert_eq!(hypervisor.frames.free(), free);
}
