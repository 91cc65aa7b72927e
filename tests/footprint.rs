//! What a domain costs beyond its RAM: as much as its parts say, and little. All of it is counted, frames and heap.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; that is what it is for"
)]

mod world;

use std::alloc::System;
use std::sync::Arc;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use world::guest;
use xenvisor::model::domain::create::create;
use xenvisor::model::domain::footprint::{Footprint, Part};
use xenvisor::model::hypervisor::Hypervisor;
use xenvisor::model::number::DomainId;
use xenvisor::prelude::{MIB, Weighted, XenDefault};
use xenvisor::sim::programs::Programs;
use xenvisor::sim::{SimGuest, SimMachine};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a domain of one vcpu may cost beyond its RAM, in bytes.
const MOST: u64 = 96 << 10;
/// Domains for a mean.
const SOME: u16 = 512;

/// Bytes of the heap in use, without the room that the simulated machine's memory takes there.
fn heap(machine: &SimMachine) -> i64 {
    let stats = HEAP.stats();
    let used =
        i64::try_from(stats.bytes_allocated).unwrap() - i64::try_from(stats.bytes_deallocated).unwrap();
    // Each frame is a box, and has an entry in a tree.
    used - i64::try_from(machine.sim_memory().frames_with_room() * (4096 + 24)).unwrap()
}

#[test]
fn a_domain_costs_little_beyond_its_ram_and_its_parts_say_how_much() {
    let mut programs = Programs::new();
    programs.add("sleeper", |guest: SimGuest| async move {
        guest.block().await;
        Ok(())
    });
    let machine = SimMachine::new(1, programs);
    let hypervisor = Hypervisor::new(
        Arc::new(machine.clone()),
        machine.frames().unwrap(),
        Box::new(XenDefault::default()),
        Box::new(Weighted::new()),
        xenvisor::standard_services(),
    );
    let description = guest("sleeper", "sleeper").memory(4 * MIB);
    let make = |from: u16| {
        for n in from..from + SOME {
            create(&hypervisor, DomainId::new(n), &description).unwrap();
        }
    };
    // What there is once for all is there before anything is counted.
    make(1);
    let (frames, before) = (hypervisor.frames.free(), heap(&machine));
    make(1 + SOME);
    let count = u64::from(SOME);
    let ram = description.memory >> 12;
    let frames = (frames - hypervisor.frames.free()) / count - ram;
    let heap = u64::try_from(heap(&machine) - before).unwrap() / count;
    let measured = frames * 4096 + heap;
    let footprint = Footprint::of(&hypervisor.domain(DomainId::new(2 * SOME)).unwrap());
    let told = footprint.total();
    println!("{footprint}measured: {frames} frames and {heap} bytes of the heap, {measured} bytes together");
    assert!(measured <= MOST, "{measured} bytes");
    assert_eq!(told.frames, frames);
    assert!(told.heap.abs_diff(heap) < 1024, "{} of {heap} bytes", told.heap);
    assert!(
        footprint.part(Part::Grants).frames == 0,
        "a grant table that is not used"
    );
}
