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
/// Domains whose creation is measured together.
const GROUP: u16 = 1_000;
/// Lets guests run for a second of the simulated clock, and then watches them for ten.
#[derive(Default)]
struct Watch {
    /// What the machine had done when the watch began.
    began: Option<u64>,
    /// What it has done since.
    effort: u64,
}

impl Keeper for Watch {
    fn ended(&mut self, _: &Hypervisor, domain: Arc<Domain>, reason: Reason) {
        panic!("{} has ended: {reason:?}", domain.name);
    }

    fn work(&mut self, hypervisor: &Hypervisor) -> Work {
        match hypervisor.machine.now().as_ns() / 1_000_000_000 {
            0 => Work::None,
            1..=10 => {
                self.began.get_or_insert(hypervisor.machine.effort());
                Work::None
            }
            _ => {
                self.effort = hypervisor.machine.effort() - self.began.unwrap();
                Work::Finished
            }
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

    // Creation: the same work and the same frames for each.
    let mut work = Vec::new();
    let mut frames = Vec::new();
    for group in 0..DOMAINS / GROUP {
        let (began, before) = (machine.effort(), hypervisor.frames.free());
        for n in 1..=GROUP {
            create(&hypervisor, DomainId::new(group * GROUP + n), &description).unwrap();
        }
        work.push(machine.effort() - began);
        frames.push(before - hypervisor.frames.free());
    }
    // What the books of one more domain take comes in whole frames, a few of them for several domains at once.
    let (least, most) = (frames.iter().min().unwrap(), frames.iter().max().unwrap());
    assert!(most - least <= u64::from(GROUP) / 100, "{frames:?}");
    let (least, most) = (work.iter().min().unwrap(), work.iter().max().unwrap());
    assert!(most - least <= least / 50, "a thousand domains each: {work:?}");

    // Sleep: each has run once, and then nobody does anything for ten seconds.
    let mut watch = Watch::default();
    run_everywhere(&hypervisor, &mut watch);
    assert_eq!(watch.effort, 0, "those that sleep cost something");
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
