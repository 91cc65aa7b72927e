//! Pcpus look after each other: one that takes no turns any more is found by another, which says what it was doing.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly; that is what it is for"
)]

mod world;

use world::{Run, guest, run_as_described};
use xenvisor::abi::sched::SHUTDOWN_poweroff;
use xenvisor::hypercalls::launch::Ended;
use xenvisor::model::sched::{Lookout, Then};
use xenvisor::prelude::*;
use xenvisor::sim::machine::DEFAULT_BYTES;
use xenvisor::sim::programs::Programs;
use xenvisor::sim::{SimGuest, SimMachine};

const SECOND_NS: u64 = 1_000_000_000;
/// Whoever opens a port for this domain stands still.
const NOWHERE: u16 = 77;

/// A policy that does not come back for a while: what no policy may do.
struct StandsStill(SimMachine, u64);

impl Policy for StandsStill {
    fn event_alloc(&self, request: &EventAlloc) -> Verdict {
        if request.remote.raw() == NOWHERE {
            self.0.pass_ns(self.1);
        }
        Verdict::Allow
    }
}

/// A guest on this pcpu of two makes it stand still for so long, while another works on all.
fn stands_still(on: u32, for_ns: u64, lookout: Lookout) -> Run {
    let mut programs = Programs::new();
    programs.add("stands", async |guest: SimGuest| {
        guest.compute(SECOND_NS).await;
        guest.offer_port(NOWHERE).await?;
        guest.compute(SECOND_NS).await;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    let machine = SimMachine::with_pcpus(1, programs, DEFAULT_BYTES, 2);
    let mut system = System::with_policy(StandsStill(machine.clone(), for_ns));
    system.schedule(Weighted::new());
    system.look_out(lookout);
    system.guest(guest("first", "stands").pcpus(PcpuSet::of([on])));
    run_as_described(machine, system)
}

fn told(run: &Run) -> usize {
    assert_eq!(run.finished.ended, Ended::Well);
    assert!(run.all_frames_are_back());
    run.log().matches("has taken no turn").count()
}

const REPORT: Lookout = Lookout {
    patience_ns: Some(4 * SECOND_NS),
    then: Then::Report,
};

#[test]
fn a_pcpu_that_stands_still_is_told_of_once_with_what_it_was_doing() {
    for on in [0, 1] {
        let run = stands_still(on, 20 * SECOND_NS, REPORT);
        assert_eq!(told(&run), 1, "{}", run.log());
        let log = run.log();
        assert!(log.contains(&format!("pcpu {on} has taken no turn")), "{log}");
        assert!(log.contains("vcpu 0 of d1"), "{log}");
    }
}

#[test]
fn one_that_takes_its_time_is_not_told_of_nor_one_that_sleeps() {
    for on in [0, 1] {
        assert_eq!(told(&stands_still(on, 2 * SECOND_NS, REPORT)), 0);
    }
}

#[test]
fn nobody_looks_where_that_is_said() {
    let lookout = Lookout {
        patience_ns: None,
        ..REPORT
    };
    assert_eq!(told(&stands_still(1, 100 * SECOND_NS, lookout)), 0);
}

#[test]
#[should_panic(expected = "pcpu 1 has taken no turn")]
fn the_host_fails_if_nobody_says_otherwise() {
    stands_still(1, 100 * SECOND_NS, Lookout::default());
}

#[test]
fn the_command_line_says_how_long_and_what_then() {
    let says = |words: &str| {
        let mut system = System::default();
        system.apply(words).map(|()| system.lookout())
    };
    assert_eq!(says("").unwrap(), Lookout::default());
    assert_eq!(says("host.watchdog=4 host.on_stuck=report").unwrap(), REPORT);
    assert_eq!(says("host.watchdog=off").unwrap().patience_ns, None);
    for bad in [
        "host.watchdog=0",
        "host.watchdog=soon",
        "host.on_stuck=cry",
        "host.watchdog=99999999999999",
    ] {
        assert!(says(bad).is_err(), "{bad}");
    }
}
