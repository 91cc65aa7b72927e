//! Ten thousand domains: each costs what the first one did, those that sleep cost nothing, and nothing is left of them.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; that is what it is for"
)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::guest;
use xenvisor::hypercalls::run::{Keeper, Work, run_everywhere};
use xenvisor::model::domain::Domain;
use xenvisor::model::domain::create::create;
use xenvisor::model::domain::destroy::destroy;
use xenvisor::model::domain::life::Reason;
use xenvisor::model::hypervisor::Hypervisor;
use xenvisor::model::machine::Machine;
use xenvisor::model::number::DomainId;
use xenvisor::model::vcpu::Activity;
use xenvisor::prelude::{GIB, Weighted, XenDefault};
use xenvisor::sim::programs::Programs;
use xenvisor::sim::{SimGuest, SimMachine};

const DOMAINS: u16 = 10_000;
/// Domains whose creation is timed together.
const GROUP: u16 = 1_000;

/// Ends a run at a time of the simulated clock.
struct Until(u64);

impl Keeper for Until {
    fn ended(&mut self, _: &Hypervisor, domain: Arc<Domain>, reason: Reason) {
        panic!("{} has ended: {reason:?}", domain.name);
    }

    fn work(&mut self, hypervisor: &Hypervisor) -> Work {
        if hypervisor.machine.now().as_ns() < self.0 {
            Work::None
        } else {
            Work::Finished
        }
    }
}

fn hypervisor(machine: &SimMachine) -> Hypervisor {
    Hypervisor::new(
        Arc::new(machine.clone()),
        machine.frames().unwrap(),
        Box::new(XenDefault::default()),
        Box::new(Weighted::new()),
        xenvisor::standard_services(),
    )
}

#[test]
fn ten_thousand_domains_come_sleep_and_go() {
    let woken = Arc::new(AtomicU64::new(0));
    let noted = woken.clone();
    let mut programs = Programs::new();
    programs.add("sleeper", move |guest: SimGuest| {
        let noted = noted.clone();
        async move {
            loop {
                noted.fetch_add(1, Ordering::Relaxed);
                guest.block().await;
            }
        }
    });
    let machine = SimMachine::with_memory(1, programs, 48 * GIB);
    let hypervisor = hypervisor(&machine);
    let free = hypervisor.frames.free();
    let description = guest("sleeper", "sleeper");

    // Creation: the same time and the same frames for each.
    let mut took = Vec::new();
    let mut frames = Vec::new();
    for group in 0..DOMAINS / GROUP {
        let (began, before) = (Instant::now(), hypervisor.frames.free());
        for n in 1..=GROUP {
            create(&hypervisor, DomainId::new(group * GROUP + n), &description).unwrap();
        }
        took.push(began.elapsed());
        frames.push(before - hypervisor.frames.free());
    }
    // What the books of one more domain take comes in whole frames, a few of them for several domains at once.
    let (least, most) = (frames.iter().min().unwrap(), frames.iter().max().unwrap());
    assert!(most - least <= u64::from(GROUP) / 100, "{frames:?}");
    let fastest = |of: &[std::time::Duration]| *of.iter().min().unwrap();
    let (first, last) = (fastest(&took[..3]), fastest(&took[7..]));
    assert!(
        last < first * 3,
        "the first thousand took {first:?}, the last {last:?}"
    );

    // Sleep: each has run once, and then nobody does anything for ten seconds.
    run_everywhere(&hypervisor, &mut Until(machine.now().as_ns() + 10_000_000_000));
    assert_eq!(woken.load(Ordering::Relaxed), u64::from(DOMAINS));
    let asleep = |domain: &Arc<Domain>| domain.vcpus[0].activity.get() == Activity::Blocked;
    assert!(hypervisor.domains().iter().all(asleep));

    // The end: in any order, and every frame is back.
    for n in (1..=DOMAINS)
        .filter(|n| n % 2 == 0)
        .chain((1..=DOMAINS).filter(|n| n % 2 == 1))
    {
        let domain = hypervisor.domain(DomainId::new(n)).unwrap();
        destroy(&hypervisor, &domain);
    }
    assert_eq!(hypervisor.frames.free(), free);
    assert!(hypervisor.domains().is_empty());
}
