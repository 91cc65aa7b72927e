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
use std::sync::atomic::{AtomicU32, Ordering};

use world::{ARGUMENTS, FREE, Run, guest, run};
use xenvisor::abi::sched::{
    SCHEDOP_block, SCHEDOP_shutdown_code, SCHEDOP_watchdog, SHUTDOWN_crash, SHUTDOWN_poweroff,
    SHUTDOWN_reboot, SHUTDOWN_suspend, SHUTDOWN_watchdog, Shutdown, Watchdog,
};
use xenvisor::abi::version::XENVER_version;
use xenvisor::abi::xen::{HYPERVISOR_multicall, HYPERVISOR_sched_op, HYPERVISOR_xen_version, MulticallEntry};
use xenvisor::hypercalls::launch::Ended;
use xenvisor::model::domain::life::Reason;
use xenvisor::prelude::*;
use xenvisor::sim::SimGuest;
use xenvisor::sim::guest::{Ending, Trouble};
use xenvisor::sim::programs::Programs;

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
