//! Several pcpus at once over one hypervisor: whatever they do in whatever order, nothing is lost, and what must not be
//! seen any more is not.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly; that is what it is for"
)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use world::{Run, guest, run_as_described, run_on};
use xenvisor::abi::hvm::hvm_op::HVMOP_flush_tlbs;
use xenvisor::abi::sched::SHUTDOWN_poweroff;
use xenvisor::abi::vcpu::{RunstateInfo, VCPUOP_down, VCPUOP_get_runstate_info, VCPUOP_is_up, VCPUOP_up};
use xenvisor::abi::xen::{HYPERVISOR_hvm_op, HYPERVISOR_vcpu_op};
use xenvisor::hypercalls::launch::Ended;
use xenvisor::model::machine::{Ipi, IpiKind, IpiTarget};
use xenvisor::model::number::VcpuId;
use xenvisor::prelude::*;
use xenvisor::sim::guest::{Ending, Trouble};
use xenvisor::sim::kernel;
use xenvisor::sim::machine::DEFAULT_BYTES;
use xenvisor::sim::programs::Programs;
use xenvisor::sim::{SimGuest, SimMachine};

const MILLISECOND_NS: u64 = 1_000_000;
/// Ticks of the simulated counter in a nanosecond.
const TICKS_PER_NS: u64 = 2;
/// Where second vcpus start: a page below 1 MiB, as a start-up interrupt names them. And a flag of theirs.
const START: u64 = 0x8000;
const FLAG: u64 = kernel::PAGES + 0x1000;

fn machine(seed: u64, programs: &Programs, pcpus: u32) -> SimMachine {
    SimMachine::with_pcpus(seed, programs.clone(), DEFAULT_BYTES, pcpus)
}

fn must_end_well(seed: u64, run: &Run) {
    if run.finished.ended != Ended::Well {
        run.fail(seed, "a guest did not end well");
    }
    if !run.all_frames_are_back() {
        run.fail(seed, "frames are missing");
    }
}

/// Two pairs of guests that talk.
fn pairs() -> System {
    let mut system = System::default();
    for (name, program, peer) in [
        ("a", "ping", 3),
        ("b", "ping", 4),
        ("c", "pong", 1),
        ("d", "pong", 2),
    ] {
        system.guest(guest(name, program).cmdline(&format!("peer={peer} rounds=10")));
    }
    system
}

#[test]
fn guests_on_several_pcpus_talk_to_the_end_in_every_order() {
    let programs = Programs::standard();
    for seed in 0..60 {
        for pcpus in [2, 3, 8] {
            must_end_well(seed, &run_on(seed, machine(seed, &programs, pcpus), &mut pairs()));
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run_on_several_pcpus_too() {
    let programs = Programs::standard();
    let story = |seed| {
        let run = run_on(seed, machine(seed, &programs, 3), &mut pairs());
        (run.log(), run.console())
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}

#[test]
fn guests_on_real_threads_talk_to_the_end() {
    let programs = Programs::standard();
    for seed in 0..40 {
        let machine = machine(seed, &programs, 4);
        machine.let_loose();
        must_end_well(seed, &run_on(seed, machine, &mut pairs()));
    }
}

#[test]
fn every_scheduler_serves_several_pcpus() {
    let programs = Programs::standard();
    for kind in 0..3 {
        let mut system = pairs();
        match kind {
            0 => system.schedule(RoundRobin::new()),
            1 => system.schedule(Pinned::new()),
            _ => system.schedule(Weighted::new()),
        }
        must_end_well(kind, &run_as_described(machine(kind, &programs, 3), system));
    }
}

/// Starts vcpu 1 of the calling guest with this program.
async fn start_second(guest: &SimGuest, program: &str) {
    guest.place_program(START, program).await;
    for kind in [
        IpiKind::Init,
        IpiKind::Startup {
            page: u8::try_from(START >> 12).unwrap_or(0),
        },
    ] {
        let ipi = Ipi {
            from: VcpuId::new(0),
            to: IpiTarget::Physical(2),
            kind,
        };
        guest.send_ipi(ipi).await;
    }
}

/// A guest with two vcpus on two pcpus.
fn two_vcpus(seed: u64, programs: &Programs) -> Run {
    let mut system = System::default();
    system.guest(guest("two", "first").vcpus(2));
    run_as_described(machine(seed, programs, 2), system)
}

#[test]
fn a_flush_waits_until_the_other_vcpu_is_out_of_the_guest_and_no_longer() {
    let longest = Arc::new(AtomicU64::new(0));
    let noted = longest.clone();
    let mut programs = Programs::new();
    programs.add("second", async |guest: SimGuest| {
        guest.put(FLAG, &1_u64).await;
        loop {
            guest.compute(1000 * MILLISECOND_NS).await;
        }
    });
    programs.add("first", move |guest: SimGuest| {
        let noted = noted.clone();
        async move {
            start_second(&guest, "second").await;
            while guest.get::<u64>(FLAG).await == 0 {
                guest.compute(1000).await;
            }
            for _ in 0..50 {
                let before = guest.counter().await;
                let flush = [HVMOP_flush_tlbs.into(), 0, 0];
                guest.call("flush", HYPERVISOR_hvm_op, flush).await?;
                let took = (guest.counter().await - before) / TICKS_PER_NS;
                noted.fetch_max(took, Ordering::Relaxed);
            }
            guest.shut_down(SHUTDOWN_poweroff).await
        }
    });
    for seed in 0..5 {
        must_end_well(seed, &two_vcpus(seed, &programs));
    }
    // The other one computes for 50 µs at a time before it looks whether it was kicked.
    let longest = longest.load(Ordering::Relaxed);
    assert!((10_000..200_000).contains(&longest), "{longest} ns");
}

#[test]
fn a_vcpu_that_is_stopped_and_started_again_and_again_is_on_one_pcpu_at_a_time() {
    let mut programs = Programs::new();
    programs.add("second", async |guest: SimGuest| {
        loop {
            guest.change(FLAG, |count| count + 1).await;
            guest.compute(20_000).await;
        }
    });
    programs.add("first", async |guest: SimGuest| {
        start_second(&guest, "second").await;
        while guest.get::<u64>(FLAG).await == 0 {
            guest.compute(1000).await;
        }
        for _ in 0..200 {
            for command in [VCPUOP_down, VCPUOP_up] {
                guest
                    .call("vcpu_op", HYPERVISOR_vcpu_op, [command.into(), 1, 0])
                    .await?;
                let up = guest
                    .call("is_up", HYPERVISOR_vcpu_op, [VCPUOP_is_up.into(), 1, 0])
                    .await?;
                if up != u64::from(command == VCPUOP_up) {
                    return Err(Trouble::new("it is not what it was told to be"));
                }
            }
            guest.compute(10_000).await;
        }
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    for seed in 0..10 {
        must_end_well(seed, &two_vcpus(seed, &programs));
        let machine = machine(seed, &programs, 4);
        machine.let_loose();
        let mut system = System::default();
        system.guest(guest("two", "first").vcpus(2));
        must_end_well(seed, &run_as_described(machine, system));
    }
}

/// Nothing that is not lost takes that long on any workstation.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

#[test]
fn a_start_up_that_comes_while_its_vcpu_still_looks_at_the_init_before_is_not_lost() {
    let mut programs = Programs::new();
    programs.add("second", async |guest: SimGuest| {
        guest.put(FLAG, &1_u64).await;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    programs.add("first", async |guest: SimGuest| {
        start_second(&guest, "second").await;
        // The workstation's time, not the machine's: a busy workstation may leave one of the two threads without a
        // processor while the other one's clock runs on.
        let begun = std::time::Instant::now();
        while begun.elapsed() < LONGEST_WAIT {
            guest.compute(1000).await;
        }
        Err(Trouble::new("the second vcpu does not begin"))
    });
    // Real threads: how often they meet there is up to the workstation.
    for seed in 0..2_000 {
        let machine = machine(seed, &programs, 2);
        machine.let_loose();
        let mut system = System::default();
        system.guest(guest("two", "first").vcpus(2));
        must_end_well(seed, &run_as_described(machine, system));
    }
}

/// Computes until the clock says so, and then keeps its account.
async fn hog(guest: SimGuest, accounts: Arc<std::sync::Mutex<Vec<RunstateInfo>>>) -> Ending {
    while guest.counter().await < 400 * MILLISECOND_NS * TICKS_PER_NS {
        guest.compute(100_000).await;
    }
    let mut account = RunstateInfo::default();
    let me = guest.scratch();
    guest.put(me, &account).await;
    let arguments = [VCPUOP_get_runstate_info.into(), 0, me];
    guest.call("runstate", HYPERVISOR_vcpu_op, arguments).await?;
    account = guest.get(me).await;
    accounts.lock().unwrap().push(account);
    guest.shut_down(SHUTDOWN_poweroff).await
}

#[test]
fn what_guests_are_told_of_stolen_time_is_what_they_did_not_get() {
    for (guests, pcpus) in [(1_u64, 1_u64), (3, 1), (4, 2), (3, 2), (6, 4)] {
        let accounts = Arc::new(std::sync::Mutex::new(Vec::new()));
        let noted = accounts.clone();
        let mut programs = Programs::new();
        programs.add("hog", move |guest| hog(guest, noted.clone()));
        let mut system = System::default();
        system.schedule(Weighted::new());
        for n in 0..guests {
            system.guest(guest(&format!("hog{n}"), "hog"));
        }
        let machine = machine(1, &programs, u32::try_from(pcpus).unwrap());
        must_end_well(1, &run_as_described(machine, system));
        let accounts = accounts.lock().unwrap();
        assert_eq!(accounts.len(), usize::try_from(guests).unwrap());
        for account in accounts.iter() {
            let [running, runnable, blocked, offline] = account.time;
            let all = running + runnable;
            assert!(blocked + offline < MILLISECOND_NS, "{account:?}");
            // Each gets its part of all pcpus, and waits for the rest of the time.
            let part = (pcpus * all / guests).min(all);
            assert!(
                running.abs_diff(part) < all / 20,
                "{guests} on {pcpus}: {running} of {all} ns instead of {part}"
            );
        }
    }
}
