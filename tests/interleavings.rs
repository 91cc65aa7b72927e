//! Whatever the order in which guests run, no event is lost, and everything they had comes back.
#![forbid(unsafe_code)]

mod world;

use world::{guest, run};
use xenvisor::abi::event_channel as abi;
use xenvisor::abi::sched::{Poll, SCHEDOP_poll, SHUTDOWN_poweroff};
use xenvisor::abi::xen::HYPERVISOR_sched_op;
use xenvisor::abi::{GuestHandle64, xen};
use xenvisor::hypercalls::launch::Ended;
use xenvisor::model::domain::life::Reason;
use xenvisor::prelude::*;
use xenvisor::sim::SimGuest;
use xenvisor::sim::guest::{Delivery, Ending, Events, Trouble};
use xenvisor::sim::kernel;
use xenvisor::sim::programs::Programs;

const FREE: u64 = kernel::PAGES >> 12;
const VECTOR: u8 = 0xf3;

/// Two guests that run `one` and `other`, with these words on both command lines.
fn pair(one: &'static str, other: &'static str, words: &str) -> System {
    let mut system = System::default();
    system.guest(guest("one", one).cmdline(&format!("peer=2 {words}")));
    system.guest(guest("two", other).cmdline(&format!("peer=1 {words}")));
    system
}

/// Runs a system from each seed, and wants it to end well with nothing left over.
fn all_end_well(seeds: std::ops::Range<u64>, programs: &Programs, system: impl Fn() -> System) {
    for seed in seeds {
        let run = run(seed, programs.clone(), system());
        if run.finished.ended != Ended::Well {
            run.fail(seed, "a guest did not end well");
        }
        if !run.all_frames_are_back() {
            run.fail(seed, "frames are missing");
        }
    }
}

#[test]
fn ping_and_pong_talk_to_the_end_in_every_order() {
    all_end_well(0..200, &Programs::standard(), || {
        pair("ping", "pong", "rounds=20")
    });
}

#[test]
fn ping_and_pong_talk_by_bitmaps_as_by_queues() {
    all_end_well(0..200, &Programs::standard(), || {
        pair("ping", "pong", "rounds=20 bitmaps=1")
    });
}

#[test]
fn two_conversations_do_not_disturb_each_other() {
    all_end_well(0..60, &Programs::standard(), || {
        let mut system = System::default();
        for (name, program, peer) in [
            ("a", "ping", 3),
            ("b", "ping", 4),
            ("c", "pong", 1),
            ("d", "pong", 2),
        ] {
            system.guest(guest(name, program).cmdline(&format!("peer={peer}")));
        }
        system
    });
}

#[test]
fn the_same_seed_is_the_same_run_and_another_seed_another() {
    let story = |seed| {
        let run = run(seed, Programs::standard(), pair("ping", "pong", ""));
        (run.log(), run.console())
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}

#[test]
fn seeds_differ_in_who_speaks_first() {
    let first_word = |seed| {
        let run = run(seed, Programs::standard(), pair("linux", "linux", ""));
        run.console().lines().next().unwrap_or_default().to_owned()
    };
    let words: std::collections::BTreeSet<String> = (0..20).map(first_word).collect();
    assert!(words.len() > 1, "{words:?}");
}

/// Binds to a port of domain 1 as soon as it is offered.
async fn bind_soon(guest: &SimGuest, port: u32) -> Result<u32, Trouble> {
    for _ in 0..20_000 {
        if let Ok(own) = guest.bind_port(1, port).await {
            return Ok(own);
        }
        guest.give_way().await;
    }
    Err(Trouble::new(format!("port {port} is not offered")))
}

/// Waits until one of the guest's own ports is in this state.
async fn wait_for_state(guest: &SimGuest, port: u32, state: u32) -> Result<(), Trouble> {
    for _ in 0..20_000 {
        let mut status = abi::Status {
            dom: xen::DOMID_SELF,
            port,
            ..abi::Status::default()
        };
        guest
            .event_op("status", abi::EVTCHNOP_status, &mut status)
            .await?;
        if status.status == state {
            return Ok(());
        }
        guest.give_way().await;
    }
    Err(Trouble::new(format!("port {port} is never in state {state}")))
}

/// How many ports the storm is on, and how often.
const PORTS: u32 = 8;
const STORMS: u32 = 12;

/// Sends on all ports at once, and waits for one answer to all.
async fn storm(guest: SimGuest, delivery: Delivery) -> Ending {
    let events = Events::set_up(&guest, delivery, FREE, VECTOR).await?;
    let mut ports = Vec::new();
    for _ in 0..=PORTS {
        let port = guest.offer_port(2).await?;
        events.open(&guest, port).await?;
        ports.push(port);
    }
    let answer = ports.pop().unwrap_or(0);
    // The other side is there.
    events.wait(&guest, answer).await;
    for _ in 0..STORMS {
        for port in &ports {
            guest.send_event(*port).await?;
        }
        events.wait(&guest, answer).await;
    }
    guest.shut_down(SHUTDOWN_poweroff).await
}

/// Binds to all ports of the peer; the last one is for answers.
async fn bind_all(guest: &SimGuest, console_port: u32) -> Result<Vec<u32>, Trouble> {
    let mut ports = Vec::new();
    for port in (console_port + 1)..=(console_port + 1 + PORTS) {
        ports.push(bind_soon(guest, port).await?);
    }
    Ok(ports)
}

/// Waits until something has come on every port, and answers.
async fn shelter(guest: SimGuest, delivery: Delivery) -> Ending {
    let events = Events::set_up(&guest, delivery, FREE, VECTOR).await?;
    let mut ports = bind_all(&guest, 1).await?;
    for port in &ports {
        events.open(&guest, *port).await?;
    }
    // Each is pending once because it has just been bound.
    for _ in 0..ports.len() {
        events.next(&guest).await;
    }
    let answer = ports.pop().unwrap_or(0);
    guest.send_event(answer).await?;
    for _ in 0..STORMS {
        let mut missing: std::collections::BTreeSet<u32> = ports.iter().copied().collect();
        while !missing.is_empty() {
            missing.remove(&events.next(&guest).await);
        }
        guest.send_event(answer).await?;
    }
    guest.shut_down(SHUTDOWN_poweroff).await
}

#[test]
fn no_event_of_a_storm_is_lost() {
    for delivery in [Delivery::Fifo, Delivery::TwoLevel] {
        let mut programs = Programs::new();
        programs.add("storm", move |guest| storm(guest, delivery));
        programs.add("shelter", move |guest| shelter(guest, delivery));
        all_end_well(0..60, &programs, || pair("storm", "shelter", ""));
    }
}

/// Waits for a port by polling: no upcall, no interrupt handler.
async fn poll(guest: &SimGuest, port: u32) -> Result<(), Trouble> {
    let list = guest.scratch() + 2048;
    let word = (FREE << 12) + 2048 + u64::from(port / 64) * 8;
    let bit = 1 << (port % 64);
    loop {
        guest.put(list, &port).await;
        let mut argument = Poll {
            ports: GuestHandle64(list),
            nr_ports: 1,
            ..Poll::default()
        };
        guest
            .call_with("poll", HYPERVISOR_sched_op, SCHEDOP_poll, &mut argument)
            .await?;
        if guest.change(word, |bits| bits & !bit).await & bit != 0 {
            return Ok(());
        }
    }
}

/// Talks by polling alone; `first` offers the port and begins.
async fn polling(guest: SimGuest, first: bool) -> Ending {
    guest
        .add_to_physmap(xenvisor::abi::memory::XENMAPSPACE_shared_info, 0, FREE)
        .await?;
    let port = if first {
        guest.offer_port(2).await?
    } else {
        bind_soon(&guest, 2).await?
    };
    // A polled port is a masked one.
    let mask = (FREE << 12) + 2560;
    guest.change(mask, |bits| bits | 1 << port).await;
    if first {
        poll(&guest, port).await?;
    } else {
        poll(&guest, port).await?;
        guest.send_event(port).await?;
    }
    for _ in 0..20 {
        if first {
            guest.send_event(port).await?;
            poll(&guest, port).await?;
        } else {
            poll(&guest, port).await?;
            guest.send_event(port).await?;
        }
    }
    guest.shut_down(SHUTDOWN_poweroff).await
}

#[test]
fn guests_that_poll_miss_no_event() {
    let mut programs = Programs::new();
    programs.add("first", |guest| polling(guest, true));
    programs.add("second", |guest| polling(guest, false));
    all_end_well(0..150, &programs, || pair("first", "second", ""));
}

#[test]
fn a_run_in_which_nothing_can_happen_any_more_ends_and_says_so() {
    let mut programs = Programs::new();
    programs.add("sleeper", async |guest: SimGuest| {
        let events = Events::set_up(&guest, Delivery::Fifo, FREE, VECTOR).await?;
        events.next(&guest).await;
        Ok(())
    });
    let run = run(1, programs, pair("sleeper", "sleeper", ""));
    assert_eq!(run.finished.ended, Ended::Badly);
    assert!(run.log().contains("can no longer happen"), "{}", run.log());
}

#[test]
fn a_peer_that_dies_closes_its_end_and_nobody_else_suffers() {
    let mut programs = Programs::standard();
    programs.add("dies", async |guest: SimGuest| {
        let port = guest.offer_port(2).await?;
        wait_for_state(&guest, port, abi::EVTCHNSTAT_interdomain).await?;
        guest.triple_fault().await;
        Ok(())
    });
    programs.add("survives", async |guest: SimGuest| {
        let port = bind_soon(&guest, 2).await?;
        wait_for_state(&guest, port, abi::EVTCHNSTAT_unbound).await?;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    for seed in 0..30 {
        let run = run(seed, programs.clone(), pair("dies", "survives", ""));
        let reasons: Vec<_> = run.finished.fates.iter().map(|fate| fate.reason).collect();
        if reasons != [Some(Reason::Crash), Some(Reason::PowerOff)] || !run.all_frames_are_back() {
            run.fail(seed, &format!("{reasons:?}"));
        }
    }
}
